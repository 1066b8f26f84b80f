//! Audio that is cut, repeated, taken over and faster than the engine.

use std::time::Duration;

use proptest::prelude::*;
use tonic::Code;
use turnpike_captions::engine::scripted::Act;
use turnpike_fault::Fault;
use turnpike_proto::captions::v1 as pb;
use turnpike_testkit::{pcm, recordings, within};

use crate::world::World;

fn speech() -> Vec<u8> {
    recordings().iter().flat_map(|recording| [pcm(&recording.samples), vec![0; 32_000]].concat()).collect()
}

/// The finals of audio that arrives over streams which are cut after so many messages each.
async fn heard(world: &World, speech: &[u8], piece: usize, cuts: &[usize]) -> Vec<(u64, String, u64, u64)> {
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    let mut cuts = cuts.iter();
    loop {
        let (mut stream, first) = caller.stream(&id, None).await.expect("a stream");
        // The service says where the audio continues. The end of a cut stream may not have arrived.
        let arrived = first.samples as usize * 2;
        if arrived == speech.len() {
            break;
        }
        let messages = cuts.next().copied().unwrap_or(usize::MAX);
        for bytes in speech[arrived..].chunks(piece).take(messages) {
            stream.audio(bytes).await;
        }
        match messages {
            usize::MAX => drop(stream.close().await),
            // As a client that is killed: what is on the way may arrive or not.
            _ => drop(stream),
        }
    }
    caller.stop(&id).await.expect("stopped");
    let finals = caller.finals(&id).await;
    instance.stop().await;
    finals.into_iter().map(|last| (last.segment, last.text, last.start_ms, last.end_ms)).collect()
}

#[test]
fn a_stream_that_is_cut_anywhere_gives_the_same_transcript() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let speech = speech();
    let whole = runtime.block_on(heard(&World::scripted(Act::Speak), &speech, 8_000, &[]));
    assert_eq!(whole.len(), 5, "{whole:?}");
    let cuts = prop::collection::vec(0..20_usize, 0..12);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 12, ..ProptestConfig::default() });
    runner
        .run(&(cuts, 501..9_000_usize), |(cuts, piece)| {
            let world = World::scripted(Act::Speak);
            let parts = runtime.block_on(heard(&world, &speech, piece, &cuts));
            prop_assert_eq!(&whole, &parts);
            Ok(())
        })
        .expect("the same transcript");
}

#[tokio::test]
async fn audio_that_has_arrived_is_dropped_and_a_gap_is_refused() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    let (mut stream, first) = caller.stream(&id, Some(0)).await.expect("a stream");
    assert_eq!(first.samples, 0);
    stream.audio(&[0; 2_000]).await;
    assert_eq!(stream.close().await.samples, 1_000);
    let (mut stream, first) = caller.stream(&id, Some(400)).await.expect("a stream");
    assert_eq!(first.samples, 1_000);
    stream.audio(&[0; 2_000]).await;
    assert_eq!(stream.close().await.samples, 1_400, "600 samples were known");
    let gap = Fault::from(caller.stream(&id, Some(1_401)).await.map(|_| ()).expect_err("a gap"));
    assert_eq!((gap.code(), gap.fields()[0].field.as_str()), ("AUDIO_GAP", "sample"));
    instance.stop().await;
}

#[tokio::test]
async fn a_stream_that_begins_late_does_not_take_the_place_of_a_later_one() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        numbers.push(caller.snapshot(&id).await.expect("own").number);
    }
    let start = |n: usize| pb::Start { session_id: id.clone(), sample: Some(0), snapshot: Some(numbers[n]) };
    let (mut later, _) = caller.start(start(1)).await.expect("a stream");
    let late = Fault::from(caller.start(start(0)).await.map(|_| ()).expect_err("late"));
    assert_eq!(late.code(), "REPLACED");
    later.audio(&[0; 2_000]).await;
    assert_eq!(later.close().await.samples, 1_000, "the later stream goes on");
    instance.stop().await;
}

#[tokio::test]
async fn the_latest_stream_takes_the_place_of_the_one_before() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    let (mut first, _) = caller.stream(&id, None).await.expect("a stream");
    let (mut second, _) = caller.stream(&id, None).await.expect("a stream");
    let ended = within("the end of the first stream", 20, async {
        loop {
            if let Err(status) = first.responses.message().await {
                return status;
            }
        }
    })
    .await;
    assert_eq!(Fault::from(ended).code(), "REPLACED");
    second.audio(&[0; 200]).await;
    assert_eq!(second.close().await.samples, 100);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_engine_holds_the_client_back_and_loses_no_final() {
    let world = World::scripted(Act::Slow(Duration::from_millis(20)));
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    let speech = speech();
    for _ in 0..3 {
        caller.send(&id, &speech).await;
    }
    caller.stop(&id).await.expect("stopped");
    let segments: Vec<u64> = caller.finals(&id).await.into_iter().map(|last| last.segment).collect();
    assert_eq!(segments, (1..=15).collect::<Vec<_>>());
    instance.stop().await;
}

#[tokio::test]
async fn a_stream_must_begin_with_its_session() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    assert_eq!(caller.stream("", None).await.map(|_| ()).expect_err("no session").code(), Code::NotFound);
    instance.stop().await;
}

#[tokio::test]
async fn a_stopping_service_ends_its_streams() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    let (mut stream, _) = caller.stream(&id, None).await.expect("a stream");
    stream.audio(&speech()[..64_000]).await;
    instance.stop().await;
    let mut ended = stream.responses.message().await;
    while let Ok(Some(_)) = ended {
        ended = stream.responses.message().await;
    }
    assert_eq!(ended.expect_err("a reason").code(), Code::Unavailable);
}
