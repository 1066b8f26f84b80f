//! The generated service traits, implemented by a script, and a server for them.

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use turnpike_proto::{
    auth::v1::{
        self as auth,
        api_key_service_server::{ApiKeyService, ApiKeyServiceServer},
        auth_service_server::{AuthService, AuthServiceServer},
    },
    chat::v1::{
        self as chat,
        answer_service_server::{AnswerService, AnswerServiceServer},
        conversation_service_server::{ConversationService, ConversationServiceServer},
        model_service_server::{ModelService, ModelServiceServer},
        room_service_server::{RoomService, RoomServiceServer},
    },
    topic::v1::{
        self as topic,
        topic_owner_server::{TopicOwner, TopicOwnerServer},
    },
    vehicle::v1::{
        self as vehicle,
        vehicle_service_server::{VehicleService, VehicleServiceServer},
    },
};

use crate::script::{Items, Script};

#[derive(Clone)]
struct Scripted(Script);

macro_rules! scripted {
    ($trait:ident {
        $(@stream $stream:ident $streaming:ident($streamed:ty) -> $item:ty;)*
        $($method:ident($request:ty) -> $response:ty;)*
    }) => {
        #[tonic::async_trait]
        impl $trait for Scripted {
            $(
                type $stream = Items<$item>;

                async fn $streaming(&self, request: Request<$streamed>) -> Result<Response<Items<$item>>, Status> {
                    self.0.serve(request)
                }
            )*
            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                self.0.serve(request)
            })*
        }
    };
}

scripted!(AuthService {
    login(auth::LoginRequest) -> auth::LoginResponse;
    refresh(auth::RefreshRequest) -> auth::TokenPair;
    logout(auth::LogoutRequest) -> auth::LogoutResponse;
    exchange_session(auth::ExchangeSessionRequest) -> auth::AccessToken;
    redeem_ticket(auth::RedeemTicketRequest) -> auth::AccessToken;
    redeem_one_time_code(auth::RedeemOneTimeCodeRequest) -> auth::LoginResponse;
    get_jwks(auth::GetJwksRequest) -> auth::GetJwksResponse;
    list_revocations(auth::ListRevocationsRequest) -> auth::ListRevocationsResponse;
    get_me(auth::GetMeRequest) -> auth::User;
    change_password(auth::ChangePasswordRequest) -> auth::ChangePasswordResponse;
    list_sessions(auth::ListSessionsRequest) -> auth::ListSessionsResponse;
    end_session(auth::EndSessionRequest) -> auth::EndSessionResponse;
    create_ticket(auth::CreateTicketRequest) -> auth::Ticket;
    name_users(auth::NameUsersRequest) -> auth::NameUsersResponse;
    list_users(auth::ListUsersRequest) -> auth::ListUsersResponse;
    get_user(auth::GetUserRequest) -> auth::User;
    create_user(auth::CreateUserRequest) -> auth::CreateUserResponse;
    update_user(auth::UpdateUserRequest) -> auth::User;
    delete_user(auth::DeleteUserRequest) -> auth::DeleteUserResponse;
    list_user_sessions(auth::ListUserSessionsRequest) -> auth::ListSessionsResponse;
    end_user_sessions(auth::EndUserSessionsRequest) -> auth::EndSessionResponse;
});

scripted!(ApiKeyService {
    exchange_api_key(auth::ExchangeApiKeyRequest) -> auth::AccessToken;
    create_api_key(auth::CreateApiKeyRequest) -> auth::CreateApiKeyResponse;
    list_api_keys(auth::ListApiKeysRequest) -> auth::ListApiKeysResponse;
    revoke_api_key(auth::RevokeApiKeyRequest) -> auth::RevokeApiKeyResponse;
    list_user_api_keys(auth::ListUserApiKeysRequest) -> auth::ListApiKeysResponse;
    revoke_user_api_key(auth::RevokeUserApiKeyRequest) -> auth::RevokeApiKeyResponse;
});

scripted!(VehicleService {
    list_vehicles(vehicle::ListVehiclesRequest) -> vehicle::ListVehiclesResponse;
    get_vehicle(vehicle::GetVehicleRequest) -> vehicle::Vehicle;
    list_command_types(vehicle::ListCommandTypesRequest) -> vehicle::ListCommandTypesResponse;
    submit_command(vehicle::SubmitCommandRequest) -> vehicle::SubmitCommandResponse;
    get_command(vehicle::GetCommandRequest) -> vehicle::Command;
    list_commands(vehicle::ListCommandsRequest) -> vehicle::ListCommandsResponse;
    list_responses(vehicle::ListResponsesRequest) -> vehicle::ListResponsesResponse;
    cancel_command(vehicle::CancelCommandRequest) -> vehicle::CancelCommandResponse;
});

scripted!(ConversationService {
    @stream ExportStream export(chat::ExportRequest) -> chat::ExportPart;
    @stream ExportAllStream export_all(chat::ExportAllRequest) -> chat::ExportPart;
    create_conversation(chat::CreateConversationRequest) -> chat::CreateConversationResponse;
    list_conversations(chat::ListConversationsRequest) -> chat::ListConversationsResponse;
    get_conversation(chat::GetConversationRequest) -> chat::Conversation;
    update_conversation(chat::UpdateConversationRequest) -> chat::Conversation;
    delete_conversation(chat::DeleteConversationRequest) -> chat::DeleteConversationResponse;
    list_messages(chat::ListMessagesRequest) -> chat::ListMessagesResponse;
    select_version(chat::SelectVersionRequest) -> chat::Conversation;
    search(chat::SearchRequest) -> chat::SearchResponse;
    create_persona(chat::CreatePersonaRequest) -> chat::CreatePersonaResponse;
    list_personas(chat::ListPersonasRequest) -> chat::ListPersonasResponse;
    update_persona(chat::UpdatePersonaRequest) -> chat::Persona;
    delete_persona(chat::DeletePersonaRequest) -> chat::DeletePersonaResponse;
});

scripted!(AnswerService {
    @stream SendMessageStream send_message(chat::SendMessageRequest) -> chat::AnswerEvent;
    @stream RegenerateStream regenerate(chat::RegenerateRequest) -> chat::AnswerEvent;
    stop_answer(chat::StopAnswerRequest) -> chat::StopAnswerResponse;
});

scripted!(ModelService {
    @stream ForwardStream forward(chat::ForwardRequest) -> chat::ForwardPart;
    list_models(chat::ListModelsRequest) -> chat::ListModelsResponse;
    load_model(chat::LoadModelRequest) -> chat::LoadModelResponse;
    translate(chat::TranslateRequest) -> chat::TranslateResponse;
    unload_model(chat::UnloadModelRequest) -> chat::UnloadModelResponse;
    get_usage(chat::GetUsageRequest) -> chat::GetUsageResponse;
});

scripted!(RoomService {
    create_room(chat::CreateRoomRequest) -> chat::CreateRoomResponse;
    list_rooms(chat::ListRoomsRequest) -> chat::ListRoomsResponse;
    get_room(chat::GetRoomRequest) -> chat::Room;
    update_room(chat::UpdateRoomRequest) -> chat::Room;
    delete_room(chat::DeleteRoomRequest) -> chat::DeleteRoomResponse;
    put_member(chat::PutMemberRequest) -> chat::RoomMember;
    remove_member(chat::RemoveMemberRequest) -> chat::RemoveMemberResponse;
    list_members(chat::ListMembersRequest) -> chat::ListMembersResponse;
    post_message(chat::PostMessageRequest) -> chat::PostMessageResponse;
    analyze_health(chat::AnalyzeHealthRequest) -> chat::AnalyzeHealthResponse;
    list_room_messages(chat::ListRoomMessagesRequest) -> chat::ListRoomMessagesResponse;
    edit_message(chat::EditMessageRequest) -> chat::RoomMessage;
    redact_message(chat::RedactMessageRequest) -> chat::RoomMessage;
    mark_read(chat::MarkReadRequest) -> chat::MarkReadResponse;
    list_present(chat::ListPresentRequest) -> chat::ListPresentResponse;
    get_room_stats(chat::GetRoomStatsRequest) -> chat::RoomStats;
    report_presence(chat::ReportPresenceRequest) -> chat::ReportPresenceResponse;
});

scripted!(TopicOwner {
    authorize(topic::AuthorizeRequest) -> topic::AuthorizeResponse;
    read_archive(topic::ReadArchiveRequest) -> topic::ReadArchiveResponse;
});

/// Serves every service by one script until the runtime ends. Returns the URL.
pub async fn serve(script: &Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let scripted = Scripted(script.clone());
    let server = Server::builder()
        .add_service(AuthServiceServer::new(scripted.clone()))
        .add_service(ApiKeyServiceServer::new(scripted.clone()))
        .add_service(VehicleServiceServer::new(scripted.clone()))
        .add_service(ConversationServiceServer::new(scripted.clone()))
        .add_service(AnswerServiceServer::new(scripted.clone()))
        .add_service(ModelServiceServer::new(scripted.clone()).max_decoding_message_size(64 << 20))
        .add_service(RoomServiceServer::new(scripted.clone()))
        .add_service(TopicOwnerServer::new(scripted))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    url
}
