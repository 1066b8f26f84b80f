//! One stream of audio from a client, and the acknowledgements that go back.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::debug;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::Clock;
use turnpike_proto::captions::v1::{self as pb, transcribe_request::Input};

use crate::{
    convert,
    session::{Lease, Rejected, SessionError},
};

/// How long a client may take for its first message.
const FIRST: Duration = Duration::from_secs(5);
/// Between two acknowledgements.
const ACKNOWLEDGE: Duration = Duration::from_secs(1);

type Responses = mpsc::Sender<Result<pb::TranscribeResponse, Status>>;

/// The first message.
pub(crate) async fn first(input: &mut Streaming<pb::TranscribeRequest>) -> Result<pb::Start, Fault> {
    let invalid = || Fault::new(Kind::Validation, "The first message must be `start`");
    let message = tokio::time::timeout(FIRST, input.message()).await.map_err(|_| invalid())?;
    match message.ok().flatten().and_then(|message| message.input) {
        Some(Input::Start(start)) => Ok(start),
        _ => Err(invalid()),
    }
}

/// Serves the stream until it, the session or the client ends.
pub(crate) async fn run(
    mut lease: Lease,
    mut input: Streaming<pb::TranscribeRequest>,
    responses: Responses,
    clock: Clock,
    stopping: CancellationToken,
) {
    let mut pause = tokio::time::interval(ACKNOWLEDGE);
    let replaced = lease.replaced();
    let session = lease.session().clone();
    let ended = session.ended_now();
    tokio::pin!(replaced, ended);
    let outcome: Result<(), Fault> = loop {
        tokio::select! {
            biased;
            () = &mut replaced => break Err(Rejected::Replaced.into()),
            () = &mut ended => break Ok(()),
            () = stopping.cancelled() => break Err(stopped()),
            _ = pause.tick() => if responses.send(Ok(acknowledge(&lease))).await.is_err() { return },
            message = input.message() => match message {
                Ok(Some(message)) => if let Err(fault) = take(&mut lease, message, &clock).await { break Err(fault) },
                Ok(None) => break Ok(()),
                Err(status) => return debug!(%status, "the client of a caption session has left"),
            },
        }
    };
    let _ = responses.send(Ok(acknowledge(&lease))).await;
    if let Err(fault) = outcome {
        let _ = responses.send(Err(fault.into())).await;
    }
}

async fn take(lease: &mut Lease, message: pb::TranscribeRequest, clock: &Clock) -> Result<(), Fault> {
    let invalid = |message: &'static str| Fault::new(Kind::Validation, message);
    let session = lease.session().clone();
    let done: Result<(), SessionError> = match message.input {
        Some(Input::Audio(bytes)) => return lease.send(&bytes, || clock.now()).await.map_err(Fault::from),
        Some(Input::Control(control)) => {
            use pb::transcribe_request::Control;
            match Control::try_from(control) {
                Ok(Control::Finalize) => session.finalize_now().map(drop),
                Ok(Control::Pause) => session.pause(),
                Ok(Control::Resume) => session.resume(),
                Ok(Control::Stop) => session.stop("requested"),
                Ok(Control::Unspecified) | Err(_) => return Err(invalid("The control is not known")),
            }
        }
        Some(Input::Start(_)) | None => return Err(invalid("Only the first message is `start`")),
    };
    done.map_err(Fault::from)
}

/// The client continues after the restart.
pub(crate) fn stopped() -> Fault {
    Fault::new(Kind::Unavailable, "The captions service is stopping").retry_after(Duration::from_secs(1))
}

fn acknowledge(lease: &Lease) -> pb::TranscribeResponse {
    let described = lease.session().describe();
    let state = convert::state(described.state).into();
    pb::TranscribeResponse { samples: described.samples, stored_samples: described.stored, state }
}
