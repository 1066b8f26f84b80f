//! Calling a script over a connection that may break.

use redis::{ErrorKind, FromRedisValue, RedisError, RetryMethod, Script, ScriptInvocation, ServerErrorKind};
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::link::Link;
use crate::error::{Cause, Unavailable};

/// Whether Redis may have executed this call already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The call was not sent before.
    First,
    /// An earlier attempt was sent, and its answer was lost.
    Again,
}

/// How to continue after an error.
enum Remedy {
    Reconnect,
    Wait,
    GiveUp,
}

/// Before a Redis that answers, but cannot execute the call yet, is asked again.
const RETRY_DELAY: Duration = Duration::from_millis(50);

impl Link {
    /// Calls a script, if necessary on several connections one after the other, until the timeout. The arguments may depend on
    /// the attempt and on the run id of the Redis process that gets them.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        timeout: Duration,
        script: &Script,
        arguments: impl Fn(&mut ScriptInvocation<'_>, Attempt, &str),
    ) -> Result<T, Unavailable> {
        let deadline = Instant::now() + timeout;
        let mut attempt = Attempt::First;
        loop {
            let mut connection = self.connection(deadline).await.ok_or(Unavailable(Cause::NoConnection(timeout)))?;
            let mut call = script.prepare_invoke();
            arguments(&mut call, attempt, &connection.run);
            let answer = tokio::select! {
                biased;
                answer = timeout_at(deadline, call.invoke_async(&mut connection.commands)) => answer,
                // Another task found that this connection is broken: the next one is used before the timeout.
                () = connection.lost.cancelled() => {
                    attempt = Attempt::Again;
                    continue;
                }
            };
            let error = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(Unavailable(Cause::NoAnswer(timeout))),
            };
            match remedy(&error) {
                Remedy::Reconnect => {
                    connection.lost.cancel();
                    attempt = Attempt::Again;
                }
                Remedy::Wait => sleep(RETRY_DELAY).await,
                Remedy::GiveUp => return Err(Unavailable(Cause::Redis(error))),
            }
        }
    }
}

fn remedy(error: &RedisError) -> Remedy {
    match error.kind() {
        // A failover made this server a replica; the address may lead to the new primary now.
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Remedy::Reconnect,
        // The script was loaded, and flushed before it was called.
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
