use proptest::prelude::*;

use super::*;
use crate::pinned::assert_pinned;

prop_compose! {
    fn any_span()(start_ms: u64, end_ms: u64) -> Span {
        Span { start_ms, end_ms }
    }
}

prop_compose! {
    fn any_word()(text: String, span in any_span(), confidence in 0.0_f32..1.0) -> Word {
        Word { text, span, confidence }
    }
}

prop_compose! {
    fn any_caption()(
        segment: u64, text: String, span in any_span(), confidence in 0.0_f32..1.0,
        words in prop::collection::vec(any_word(), 0..4),
    ) -> Caption {
        Caption { segment, text, span, confidence, words }
    }
}

prop_compose! {
    fn any_level()(rms in 0.0..1.0, peak in 0.0..1.0, clipped in 0.0..1.0) -> AudioLevel {
        AudioLevel { rms, peak, clipped }
    }
}

pub(crate) fn any_event() -> impl Strategy<Value = CaptionsEvent> {
    let id = || any::<u128>().prop_map(|id| CaptionsSessionId::from(uuid::Uuid::from_u128(id)));
    prop_oneof![
        (id(), any::<(u64, String, String)>(), any_span()).prop_map(
            |(session_id, (segment, committed, tentative), span)| {
                CaptionsEvent::Partial { session_id, segment, committed, tentative, span }
            }
        ),
        (id(), any_caption(), prop::sample::select(SegmentEnd::ALL))
            .prop_map(|(session_id, caption, reason)| CaptionsEvent::Final { session_id, caption, reason }),
        (id(), prop::sample::select(CaptionsState::ALL), any::<(String, u64, u64)>()).prop_map(
            |(session_id, state, (reason, samples, stored_samples))| {
                CaptionsEvent::Status { session_id, state, reason, samples, stored_samples }
            }
        ),
        (id(), any::<(u64, u64, u64)>(), 0.0..10.0, any_level()).prop_map(
            |(session_id, (partial_count, final_count, lag_ms), real_time_factor, level)| {
                CaptionsEvent::Metrics { session_id, partial_count, final_count, lag_ms, real_time_factor, level }
            }
        ),
        (id(), any::<(u64, String)>()).prop_map(|(session_id, (segment, text))| CaptionsEvent::Corrected {
            session_id,
            segment,
            text
        }),
        (id(), any::<(u64, String, String, bool)>()).prop_map(|(session_id, (segment, language, text, partial))| {
            CaptionsEvent::Translation { session_id, segment, language, text, partial }
        }),
    ]
}

const ID: &str = "00000000-0000-0000-0000-000000000001";
const ID_HEX: &str = "30303030303030302d303030302d303030302d303030302d303030303030303030303031";

fn id() -> CaptionsSessionId {
    CaptionsSessionId::from(uuid::Uuid::from_u128(1))
}

#[test]
fn bytes_and_frames_are_pinned() {
    let span = Span { start_ms: 100, end_ms: 400 };
    assert_pinned(
        crate::Body::Captions(CaptionsEvent::Partial {
            session_id: id(),
            segment: 1,
            committed: "he".into(),
            tentative: "was".into(),
            span,
        }),
        &format!("e203360a24{ID_HEX}10011a026865220377617328643090 03").replace(' ', ""),
        &format!(
            r#""session_id":"{ID}","segment":1,"text":"he was","committed":"he","tentative":"was","start_ms":100,"end_ms":400"#
        ),
    );
    let words = vec![Word { text: "He".into(), span, confidence: 0.5 }];
    let caption = Caption { segment: 1, text: "He".into(), span, confidence: 0.5, words };
    assert_pinned(
        crate::Body::Captions(CaptionsEvent::Final { session_id: id(), caption, reason: SegmentEnd::Silence }),
        &format!(
            "ea034f0a24{ID_HEX}10011a0248652064289003350000003f3a0773696c656e6365420e0a024865106418900325 0000003f"
        )
        .replace(' ', ""),
        &format!(
            r#""session_id":"{ID}","segment":1,"text":"He","start_ms":100,"end_ms":400,"confidence":0.5,"reason":"silence","words":[{{"word":"He","start_ms":100,"end_ms":400,"confidence":0.5}}]"#
        ),
    );
    assert_pinned(
        crate::Body::Captions(CaptionsEvent::Status {
            session_id: id(),
            state: CaptionsState::Paused,
            reason: "requested".into(),
            samples: 3,
            stored_samples: 2,
        }),
        &format!("f2033d0a24{ID_HEX}1206706175736564 1a09726571756573746564 20032802").replace(' ', ""),
        &format!(
            r#""session_id":"{ID}","status":"running","state":"paused","reason":"requested","samples":3,"stored_samples":2"#
        ),
    );
}
