//! How payloads are published at each server.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedWriteHalf},
    task::JoinSet,
};
use turnpike_bus::Bus;
use turnpike_event::{Body, CommandEvent, Event, Json};
use turnpike_topic::{CommandId, Topic};
use uuid::Uuid;

use super::client::{mqtt_connect, payload};

/// How a server takes payloads.
#[derive(Clone)]
pub(crate) enum Way {
    /// The bus of Turnpike.
    Bus(Bus, Vec<Topic>),
    /// `POST /pub?id=t0`.
    Http(String),
    Nats(String),
    Mqtt(String),
    /// A line with the number of the topic and the payload.
    Lines(String),
    /// A line with the topic and the payload, for the example `publisher` of `turnpike`.
    Topics(String, Vec<Topic>),
}

/// A connection that publishes. It does not wait for answers.
pub(crate) enum Publisher {
    Bus(Bus, Vec<Topic>, JoinSet<()>),
    Stream(Way, OwnedWriteHalf),
}

/// Publishes on the bus that wait for Redis at once.
const AT_ONCE: usize = 64;

impl Publisher {
    pub(crate) async fn open(way: &Way) -> Self {
        let address = match way {
            Way::Bus(bus, topics) => return Self::Bus(bus.clone(), topics.clone(), JoinSet::new()),
            Way::Http(address)
            | Way::Nats(address)
            | Way::Mqtt(address)
            | Way::Lines(address)
            | Way::Topics(address, _) => address,
        };
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        let (mut read, mut write) = stream.into_split();
        tokio::spawn(async move {
            let mut ignored = [0; 4096];
            while let Ok(1..) = read.read(&mut ignored).await {}
        });
        let first = match way {
            Way::Nats(_) => b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n".to_vec(),
            Way::Mqtt(_) => mqtt_connect(),
            Way::Lines(_) => b"PUBLISH\n".to_vec(),
            Way::Bus(..) | Way::Http(_) | Way::Topics(..) => Vec::new(),
        };
        write.write_all(&first).await.expect("the server reads");
        Self::Stream(way.clone(), write)
    }

    /// Publishes the present time to a topic.
    pub(crate) async fn publish(&mut self, topic: usize) {
        match self {
            Self::Bus(bus, topics, pending) => {
                let (bus, topic) = (bus.clone(), topics[topic]);
                let event = event(&payload());
                pending.spawn(async move {
                    bus.publish(&topic, &event).await.expect("the event is published");
                });
                while pending.len() >= AT_ONCE {
                    pending.join_next().await;
                }
                while pending.try_join_next().is_some() {}
            }
            Self::Stream(way, stream) => {
                let message = encoded(way, topic, &payload());
                stream.write_all(&message).await.expect("the server reads");
            }
        }
    }
}

fn encoded(way: &Way, topic: usize, payload: &str) -> Vec<u8> {
    match way {
        Way::Http(address) => {
            let length = payload.len();
            format!("POST /pub?id=t{topic} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{payload}")
                .into()
        }
        Way::Nats(_) => format!("PUB t{topic} {}\r\n{payload}\r\n", payload.len()).into(),
        Way::Mqtt(_) => {
            let name = format!("t{topic}");
            let mut length = 2 + name.len() + payload.len();
            let mut packet = vec![0x30];
            while length >= 128 {
                packet.push(u8::try_from(length % 128).expect("short") | 0x80);
                length /= 128;
            }
            packet.push(u8::try_from(length).expect("short"));
            packet.extend([0, u8::try_from(name.len()).expect("short")]);
            packet.extend(name.as_bytes());
            packet.extend(payload.as_bytes());
            packet
        }
        Way::Lines(_) => format!("{topic} {payload}\n").into(),
        Way::Topics(_, topics) => format!("{} {payload}\n", topics[topic]).into(),
        Way::Bus(..) => Vec::new(),
    }
}

/// The payload as the answer of a vehicle.
fn event(payload: &str) -> Vec<u8> {
    let body = Body::Command(CommandEvent::Response {
        command_id: CommandId::from(Uuid::nil()),
        sequence_number: 1,
        is_final: false,
        response: Json::parse(format!(r#"{{"p":"{payload}"}}"#)).expect("JSON"),
    });
    Event { at: jiff::Timestamp::now(), body }.to_bytes().to_vec()
}
