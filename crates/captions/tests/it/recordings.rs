//! Whole recordings, and the self-test.

use std::time::Duration;

use tonic::Status;
use turnpike_captions::engine::scripted::Act;
use turnpike_fault::Fault;
use turnpike_proto::captions::v1::{self as pb, transcribe_file_response::Part};
use turnpike_testkit::{eventually, recordings, wav, word_errors};

use crate::world::{Caller, World};

async fn transcribe(caller: &Caller, wav: Vec<u8>) -> Result<(pb::Recording, Vec<pb::Final>), Status> {
    let request = caller.request(pb::TranscribeFileRequest { wav: wav.into(), ..Default::default() });
    let mut parts = caller.client.clone().transcribe_file(request).await?.into_inner();
    let (mut recording, mut finals) = (None, Vec::new());
    while let Some(message) = parts.message().await? {
        match message.part.expect("a part") {
            Part::Recording(first) => recording = Some(first),
            Part::Final(last) => finals.push(last),
        }
    }
    Ok((recording.expect("the beginning"), finals))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_transcribed_without_a_session() {
    let world = World::real();
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let recording = recordings().swap_remove(1);
    let (described, finals) = transcribe(&caller, wav(&recording.samples)).await.expect("transcribed");
    assert_eq!(described.duration_ms, recording.samples.len() as u64 / 16);
    assert_eq!((described.language.as_str(), described.engine.as_str()), ("en", "moonshine"));
    let heard: String = finals.iter().map(|last| format!("{} ", last.text)).collect();
    assert!(word_errors(&recording.text, &heard) <= 0.15, "{heard}");
    assert!(!finals[0].words.is_empty() && finals[0].end_ms <= described.duration_ms, "{finals:?}");

    let request = caller.request(pb::SelfTestRequest { wav: wav(&recording.samples).into(), ..Default::default() });
    let tested = caller.client.clone().self_test(request).await.expect("tested").into_inner();
    assert!(tested.heard && tested.audio_ms == 1_500 && tested.rms > 0.001 && tested.hear_ms > 0.0, "{tested:?}");
    let tested = caller.client.clone().self_test(caller.request(pb::SelfTestRequest::default())).await;
    let tested = tested.expect("tested").into_inner();
    assert!(!tested.heard && tested.rms == 0.0 && tested.text.is_empty(), "{tested:?}");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_1_000_words_in_whole_recordings_at_most_25_are_wrong() {
    let world = World::real();
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let (mut said, mut heard) = (String::new(), String::new());
    for recording in recordings() {
        said += &format!("{} ", recording.text);
        let (_, finals) = transcribe(&caller, wav(&recording.samples)).await.expect("transcribed");
        finals.iter().for_each(|last| heard += &format!("{} ", last.text));
    }
    let errors = word_errors(&said, &heard);
    assert!(errors <= 0.025, "word error rate {errors:.3}: {heard}");
    instance.stop().await;
}

#[tokio::test]
async fn a_file_that_is_no_recording_names_its_field() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    for file in [b"ID3".to_vec(), Vec::new(), wav(&[])[..20].to_vec()] {
        let fault = Fault::from(transcribe(&caller, file).await.expect_err("refused"));
        assert_eq!(fault.fields()[0].field, "file");
    }
    assert!(transcribe(&caller, wav(&[])).await.expect("a file without samples").1.is_empty());
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_or_panics_ends_the_response_with_an_error_and_frees_its_turn() {
    for act in [Act::Fail, Act::Panic] {
        let world = World::scripted(act);
        let instance = world.start().await;
        let caller = world.caller(&instance);
        for _ in 0..2 {
            let status = transcribe(&caller, wav(&recordings().swap_remove(1).samples)).await.expect_err("failed");
            assert_eq!(status.code(), tonic::Code::Internal, "{status}");
        }
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_stops_its_transcription() {
    let world = World::scripted(Act::Slow(Duration::from_millis(50)));
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let tasks = instance.tasks();
    // Hundreds of segments: more than half a minute of work.
    let speech = recordings().swap_remove(1).samples;
    let long: Vec<i16> = std::iter::repeat_n([speech, vec![0; 16_000]].concat(), 100).flatten().collect();
    let request = caller.request(pb::TranscribeFileRequest { wav: wav(&long).into(), ..Default::default() });
    let mut parts = caller.client.clone().transcribe_file(request).await.expect("begun").into_inner();
    for _ in 0..2 {
        parts.message().await.expect("open").expect("a part");
    }
    drop(parts);
    eventually("the end of the work", 20, async || (instance.tasks() <= tasks).then_some(())).await;
    instance.stop().await;
}
