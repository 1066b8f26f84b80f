//! The formats of frames on WebSockets.

use prost::Message;
use serde_json::json;
use turnpike_proto::{
    event::v1::{CommandResponse, event::Body},
    stream::v1::{
        self as pb, ClientFrame, ServerFrame,
        client_frame::Request,
        server_frame::Frame::{self, CaughtUp, Error, Hello, Pong, Record, Subscribed},
    },
    topic::v1 as topics,
};
use turnpike_testkit::Socket;
use turnpike_token::Role;
use turnpike_topic::{CommandId, Topic};
use uuid::Uuid;

use crate::gateway::Gateway;

/// The frames of a socket, of which a message has one or more.
struct Frames {
    socket: Socket,
    received: Vec<ServerFrame>,
    messages: usize,
}

impl Frames {
    async fn next(&mut self) -> ServerFrame {
        if self.received.is_empty() {
            let message = self.socket.next_binary().await.expect("the socket is open");
            let mut rest = message.as_slice();
            while !rest.is_empty() {
                self.received.push(ServerFrame::decode_length_delimited(&mut rest).expect("a frame"));
            }
            self.messages += 1;
        }
        self.received.remove(0)
    }

    async fn send(&mut self, id: &str, request: Request) {
        let frame = ClientFrame { id: id.to_owned(), request: Some(request) };
        self.socket.send_binary(&frame.encode_to_vec()).await;
    }
}

#[tokio::test]
async fn with_its_subprotocol_a_socket_has_the_same_frames_in_binary_form() {
    let gateway = Gateway::start().await;
    let token = gateway.caller(Role::User).token;
    let headers = [
        ("sec-websocket-protocol", "turnpike.v1.protobuf, turnpike.v1"),
        ("authorization", &*format!("Bearer {token}")),
    ];
    let socket = gateway.open("/ws", &headers).await.expect("a socket");
    let mut frames = Frames { socket, received: Vec::new(), messages: 0 };
    let Some(Hello(hello)) = frames.next().await.frame else { panic!("not a hello") };
    assert_eq!((hello.protocol.as_str(), hello.max_topics), ("turnpike.v1.protobuf", 100));

    let (topic, bodies) = command(&gateway).await;
    let topics = [(topic.to_string(), "start".to_owned())].into();
    frames.send("1", Request::Subscribe(pb::Subscribe { topics })).await;
    let subscribed = frames.next().await;
    assert_eq!((subscribed.id.as_str(), &subscribed.topic), ("1", &topic.to_string()));
    assert!(matches!(&subscribed.frame, Some(Subscribed(subscribed)) if subscribed.head.ends_with("-50")));
    let before = frames.messages;
    for (n, body) in (1..).zip(&bodies) {
        let frame = frames.next().await;
        let Some(Record(record)) = frame.frame else { panic!("{frame:?}") };
        assert_eq!((frame.topic, record.n), (topic.to_string(), n));
        assert_eq!(record.event.and_then(|event| event.body).as_ref(), Some(body));
    }
    assert!(frames.messages - before < bodies.len() / 4, "a message has several events");
    assert!(matches!(frames.next().await.frame, Some(CaughtUp(_))));

    frames.socket.send(json!({ "action": "ping", "id": 7 })).await;
    let pong = frames.next().await;
    assert_eq!((pong.id.as_str(), pong.frame), ("7", Some(Pong(pb::Pong {}))), "requests may be JSON");
    frames.send("", Request::Ping(pb::Ping {})).await;
    assert_eq!(frames.next().await.frame, Some(Frame::Pong(pb::Pong {})));
    frames.socket.send_binary(b"\xff").await;
    let Some(Error(error)) = frames.next().await.frame else { panic!("not an error") };
    assert_eq!(error.code, "INVALID_PROTOBUF");
    frames.socket.send_binary(&vec![0; 70_000]).await;
    let Some(Error(error)) = frames.next().await.frame else { panic!("not an error") };
    assert_eq!(error.code, "MESSAGE_TOO_LARGE");
}

/// The open topic of a command with fifty events.
async fn command(gateway: &Gateway) -> (Topic, Vec<Body>) {
    let id = CommandId::from(Uuid::now_v7());
    let mut bodies = Vec::new();
    for sequence_number in 1..=50 {
        let response_json = json!({ "n": sequence_number }).to_string();
        let body = CommandResponse { command_id: id.to_string(), sequence_number, is_final: false, response_json };
        bodies.push(Body::CommandResponse(body));
    }
    for body in &bodies {
        gateway.publish(Topic::Response(id), body.clone(), false).await;
    }
    let (archive, first) = (topics::Archive::Open.into(), String::new());
    gateway.vehicles.respond::<topics::AuthorizeRequest, _>(topics::AuthorizeResponse { archive, first });
    gateway.vehicles.respond::<topics::ReadArchiveRequest, _>(topics::ReadArchiveResponse::default());
    (Topic::Response(id), bodies)
}

#[tokio::test]
async fn a_socket_of_json_takes_no_binary_messages() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.caller(Role::User).socket().await;
    assert_eq!(socket.frame().await["protocol"], "turnpike.v1");
    socket
        .send_binary(&ClientFrame { id: String::new(), request: Some(Request::Ping(pb::Ping {})) }.encode_to_vec())
        .await;
    assert_eq!(socket.frame().await["code"], "INVALID_JSON");
}
