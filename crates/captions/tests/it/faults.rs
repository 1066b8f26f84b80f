//! Engines that panic and fail, and clients that vanish.

use turnpike_captions::engine::scripted::Act;
use turnpike_event::{CaptionsEvent, CaptionsState};
use turnpike_proto::captions::v1 as pb;
use turnpike_testkit::{eventually, pcm, recordings};

use crate::world::{Caller, World};

async fn speak(caller: &Caller, id: &str) {
    let speech = pcm(&recordings().swap_remove(1).samples);
    let Ok((stream, _)) = caller.stream(id, None).await else { return };
    for piece in speech.chunks(3_200) {
        let input = Some(pb::transcribe_request::Input::Audio(piece.to_vec().into()));
        // The session may have failed already.
        if stream.sender.send(pb::TranscribeRequest { input }).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn an_engine_that_panics_or_fails_ends_its_session_and_no_other() {
    for (act, reason) in [(Act::Panic, "engine_panicked"), (Act::Fail, "engine_failed")] {
        let world = World::scripted(act);
        let instance = world.start().await;
        let caller = world.caller(&instance);
        // More sessions than threads: a thread that died would be missed.
        for _ in 0..5 {
            let id = caller.open().await;
            speak(&caller, &id).await;
            let events = world.events(&id).await;
            let Some(CaptionsEvent::Status { state, reason: why, .. }) = events.last() else { panic!("{events:?}") };
            assert_eq!((*state, why.as_str()), (CaptionsState::Failed, reason));
            let snapshot = caller.snapshot(&id).await.expect("kept");
            assert_eq!(snapshot.session.expect("a session").state(), pb::State::Failed);
        }
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_sessions_with_panics_and_vanished_clients_leave_nothing_behind() {
    let world = World::scripted(Act::Panic).with("TURNPIKE_CAPTIONS_SESSIONS", "1000");
    let calm = World::scripted(Act::Speak).with("TURNPIKE_CAPTIONS_SESSIONS", "1000");
    for world in [&world, &calm] {
        let instance = world.start().await;
        let caller = world.caller(&instance);
        let before = (instance.tasks(), threads());
        for n in 0..250 {
            let id = caller.open().await;
            if n % 5 == 0 {
                speak(&caller, &id).await;
            }
            // The session may have failed; its client vanishes in either case.
            if let Ok((stream, _)) = caller.stream(&id, None).await {
                let input = Some(pb::transcribe_request::Input::Audio(vec![0; 640].into()));
                let _ = stream.sender.send(pb::TranscribeRequest { input }).await;
            }
            if n % 2 == 0 {
                let _ = caller.stop(&id).await;
            }
        }
        eventually("the end of all sessions", 60, async || {
            // Audio that was on its way may have arrived since.
            world.hand.advance(std::time::Duration::from_secs(121));
            (instance.tasks() <= before.0).then_some(())
        })
        .await;
        eventually("no thread more than before", 20, async || (threads() <= before.1).then_some(())).await;
        instance.stop().await;
    }
}

/// The threads of this process that run engines.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.filter_map(Result::ok).map(name).filter(|name| name.starts_with("captions-")).count()
}
