//! A chat service that does what a test wants: it translates, and has one room.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tonic::{Request, Response, Status, service::RoutesBuilder};
use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1::{
    self as pb,
    model_service_server::{ModelService, ModelServiceServer},
    room_service_server::{RoomService, RoomServiceServer},
};
use turnpike_rpc::Transport;

/// How translations end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Translating {
    /// The text in brackets.
    #[default]
    Works,
    /// There is no language model.
    NoModel,
    /// The model never answers.
    Hangs,
}

#[derive(Clone, Default)]
pub struct Chat(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    translating: Translating,
    translated: Vec<(String, String)>,
    /// The role of the caller in the room; `None`: there is no such room.
    role: Option<&'static str>,
    /// Calls about the room that fail before the next one succeeds.
    outage: u32,
    /// By their idempotency key: text, source, and how often they were posted.
    messages: BTreeMap<String, (String, String, u32)>,
    tokens: Vec<String>,
}

impl Chat {
    pub fn transport(&self) -> Transport {
        let mut services = RoutesBuilder::default();
        services.add_service(ModelServiceServer::new(self.clone()));
        services.add_service(RoomServiceServer::new(self.clone()));
        Transport::direct(services.routes())
    }

    pub fn translating(&self, how: Translating) {
        self.0.lock().expect("no panic").translating = how;
    }

    /// Texts and languages of the requests so far.
    pub fn translated(&self) -> Vec<(String, String)> {
        self.0.lock().expect("no panic").translated.clone()
    }

    pub fn role(&self, role: Option<&'static str>) {
        self.0.lock().expect("no panic").role = role;
    }

    pub fn outage(&self, calls: u32) {
        self.0.lock().expect("no panic").outage = calls;
    }

    /// The messages of the room: key, text and source.
    pub fn messages(&self) -> Vec<(String, String, String)> {
        let state = self.0.lock().expect("no panic");
        state.messages.iter().map(|(key, (text, source, _))| (key.clone(), text.clone(), source.clone())).collect()
    }

    pub fn tokens(&self) -> Vec<String> {
        self.0.lock().expect("no panic").tokens.clone()
    }

    fn called<T>(&self, request: &Request<T>) {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.0.lock().expect("no panic").tokens.push(token.to_owned());
    }
}

/// Methods of a generated trait, of which the service under test calls only some.
macro_rules! service {
    ($trait:ident, $type:ident { $($implemented:tt)* } $($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl $trait for $type {
            $($implemented)*
            $(async fn $method(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(Status::unimplemented("not called"))
            })*
        }
    };
}

service!(ModelService, Chat {
    type ForwardStream = tokio_stream::Empty<Result<pb::ForwardPart, Status>>;

    async fn forward(&self, _: Request<pb::ForwardRequest>) -> Result<Response<Self::ForwardStream>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn translate(
        &self,
        request: Request<pb::TranslateRequest>,
    ) -> Result<Response<pb::TranslateResponse>, Status> {
        self.called(&request);
        let pb::TranslateRequest { text, into } = request.into_inner();
        let how = {
            let mut state = self.0.lock().expect("no panic");
            state.translated.push((text.clone(), into));
            state.translating
        };
        match how {
            Translating::Works => Ok(Response::new(pb::TranslateResponse { text: format!("[{text}]") })),
            Translating::NoModel => {
                Err(Fault::new(Kind::Unavailable, "No language model is configured").code_is("NO_MODEL").into())
            }
            Translating::Hangs => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Err(Status::deadline_exceeded("late"))
            }
        }
    }
}
    list_models(ListModelsRequest) -> ListModelsResponse;
    load_model(LoadModelRequest) -> LoadModelResponse;
    unload_model(UnloadModelRequest) -> UnloadModelResponse;
    get_usage(GetUsageRequest) -> GetUsageResponse;
);

service!(RoomService, Chat {
    async fn get_room(&self, request: Request<pb::GetRoomRequest>) -> Result<Response<pb::Room>, Status> {
        self.called(&request);
        let role = self.0.lock().expect("no panic").role;
        let role = role.ok_or_else(|| Fault::new(Kind::NotFound, "There is no such room"))?.to_owned();
        Ok(Response::new(pb::Room { id: request.into_inner().room_id, role, ..Default::default() }))
    }

    async fn post_message(
        &self,
        request: Request<pb::PostMessageRequest>,
    ) -> Result<Response<pb::PostMessageResponse>, Status> {
        self.called(&request);
        let pb::PostMessageRequest { content, idempotency_key, source, .. } = request.into_inner();
        let mut state = self.0.lock().expect("no panic");
        if state.role.unwrap_or_default().is_empty() {
            return Err(Fault::new(Kind::Forbidden, "Only members of the room publish captions in it").into());
        }
        let message = state.messages.entry(idempotency_key).or_insert((content, source, 0));
        message.2 += 1;
        if state.outage > 0 {
            // The message is stored, and the answer is lost.
            state.outage -= 1;
            return Err(Status::unavailable("gone"));
        }
        Ok(Response::new(pb::PostMessageResponse::default()))
    }
}
    create_room(CreateRoomRequest) -> CreateRoomResponse;
    list_rooms(ListRoomsRequest) -> ListRoomsResponse;
    update_room(UpdateRoomRequest) -> Room;
    delete_room(DeleteRoomRequest) -> DeleteRoomResponse;
    put_member(PutMemberRequest) -> RoomMember;
    remove_member(RemoveMemberRequest) -> RemoveMemberResponse;
    list_members(ListMembersRequest) -> ListMembersResponse;
    analyze_health(AnalyzeHealthRequest) -> AnalyzeHealthResponse;
    list_room_messages(ListRoomMessagesRequest) -> ListRoomMessagesResponse;
    edit_message(EditMessageRequest) -> RoomMessage;
    redact_message(RedactMessageRequest) -> RoomMessage;
    mark_read(MarkReadRequest) -> MarkReadResponse;
    list_present(ListPresentRequest) -> ListPresentResponse;
    get_room_stats(GetRoomStatsRequest) -> RoomStats;
    report_presence(ReportPresenceRequest) -> ReportPresenceResponse;
);
