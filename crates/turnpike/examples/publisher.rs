//! Every service in one process, as `turnpike serve`, whose bus in memory others can publish on: `./scripts/bench realtime` measures
//! with it. It listens on a free port of 127.0.0.1 for lines of a topic, a space, and text without quotation marks, and publishes
//! the text as a response of a vehicle.

#![expect(clippy::print_stdout, reason = "a program that prints its addresses")]
#![expect(clippy::disallowed_methods, reason = "connections of a load generator end with the process")]

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
};
use turnpike_bus::Bus;
use turnpike_event::{Body, CommandEvent, Event, Json};
use turnpike_topic::{CommandId, Topic};
use uuid::Uuid;

fn main() -> std::process::ExitCode {
    turnpike_kit::run("publisher", async |process| {
        let started = turnpike::start(process, false, |_| ()).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("Publishes the lines of {}", listener.local_addr()?);
        println!("Turnpike is ready: http://{}", started.address);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(publish(stream, started.bus.clone()));
            }
        });
        Ok(())
    })
}

async fn publish(stream: TcpStream, bus: Bus) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let published = match line.split_once(' ') {
            Some((topic, text)) => topic.parse().map(|topic: Topic| (topic, event(text))).ok(),
            None => None,
        };
        let Some((topic, event)) = published else {
            println!("not a topic and a text: {line}");
            return;
        };
        if let Err(error) = bus.publish(&topic, &event).await {
            println!("{topic}: {error}");
        }
    }
}

fn event(text: &str) -> Vec<u8> {
    let body = Body::Command(CommandEvent::Response {
        command_id: CommandId::from(Uuid::nil()),
        sequence_number: 1,
        is_final: false,
        response: Json::parse(format!(r#"{{"p":"{text}"}}"#)).expect("the text has no quotation marks"),
    });
    Event { at: jiff::Timestamp::now(), body }.to_bytes().to_vec()
}
