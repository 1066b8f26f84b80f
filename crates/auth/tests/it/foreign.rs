//! A plain gRPC client over a real socket.

use std::time::Duration;

use tokio_stream::StreamExt;
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use turnpike_kit::{listen, variables};
use turnpike_proto::auth::v1::{self as pb, auth_service_client::AuthServiceClient};
use turnpike_testkit::{Database, eventually};

use crate::harness::{Harness, PASSWORD};

const SERVICE: &str = "turnpike.auth.v1.AuthService";

pub(crate) async fn socket(harness: &Harness) -> Channel {
    let listener = listen::bind(&variables::AUTH_GRPC, ([127, 0, 0, 1], 0).into()).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    turnpike_rpc::serve(&harness.process, listener, harness.service.routes());
    Channel::from_shared(format!("http://{address}")).expect("a URL").connect().await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_grpc_client_can_sign_in_and_call() {
    let database = Database::sqlite();
    let harness = Harness::new(&database).await;
    let mut client = AuthServiceClient::new(socket(&harness).await);
    let login =
        pb::LoginRequest { identifier: "admin".to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
    let tokens = client.login(login).await.expect("signed in").into_inner().tokens.expect("tokens");

    let status = client.get_me(pb::GetMeRequest {}).await.expect_err("without a token");
    assert_eq!(status.code(), Code::Unauthenticated);
    for scheme in ["Bearer", "bearer"] {
        let mut request = Request::new(pb::GetMeRequest {});
        let value = format!("{scheme} {}", tokens.access_token).parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
        assert_eq!(client.get_me(request).await.expect("me").into_inner().username, "admin");
    }
    let mut request = Request::new(pb::GetMeRequest {});
    request.metadata_mut().insert("authorization", "Basic YTpi".parse().expect("ASCII"));
    assert_eq!(client.get_me(request).await.expect_err("not a bearer").code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_need_no_credential() {
    let database = Database::sqlite();
    let harness = Harness::new(&database).await;
    let channel = socket(&harness).await;
    for service in ["", SERVICE] {
        eventually("a service that is ready", 10, || {
            let mut client = HealthClient::new(channel.clone());
            async move {
                let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.ok()?;
                (answer.into_inner().status() == ServingStatus::Serving).then_some(())
            }
        })
        .await;
    }

    let mut client = ServerReflectionClient::new(channel.clone());
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(format!("{SERVICE}.Login"))),
    ];
    let answers = client.server_reflection_info(tokio_stream::iter(questions)).await.expect("answers").into_inner();
    let answers: Vec<_> =
        answers.map(|one| one.expect("an answer").message_response.expect("a message")).collect().await;
    let [MessageResponse::ListServicesResponse(services), MessageResponse::FileDescriptorResponse(files)] =
        &answers[..]
    else {
        panic!("{answers:?}");
    };
    assert!(services.service.iter().any(|service| service.name == SERVICE), "{services:?}");
    assert!(!files.file_descriptor_proto.is_empty());

    // Health says NOT_SERVING before the listener closes.
    let mut watch = HealthClient::new(channel)
        .watch(HealthCheckRequest { service: SERVICE.to_owned() })
        .await
        .expect("a watch")
        .into_inner();
    let first = watch.next().await.expect("a state").expect("no error").status();
    assert_eq!(first, ServingStatus::Serving);
    let (_, next) = tokio::join!(harness.process.stop(Duration::from_secs(2)), watch.next());
    let next = next.expect("a state").expect("no error").status();
    assert_eq!(next, ServingStatus::NotServing);
}
