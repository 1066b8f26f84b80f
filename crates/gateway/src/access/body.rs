//! Request bodies: their limits of length and time, and the memory that all of them share.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRef, FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use turnpike_fault::{Fault, Kind};

use crate::http::{extract, problem::Problem};

/// The longest body of a route that takes neither credentials nor a prompt.
pub(crate) const LARGE: usize = 256 << 10;
/// The longest body of a route that takes credentials. Clients without credentials may send such bodies.
pub(crate) const SMALL: usize = 8 << 10;

/// The bytes of all bodies that are being received or handled. Bodies with credentials have their own share, so that unknown
/// clients cannot use up the share of signed-in users. A parsed large body can need several times as much memory.
const SMALL_IN_FLIGHT: usize = 32 << 20;
const LARGE_IN_FLIGHT: usize = 16 << 20;
/// Bodies longer than [`LARGE`]: prompts, which may contain images.
const PROMPTS_IN_FLIGHT: usize = 64 << 20;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body of at most `MAX` bytes. The second field holds its share of the memory until the handler has ended.
pub(crate) struct Body<T, const MAX: usize = LARGE>(
    pub(crate) T,
    #[expect(dead_code, reason = "held for its drop, at the end of the handler")] pub(crate) Share,
);

/// A share of the memory for bodies.
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

impl<S: Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for Body<T, MAX>
where
    Arc<Bodies>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (bytes, share) =
            Arc::<Bodies>::from_ref(state).receive(request, MAX).await.map_err(Refused::into_response)?;
        let value = extract::json(&bytes).map_err(|fault| Problem(fault).into_response())?;
        Ok(Self(value, share))
    }
}

/// Like [`Body`], but the body may be absent, or `null`.
pub(crate) struct OptionalBody<T>(
    pub(crate) T,
    #[expect(dead_code, reason = "held for its drop, at the end of the handler")] pub(crate) Share,
);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T>
where
    Arc<Bodies>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (bytes, share) =
            Arc::<Bodies>::from_ref(state).receive(request, LARGE).await.map_err(Refused::into_response)?;
        if bytes.is_empty() || bytes.trim_ascii() == b"null" {
            return Ok(Self(T::default(), share));
        }
        let value = extract::json(&bytes).map_err(|fault| Problem(fault).into_response())?;
        Ok(Self(value, share))
    }
}

/// Why a body was not received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    TooLong { max: usize },
    TooSlow,
    Full,
    Broken,
}

impl Refused {
    /// The failure, and its HTTP status.
    pub(crate) fn fault(&self) -> (Fault, StatusCode) {
        let fault = match self {
            Self::TooLong { max } => Fault::new(Kind::TooLarge, format!("The body has at most {max} bytes")),
            Self::TooSlow => {
                let fault = Fault::new(Kind::Timeout, "The body did not arrive in time").code_is("REQUEST_TIMEOUT");
                return (fault, StatusCode::REQUEST_TIMEOUT);
            }
            Self::Full => Fault::new(Kind::Unavailable, "Too many requests are being received; try again shortly")
                .code_is("OVERLOADED")
                .retry_after(Duration::from_secs(1)),
            Self::Broken => Fault::new(Kind::Invalid, "The body could not be read"),
        };
        let status = fault.kind().http_status();
        (fault, status)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (fault, status) = self.fault();
        Problem(fault).with_status(status)
    }
}

/// The memory that all bodies share.
pub(crate) struct Bodies {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    prompts: Arc<Semaphore>,
    timeout: Duration,
}

impl Default for Bodies {
    fn default() -> Self {
        Self::new([SMALL_IN_FLIGHT, LARGE_IN_FLIGHT, PROMPTS_IN_FLIGHT], BODY_TIMEOUT)
    }
}

impl Bodies {
    fn new(bytes: [usize; 3], timeout: Duration) -> Self {
        let [small, large, prompts] = bytes.map(|bytes| Arc::new(Semaphore::new(bytes)));
        Self { small, large, prompts, timeout }
    }

    /// A body of at most `max` bytes, and its share of the memory.
    pub(crate) async fn receive(&self, request: Request, max: usize) -> Result<(Vec<u8>, Share), Refused> {
        let mut body = request.into_body();
        if http_body::Body::size_hint(&body).lower() > max as u64 {
            return Err(Refused::TooLong { max });
        }
        // A prompt with images takes longer.
        let timeout = if max > LARGE { 3 * self.timeout } else { self.timeout };
        tokio::time::timeout(timeout, self.collect(&mut body, max)).await.unwrap_or(Err(Refused::TooSlow))
    }

    async fn collect(&self, body: &mut axum::body::Body, max: usize) -> Result<(Vec<u8>, Share), Refused> {
        let announced = http_body::Body::size_hint(body).lower();
        let memory = match max {
            max if max <= SMALL => &self.small,
            max if max <= LARGE => &self.large,
            _ => &self.prompts,
        };
        let (mut bytes, mut share) = (Vec::new(), Share(None));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() else { continue };
            if bytes.len() + data.len() > max {
                return Err(Refused::TooLong { max });
            }
            let permits = u32::try_from(data.len()).map_err(|_| Refused::TooLong { max })?;
            let more = memory.clone().try_acquire_many_owned(permits).map_err(|_| Refused::Full)?;
            match &mut share.0 {
                Some(share) => share.merge(more),
                none => *none = Some(more),
            }
            if bytes.is_empty() {
                // The announced length, and only once the first bytes have arrived.
                bytes.reserve_exact(usize::try_from(announced).unwrap_or(max).clamp(data.len(), max));
            }
            // Copied: a chunk is a part of the connection's buffer and would keep the whole buffer alive.
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, share))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as Raw;
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};

    use super::*;

    fn request(body: Raw) -> Request {
        Request::new(body)
    }

    /// A body whose length is not announced.
    fn chunks(sizes: &[usize]) -> Raw {
        let chunks: Vec<_> = sizes.iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; *size]))).collect();
        Raw::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused_with_or_without_its_length() {
        let bodies = Bodies::default();
        let (bytes, _) = bodies.receive(request(chunks(&[4000, 4192])), SMALL).await.expect("as long as allowed");
        assert_eq!(bytes.len(), SMALL);
        let too_long = Some(Refused::TooLong { max: SMALL });
        assert_eq!(bodies.receive(request(chunks(&[4000, 4193])), SMALL).await.err(), too_long);
        assert_eq!(bodies.receive(request(Raw::from(vec![b' '; SMALL + 1])), SMALL).await.err(), too_long);
    }

    #[tokio::test]
    async fn all_bodies_share_the_memory_until_their_handlers_have_ended() {
        let bodies = Bodies::new([10_000; 3], BODY_TIMEOUT);
        let (_, first) = bodies.receive(request(chunks(&[3000, 3000])), SMALL).await.expect("there is room");
        assert_eq!(bodies.receive(request(chunks(&[3000, 3000])), SMALL).await.err(), Some(Refused::Full));
        assert!(bodies.receive(request(chunks(&[4000])), SMALL).await.is_ok(), "a refused body keeps nothing");
        assert!(bodies.receive(request(chunks(&[9000])), LARGE).await.is_ok(), "users have a memory of their own");
        drop(first);
        assert_eq!(bodies.small.available_permits(), 10_000);
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let bodies = Bodies::new([10_000; 3], Duration::from_millis(20));
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]).chain(stream::pending());
        let refused = bodies.receive(request(Raw::from_stream(begun)), SMALL).await.err();
        assert_eq!(refused, Some(Refused::TooSlow));
        assert_eq!(bodies.small.available_permits(), 10_000);
    }
}
