//! How many events a second one process publishes through one Redis: pipelined, each with its own answer.
//!
//! ```sh
//! cargo run --release -p turnpike-bus --example publish_rate -- redis://127.0.0.1:6379 [publishes] [at a time] [topics]
//! ```

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::task::JoinSet;
use turnpike_bus::{Bus, Limits, Status};
use turnpike_topic::{CommandId, Topic};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (publishes, at_a_time, topics) = (number(300_000)?, number(512)?, number(100)?);

    let bus = Bus::redis(&url, Limits::default())?;
    bus.status().wait_for(|status| *status == Status::Up).await?;
    let topics: Arc<[Topic]> = (0..topics).map(|_| Topic::Response(CommandId::from(Uuid::now_v7()))).collect();
    let event: Arc<[u8]> = vec![b'x'; 106].into(); // the size of a short response

    let (started, taken) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut publishers = JoinSet::new();
    for _ in 0..at_a_time {
        let (bus, topics, event, taken) = (bus.clone(), topics.clone(), event.clone(), taken.clone());
        publishers.spawn(async move {
            loop {
                let i = taken.fetch_add(1, Ordering::Relaxed);
                if i >= publishes {
                    return Ok(());
                }
                bus.publish(&topics[i as usize % topics.len()], &event).await?;
            }
        });
    }
    let results: Result<Vec<()>, turnpike_bus::PublishError> = publishers.join_all().await.into_iter().collect();
    results?;
    let elapsed = started.elapsed();

    for topic in topics.iter() {
        bus.forget(topic).await?;
    }
    let rate = publishes as f64 / elapsed.as_secs_f64();
    let (bytes, topics) = (event.len(), topics.len());
    writeln!(
        std::io::stdout(),
        "{rate:.0} publishes/s ({publishes} of {bytes} bytes, {at_a_time} at a time, {topics} topics, {elapsed:.2?})"
    )?;
    Ok(())
}
