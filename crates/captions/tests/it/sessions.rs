//! The life of a session: owners, limits, pauses, idle time, corrections, restarts.

use std::time::Duration;

use tonic::Code;
use turnpike_captions::engine::scripted::Act;
use turnpike_event::{CaptionsEvent, CaptionsState};
use turnpike_fault::Fault;
use turnpike_proto::captions::v1 as pb;
use turnpike_testkit::{eventually, pcm, recordings};

use crate::world::{Caller, World};

fn speech() -> Vec<u8> {
    pcm(&recordings().swap_remove(1).samples)
}

fn states(events: &[CaptionsEvent]) -> Vec<(CaptionsState, String)> {
    let state = |event: &CaptionsEvent| match event {
        CaptionsEvent::Status { state, reason, .. } => Some((*state, reason.clone())),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

#[tokio::test]
async fn a_session_is_its_owners_and_says_running_until_it_ends() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let (owner, other) = (world.caller(&instance), world.caller(&instance));
    let id = owner.open().await;
    assert_eq!(
        owner.snapshot(&id).await.expect("its owner's").session.expect("a session").state(),
        pb::State::Starting
    );
    assert_eq!(other.snapshot(&id).await.expect_err("of another user").code(), Code::NotFound);
    assert_eq!(other.stop(&id).await.expect_err("of another user").code(), Code::NotFound);
    assert_eq!(other.stream(&id, None).await.map(|_| ()).expect_err("of another user").code(), Code::NotFound);
    assert_eq!(owner.snapshot("x").await.expect_err("no id").code(), Code::NotFound);

    owner.send(&id, &speech()).await;
    assert_eq!(owner.stop(&id).await.expect("stopped").state(), pb::State::Stopped);
    assert_eq!(owner.stop(&id).await.expect("stopped already").state(), pb::State::Stopped);
    let snapshot = owner.snapshot(&id).await.expect("kept");
    assert_eq!(snapshot.session.expect("a session").state(), pb::State::Stopped);
    assert_eq!(snapshot.finals.len(), 1);
    assert!(snapshot.partial.is_none());
    assert_eq!(owner.stream(&id, None).await.map(|_| ()).expect_err("ended").code(), Code::FailedPrecondition);
    let expected = [
        (CaptionsState::Starting, ""),
        (CaptionsState::Running, ""),
        (CaptionsState::Draining, "requested"),
        (CaptionsState::Stopped, "requested"),
    ];
    assert_eq!(states(&world.events(&id).await), expected.map(|(state, reason)| (state, reason.to_owned())));
    instance.stop().await;
}

#[tokio::test]
async fn more_sessions_than_can_be_transcribed_are_refused_with_a_time() {
    let world = World::scripted(Act::Speak).with("TURNPIKE_CAPTIONS_SESSIONS", "2");
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let first = caller.open().await;
    let _second = caller.open().await;
    let fault = Fault::from(caller.try_open(pb::OpenSessionRequest::default()).await.expect_err("full"));
    assert_eq!(fault.code(), "TOO_MANY_SESSIONS");
    assert!(fault.retry_in().is_some());
    caller.stop(&first).await.expect("stopped");
    caller.open().await;
    instance.stop().await;
}

#[tokio::test]
async fn without_a_model_the_refusal_names_the_command_that_fetches_it_and_no_restart_is_needed() {
    let world = World::scripted(Act::Speak).without_model();
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let refused = caller.try_open(pb::OpenSessionRequest::default()).await.expect_err("no engine");
    let fault = Fault::from(refused);
    assert_eq!(fault.code(), "ENGINE_UNAVAILABLE");
    assert!(fault.detail().contains("scripts/captions-model"), "{}", fault.detail());
    assert_eq!(caller.engines().await, Vec::<String>::new());
    let model = turnpike_testkit::captions_model();
    std::os::unix::fs::symlink(model, world.folder.path().join("model")).expect("installed");
    until_installed(&caller).await;
    caller.try_open(pb::OpenSessionRequest::default()).await.expect("an engine");
    instance.stop().await;
}

/// The service looks once a second.
async fn until_installed(caller: &Caller) {
    eventually("the model is an engine", 30, async || (caller.engines().await == ["moonshine"]).then_some(())).await;
}

#[tokio::test]
async fn a_model_that_is_broken_is_no_engine_until_it_is_replaced() {
    let world = World::scripted(Act::Speak).without_model();
    let folder = world.folder.path().join("model");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("tokenizer.bin"), "no tokenizer").expect("written");
    let instance = world.start().await;
    let caller = world.caller(&instance);
    assert_eq!(caller.engines().await, Vec::<String>::new());
    std::fs::remove_dir_all(&folder).expect("removed");
    std::os::unix::fs::symlink(turnpike_testkit::captions_model(), folder).expect("installed");
    until_installed(&caller).await;
    instance.stop().await;
}

#[tokio::test]
async fn the_engines_are_listed() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    assert_eq!(world.caller(&instance).engines().await, ["scripted"]);
    instance.stop().await;
}

#[tokio::test]
async fn requests_that_do_not_fit_name_their_field() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let field = |request| {
        let caller = caller.clone();
        async move { Fault::from(caller.try_open(request).await.expect_err("refused")).fields()[0].field.clone() }
    };
    let audio = Some(pb::Audio { encoding: 0, sample_rate: 7_000 });
    assert_eq!(field(pb::OpenSessionRequest { audio, ..Default::default() }).await, "audio.sample_rate");
    assert_eq!(field(pb::OpenSessionRequest { language: "de".into(), ..Default::default() }).await, "language");
    assert_eq!(field(pb::OpenSessionRequest { engine: "x".into(), ..Default::default() }).await, "engine");
    caller.try_open(pb::OpenSessionRequest { language: "en-GB".into(), ..Default::default() }).await.expect("English");
    instance.stop().await;
}

#[tokio::test]
async fn a_repeated_request_opens_one_session() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let request = || pb::OpenSessionRequest { idempotency_key: "k".into(), ..Default::default() };
    let first = caller.try_open(request()).await.expect("a session").session_id;
    assert_eq!(caller.try_open(request()).await.expect("the same").session_id, first);
    let other = pb::OpenSessionRequest { language: "en-US".into(), ..request() };
    assert_eq!(Fault::from(caller.try_open(other).await.expect_err("another")).code(), "IDEMPOTENCY_KEY_REUSED");
    instance.stop().await;
}

#[tokio::test]
async fn sessions_are_listed_in_pages_newest_first() {
    let world = World::scripted(Act::Speak).with("TURNPIKE_CAPTIONS_SESSIONS", "10");
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let mut opened = Vec::new();
    for _ in 0..3 {
        opened.insert(0, caller.open().await);
        world.hand.advance(Duration::from_secs(1));
    }
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let request = caller.request(pb::ListSessionsRequest { limit: 2, cursor });
        let page = caller.client.clone().list_sessions(request).await.expect("a page").into_inner();
        listed.extend(page.sessions.into_iter().map(|session| session.session_id));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(listed, opened);
    instance.stop().await;
}

#[tokio::test]
async fn a_session_without_audio_ends() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    world.hand.advance(Duration::from_secs(121));
    let events = world.events(&id).await;
    assert_eq!(states(&events).last(), Some(&(CaptionsState::Stopped, "idle".to_owned())));
    instance.stop().await;
}

#[tokio::test]
async fn audio_of_a_pause_is_acknowledged_and_not_heard() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let (id, speech) = (caller.open().await, speech());
    caller.send(&id, &speech).await;
    let request = caller.request(pb::PauseSessionRequest { session_id: id.clone() });
    let paused = caller.client.clone().pause_session(request).await.expect("paused").into_inner();
    assert_eq!(paused.state(), pb::State::Paused);
    caller.send(&id, &speech).await;
    let request = caller.request(pb::ResumeSessionRequest { session_id: id.clone() });
    caller.client.clone().resume_session(request).await.expect("resumed");
    caller.send(&id, &speech).await;
    let ended = caller.stop(&id).await.expect("stopped");
    assert_eq!(ended.samples, speech.len() as u64 / 2 * 3);
    let finals = caller.finals(&id).await;
    let length = speech.len() as u64 / 32;
    assert_eq!(finals.len(), 2, "{finals:?}");
    assert!(finals[0].end_ms <= length && finals[1].start_ms >= 2 * length, "{finals:?}");
    instance.stop().await;
}

#[tokio::test]
async fn the_end_of_a_segment_does_not_wait_for_a_partial() {
    let world = World::scripted(Act::Late);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    caller.send(&id, &speech()).await;
    let request = caller.request(pb::FinalizeSessionRequest { session_id: id.clone() });
    caller.client.clone().finalize_session(request).await.expect("finalized");
    assert!(!caller.finals(&id).await.is_empty());
    // Nor does the end of the session.
    caller.send(&id, &speech()).await;
    assert_eq!(caller.stop(&id).await.expect("stopped").state(), pb::State::Stopped);
    instance.stop().await;
}

#[tokio::test]
async fn a_correction_is_an_event_and_is_kept() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    caller.send(&id, &speech()).await;
    let request = caller.request(pb::FinalizeSessionRequest { session_id: id.clone() });
    caller.client.clone().finalize_session(request).await.expect("finalized");
    let correct = |segment, text: &str| {
        let request = pb::CorrectFinalRequest { session_id: id.clone(), segment, text: text.to_owned() };
        let (mut client, request) = (caller.client.clone(), caller.request(request));
        async move { client.correct_final(request).await }
    };
    assert!(correct(1, "He was not.").await.expect("corrected").into_inner().corrected);
    assert_eq!(correct(9, "x").await.expect_err("no such final").code(), Code::NotFound);
    assert_eq!(correct(1, "a\nb").await.expect_err("two lines").code(), Code::InvalidArgument);
    caller.stop(&id).await.expect("stopped");
    let corrected =
        |event: &CaptionsEvent| matches!(event, CaptionsEvent::Corrected { text, .. } if text == "He was not.");
    assert!(world.events(&id).await.iter().any(corrected));
    assert_eq!(caller.finals(&id).await[0].text, "He was not.");
    instance.stop().await;
}

#[tokio::test]
async fn a_session_continues_after_a_restart_from_the_stored_sample() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let (id, speech) = (caller.open().await, speech());
    caller.send(&id, &speech).await;
    instance.stop().await;

    let instance = world.start().await;
    let caller = crate::world::Caller { client: world.caller(&instance).client, ..caller };
    let session = caller.snapshot(&id).await.expect("restored").session.expect("a session");
    assert_eq!(session.state(), pb::State::Starting);
    assert_eq!(session.finals, 1, "the live segment was ended by the stop");
    let stored = session.samples as usize;
    let (mut stream, first) = caller.stream(&id, None).await.expect("a stream");
    assert_eq!(first.samples as usize, stored);
    stream.audio(&speech[(stored * 2).min(speech.len())..]).await;
    stream.audio(&speech).await;
    stream.close().await;
    caller.stop(&id).await.expect("stopped");
    let events = world.events(&id).await;
    let finals: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            CaptionsEvent::Final { caption, .. } => Some(caption.segment),
            _ => None,
        })
        .collect();
    assert_eq!(finals, [1, 2], "each final once");
    assert!(states(&events).contains(&(CaptionsState::Starting, "interrupted".to_owned())));
    instance.stop().await;
}

#[tokio::test]
async fn old_transcripts_are_removed() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    caller.stop(&id).await.expect("stopped");
    world.hand.advance(Duration::from_secs(73 * 3600));
    let folder = world.folder.path().join("captions");
    assert!(folder.join(format!("{id}.jsonl")).exists());
    eventually("the sweep", 20, async || {
        world.hand.advance(Duration::from_secs(301));
        let left = std::fs::read_dir(&folder).expect("a folder").filter_map(Result::ok);
        (left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&id)).count() == 0).then_some(())
    })
    .await;
    instance.stop().await;
}

#[tokio::test]
async fn the_oldest_transcripts_are_removed_when_all_are_too_large() {
    let world = World::scripted(Act::Speak).with("TURNPIKE_CAPTIONS_RETENTION_MB", "1");
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let mut ids = Vec::new();
    // 640 KB of audio each.
    for _ in 0..3 {
        let request = pb::OpenSessionRequest { keep_audio: true, ..Default::default() };
        let id = caller.try_open(request).await.expect("a session").session_id;
        caller.send(&id, &vec![0; 640_000]).await;
        caller.stop(&id).await.expect("stopped");
        ids.push(id);
    }
    eventually("the sweep", 20, async || {
        world.hand.advance(Duration::from_secs(301));
        caller.snapshot(&ids[1]).await.is_err().then_some(())
    })
    .await;
    assert!(caller.snapshot(&ids[0]).await.is_err(), "older ones first");
    caller.snapshot(&ids[2]).await.expect("there is room for one");
    instance.stop().await;
}

async fn audio(caller: &crate::world::Caller, id: &str) -> Result<Vec<u8>, tonic::Status> {
    let request = caller.request(pb::GetAudioRequest { session_id: id.to_owned() });
    let mut pieces = caller.client.clone().get_audio(request).await?.into_inner();
    let mut wav = Vec::new();
    while let Some(piece) = pieces.message().await? {
        wav.extend(piece.wav);
    }
    Ok(wav)
}

#[tokio::test]
async fn audio_is_kept_only_if_asked_for_and_through_pauses_and_restarts() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let (caller, other) = (world.caller(&instance), world.caller(&instance));
    let id = caller.open().await;
    assert_eq!(Fault::from(audio(&caller, &id).await.expect_err("not kept")).code(), "NO_AUDIO");
    caller.stop(&id).await.expect("stopped");

    let request = pb::OpenSessionRequest { keep_audio: true, ..Default::default() };
    let session = caller.try_open(request).await.expect("a session");
    assert!(session.keep_audio);
    let (id, speech) = (session.session_id, speech());
    caller.send(&id, &speech).await;
    let request = caller.request(pb::PauseSessionRequest { session_id: id.clone() });
    caller.client.clone().pause_session(request).await.expect("paused");
    caller.send(&id, &speech).await;
    let request = caller.request(pb::ResumeSessionRequest { session_id: id.clone() });
    caller.client.clone().resume_session(request).await.expect("resumed");
    caller.send(&id, &speech).await;
    instance.stop().await;

    let instance = world.start().await;
    let caller = crate::world::Caller { client: world.caller(&instance).client, ..caller };
    let stored = caller.snapshot(&id).await.expect("restored").session.expect("a session").samples as usize;
    caller.stop(&id).await.expect("stopped");
    let wav = audio(&caller, &id).await.expect("kept");
    let expected = [speech.clone(), vec![0; speech.len()], speech].concat();
    assert_eq!(&wav[44..], &expected[..stored * 2], "what the transcript has");
    assert_eq!(&wav[40..44], (stored as u32 * 2).to_le_bytes());
    let other = crate::world::Caller { client: caller.client.clone(), ..other };
    assert_eq!(audio(&other, &id).await.expect_err("of another user").code(), Code::NotFound);
    instance.stop().await;
}
