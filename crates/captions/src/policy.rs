//! Which caller may call which method.

use turnpike_rpc::{Access, Policy};
use turnpike_token::Role;

const USER: Access = Access::Role(Role::User);

/// Every method is for users; a session is its owner's.
pub const POLICY: Policy = &[
    ("/turnpike.captions.v1.CaptionService/OpenSession", USER),
    ("/turnpike.captions.v1.CaptionService/ListSessions", USER),
    ("/turnpike.captions.v1.CaptionService/GetSnapshot", USER),
    ("/turnpike.captions.v1.CaptionService/GetTranscript", USER),
    ("/turnpike.captions.v1.CaptionService/GetMetrics", USER),
    ("/turnpike.captions.v1.CaptionService/GetAudio", USER),
    ("/turnpike.captions.v1.CaptionService/ListEngines", USER),
    ("/turnpike.captions.v1.CaptionService/SelfTest", USER),
    ("/turnpike.captions.v1.CaptionService/PauseSession", USER),
    ("/turnpike.captions.v1.CaptionService/ResumeSession", USER),
    ("/turnpike.captions.v1.CaptionService/FinalizeSession", USER),
    ("/turnpike.captions.v1.CaptionService/StopSession", USER),
    ("/turnpike.captions.v1.CaptionService/CorrectFinal", USER),
    ("/turnpike.captions.v1.CaptionService/SearchTranscripts", USER),
    ("/turnpike.captions.v1.CaptionService/Transcribe", USER),
    ("/turnpike.captions.v1.CaptionService/TranscribeFile", USER),
    ("/turnpike.topic.v1.TopicOwner/Authorize", USER),
    ("/turnpike.topic.v1.TopicOwner/ReadArchive", USER),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_row() {
        assert_eq!(turnpike_rpc::mismatches(POLICY), Vec::<String>::new());
    }
}
