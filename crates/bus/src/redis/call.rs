//! Calling a script over a connection that may break.

use redis::{ErrorKind, FromRedisValue, RedisError, RetryMethod, Script, ScriptInvocation, ServerErrorKind};
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::link::Link;
use crate::{Unavailable, bus::Cause};

/// Whether Redis may know this call already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It cannot.
    First,
    /// An earlier attempt was sent, and its answer lost.
    Again,
}

/// What to do about an error.
enum Remedy {
    Reconnect,
    Wait,
    GiveUp,
}

/// Until a Redis that is there, and cannot yet, is asked again.
const PAUSE: Duration = Duration::from_millis(50);

impl Link {
    /// Calls a script and gives its answer, over as many connections as it takes within the bound. The arguments may depend
    /// on the attempt and on the run id of the Redis process that gets them.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        bound: Duration,
        script: &Script,
        arguments: impl Fn(&mut ScriptInvocation<'_>, Attempt, &str),
    ) -> Result<T, Unavailable> {
        let deadline = Instant::now() + bound;
        let mut attempt = Attempt::First;
        loop {
            let mut connection = self.connection(deadline).await.ok_or(Unavailable(Cause::NoConnection(bound)))?;
            let mut call = script.prepare_invoke();
            arguments(&mut call, attempt, &connection.run);
            let answer = tokio::select! {
                biased;
                answer = timeout_at(deadline, call.invoke_async(&mut connection.commands)) => answer,
                // Someone else found that this connection is silent: no need to wait until the bound.
                () = connection.lost.cancelled() => {
                    attempt = Attempt::Again;
                    continue;
                }
            };
            let error = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(Unavailable(Cause::NoAnswer(bound))),
            };
            match remedy(&error) {
                Remedy::Reconnect => {
                    connection.lost.cancel();
                    attempt = Attempt::Again;
                }
                Remedy::Wait => sleep(PAUSE).await,
                Remedy::GiveUp => return Err(Unavailable(Cause::Redis(error))),
            }
        }
    }
}

fn remedy(error: &RedisError) -> Remedy {
    match error.kind() {
        // A failover made a replica of this one; the address may lead to its successor by now.
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Remedy::Reconnect,
        // Loaded and flushed again between two commands.
        ErrorKind::Server(ServerErrorKind::NoScript) => Remedy::Wait,
        _ => match error.retry_method() {
            RetryMethod::Reconnect | RetryMethod::ReconnectFromInitialConnections | RetryMethod::RetryImmediately => {
                Remedy::Reconnect
            }
            RetryMethod::WaitAndRetry => Remedy::Wait,
            _ => Remedy::GiveUp,
        },
    }
}
