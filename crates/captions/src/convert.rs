//! Between the service's types and the generated ones.

use turnpike_event::CaptionsState;
use turnpike_proto::{captions::v1 as pb, timestamp};

use crate::{
    audio::Encoding,
    passing::Passed,
    search::Match,
    self_test::SelfTest,
    session::{Described, Kept, Measured, Partial, Session, Spread},
};

pub(crate) fn state(state: CaptionsState) -> pb::State {
    match state {
        CaptionsState::Starting => pb::State::Starting,
        CaptionsState::Running => pb::State::Running,
        CaptionsState::Paused => pb::State::Paused,
        CaptionsState::Draining => pb::State::Draining,
        CaptionsState::Stopped => pb::State::Stopped,
        CaptionsState::Failed => pb::State::Failed,
    }
}

pub(crate) fn session(session: &Session) -> pb::Session {
    let described = session.describe();
    let Described { opened, format, state: now, reason, samples, stored, finals, ended_at, translation, room } =
        described;
    let encoding = match format.encoding {
        Encoding::S16 => pb::Encoding::PcmS16le,
        Encoding::F32 => pb::Encoding::PcmF32le,
    };
    pb::Session {
        session_id: opened.session_id.to_string(),
        state: state(now).into(),
        reason,
        language: opened.language,
        engine: opened.engine,
        audio: Some(pb::Audio { encoding: encoding.into(), sample_rate: format.rate }),
        created_at: Some(timestamp::to_protobuf(opened.at)),
        ended_at: ended_at.map(timestamp::to_protobuf),
        samples,
        stored_samples: stored,
        finals,
        keep_audio: opened.keep_audio,
        translate_to: opened.translate_to,
        translate_partials: opened.translate_partials,
        room_id: opened.room_id.map(|id| id.to_string()).unwrap_or_default(),
        translation: translation.map(passed),
        room: room.map(passed),
    }
}

fn passed(passed: Passed) -> pb::Passed {
    let Passed { done, missed, waiting, problem } = passed;
    pb::Passed { done, missed, waiting, problem }
}

pub(crate) fn kept(kept: Kept) -> pb::Final {
    let word = |(text, start_ms, end_ms, confidence)| pb::Word { text, start_ms, end_ms, confidence };
    pb::Final {
        segment: kept.segment,
        text: kept.text,
        start_ms: kept.start_ms,
        end_ms: kept.end_ms,
        confidence: kept.confidence,
        reason: kept.reason,
        words: kept.words.into_iter().map(word).collect(),
        corrected: kept.corrected,
        translation: kept.translation,
    }
}

pub(crate) fn found(found: Match) -> pb::TranscriptMatch {
    let Match { session, kept, snippet } = found;
    pb::TranscriptMatch {
        session_id: session.id().to_string(),
        created_at: Some(timestamp::to_protobuf(session.opened.at)),
        segment: kept.segment,
        start_ms: kept.start_ms,
        end_ms: kept.end_ms,
        snippet,
    }
}

pub(crate) fn partial(partial: Partial) -> pb::Partial {
    pb::Partial {
        segment: partial.segment,
        committed: partial.committed,
        tentative: partial.tentative,
        start_ms: partial.span.start_ms,
        end_ms: partial.span.end_ms,
    }
}

pub(crate) fn metrics(measured: &Measured, final_count: u64, lag_ms: u64, rates: (f64, f64)) -> pb::Metrics {
    let spread = |spread: Spread| {
        let Spread { count, avg, min, max, p50, p95 } = spread;
        Some(pb::Distribution { count, avg, min, max, p50, p95 })
    };
    pb::Metrics {
        partial_count: measured.partial_count,
        final_count,
        eou_reasons: measured.ends.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
        partial_intervals_ms: spread(measured.partial_intervals.spread()),
        final_latency_ms: spread(measured.final_latency.spread()),
        first_caption_ms: spread(measured.first_caption.spread()),
        finalize_ms: spread(measured.finalize.spread()),
        partials_per_second: rates.0,
        finals_per_second: rates.1,
        real_time_factor: measured.real_time_factor,
        lag_ms,
        rms: measured.level.rms,
        peak: measured.level.peak,
        clipped: measured.level.clipped,
    }
}

pub(crate) fn self_test(tested: SelfTest) -> pb::SelfTestResponse {
    let SelfTest { engine, open, hear, audio_ms, level, text } = tested;
    pb::SelfTestResponse {
        engine: engine.to_owned(),
        open_ms: open.as_secs_f64() * 1000.0,
        hear_ms: hear.as_secs_f64() * 1000.0,
        audio_ms,
        rms: level.rms,
        peak: level.peak,
        heard: !text.is_empty(),
        text,
    }
}
