//! Transcripts, as the service has them.

use turnpike_identity::Caller;
use turnpike_proto::captions::v1 as pb;
use turnpike_topic::CaptionsSessionId;

use crate::{app::Captions, http::Answer};

/// Every final of a session.
pub(super) async fn finals(captions: &Captions, caller: &Caller, id: CaptionsSessionId) -> Answer<Vec<pb::Final>> {
    Ok(transcript(captions, caller, id).await?.finals)
}

/// A session and every final of it.
pub(super) async fn transcript(
    captions: &Captions,
    caller: &Caller,
    id: CaptionsSessionId,
) -> Answer<pb::GetTranscriptResponse> {
    let request = caller.token.request(pb::GetTranscriptRequest { session_id: id.to_string() });
    Ok(captions.client().get_transcript(request).await?.into_inner())
}
