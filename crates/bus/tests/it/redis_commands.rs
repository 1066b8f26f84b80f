//! Redis commands on a connection besides those of the bus.

use redis::{Client, FromRedisValue, aio::MultiplexedConnection};

/// Sends a command, as words, on a new connection.
pub(crate) async fn ask_at<T: FromRedisValue>(url: &str, command: &str) -> T {
    let client = Client::open(url).expect("a URL");
    ask(&client.get_multiplexed_async_connection().await.expect("a connection"), command).await
}

/// Sends a command, as words.
pub(crate) async fn ask<T: FromRedisValue>(connection: &MultiplexedConnection, command: &str) -> T {
    let mut words = command.split_whitespace();
    let mut cmd = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd.query_async(&mut connection.clone()).await.unwrap_or_else(|error| panic!("{command}: {error}"))
}
