//! Finals that are translated and published in rooms, while the chat service works, fails, hangs and is absent; and their search.

use std::time::{Duration, Instant};

use tonic::Code;
use turnpike_captions::engine::scripted::Act;
use turnpike_event::{CaptionsEvent, CaptionsState};
use turnpike_fault::Fault;
use turnpike_proto::captions::v1 as pb;
use turnpike_testkit::{eventually, pcm, recordings};

use crate::{
    chat::Translating,
    world::{Caller, World},
};

const ROOM: &str = "01931d2e-9f6a-7000-8000-000000000000";

fn speech() -> Vec<u8> {
    let mut speech = pcm(&recordings().swap_remove(1).samples);
    speech.extend(vec![0; 32_000]);
    speech
}

fn translated() -> pb::OpenSessionRequest {
    pb::OpenSessionRequest { translate_to: "German".into(), ..Default::default() }
}

fn in_room() -> pb::OpenSessionRequest {
    pb::OpenSessionRequest { room_id: ROOM.into(), ..Default::default() }
}

async fn session(caller: &Caller, id: &str) -> pb::Session {
    caller.snapshot(id).await.expect("a snapshot").session.expect("a session")
}

/// Segments and texts of translations, and whether they are of partials.
fn translations(events: &[CaptionsEvent]) -> Vec<(u64, String, bool)> {
    let one = |event: &CaptionsEvent| match event {
        CaptionsEvent::Translation { segment, language, text, partial, .. } => {
            assert_eq!(language, "German");
            Some((*segment, text.clone(), *partial))
        }
        _ => None,
    };
    events.iter().filter_map(one).collect()
}

fn reasons(events: &[CaptionsEvent]) -> Vec<&str> {
    let reason = |event: &'_ CaptionsEvent| match event {
        CaptionsEvent::Status { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let reasons: Vec<String> = events.iter().filter_map(reason).collect();
    ["translation_failed", "room_failed"].into_iter().filter(|known| reasons.iter().any(|r| r == known)).collect()
}

#[tokio::test]
async fn finals_are_translated_on_the_topic_in_the_snapshot_and_in_the_transcript() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.try_open(translated()).await.expect("a session").session_id;
    caller.send(&id, &speech()).await;
    caller.send(&id, &speech()).await;
    caller.stop(&id).await.expect("stopped");
    let events = world.events(&id).await;
    let finals = caller.finals(&id).await;
    assert!(finals.len() >= 2, "{finals:?}");
    let expected: Vec<_> = finals.iter().map(|one| (one.segment, format!("[{}]", one.text), false)).collect();
    assert_eq!(translations(&events), expected, "each final once, in order, before the topic is closed");
    assert!(finals.iter().all(|one| one.translation == format!("[{}]", one.text)));
    let snapshot = caller.snapshot(&id).await.expect("a snapshot");
    assert_eq!(snapshot.finals, finals);
    let described = snapshot.session.expect("a session");
    let count = finals.len() as u64;
    let all = pb::Passed { done: count, ..Default::default() };
    assert_eq!((described.translate_to.as_str(), described.translation, described.room), ("German", Some(all), None));
    let bearer = format!("Bearer {}", caller.token.expose());
    assert!(world.chat.tokens().iter().all(|token| *token == bearer), "the owner's token");
    instance.stop().await;

    let instance = world.start().await;
    let caller = Caller { client: world.caller(&instance).client, ..caller };
    assert_eq!(caller.finals(&id).await, finals, "translations are in the file");
    assert_eq!(session(&caller, &id).await.translation, Some(pb::Passed { done: count, ..Default::default() }));
    instance.stop().await;
}

#[tokio::test]
async fn without_the_field_nothing_is_translated() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    caller.send(&id, &speech()).await;
    caller.stop(&id).await.expect("stopped");
    assert_eq!(translations(&world.events(&id).await), []);
    assert!(world.chat.translated().is_empty() && world.chat.tokens().is_empty());
    instance.stop().await;
}

#[tokio::test]
async fn partials_are_translated_only_if_asked_for_and_the_final_has_the_last_word() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let request = pb::OpenSessionRequest { translate_partials: true, ..translated() };
    let id = caller.try_open(request).await.expect("a session").session_id;
    let (mut stream, _) = caller.stream(&id, None).await.expect("a stream");
    // Without the end of the segment.
    for piece in speech()[..64_000].chunks(3_200) {
        stream.audio(piece).await;
        tokio::task::yield_now().await;
    }
    world.events_until(&id, |event| matches!(event, CaptionsEvent::Translation { partial: true, .. })).await;
    stream.close().await;
    caller.stop(&id).await.expect("stopped");
    let found = translations(&world.events(&id).await);
    let last = found.last().expect("translations");
    assert!(!last.2, "{found:?}");
    instance.stop().await;
}

#[tokio::test]
async fn a_model_that_fails_hangs_or_is_absent_does_not_delay_captions() {
    for how in [Translating::NoModel, Translating::Hangs] {
        let world = World::scripted(Act::Speak);
        let instance = world.start().await;
        let caller = world.caller(&instance);
        world.chat.translating(how);
        let id = caller.try_open(translated()).await.expect("opened without asking the model").session_id;
        let begun = Instant::now();
        caller.send(&id, &speech()).await;
        let request = caller.request(pb::FinalizeSessionRequest { session_id: id.clone() });
        caller.client.clone().finalize_session(request).await.expect("finalized");
        let snapshot = caller.snapshot(&id).await.expect("a snapshot");
        assert!(!snapshot.finals.is_empty(), "{how:?}: the final does not wait");
        caller.stop(&id).await.expect("stopped");
        assert!(begun.elapsed() < Duration::from_secs(20), "{how:?}: {:?}", begun.elapsed());
        let events = world.events(&id).await;
        assert_eq!(translations(&events), []);
        if how == Translating::NoModel {
            assert_eq!(reasons(&events), ["translation_failed"]);
            let passed = session(&caller, &id).await.translation.expect("translated");
            assert_eq!((passed.done, passed.problem.as_str()), (0, "NO_MODEL"));
            assert!(passed.missed > 0);
        }
        instance.stop().await;
    }
}

#[tokio::test]
async fn a_correction_is_translated_again() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.try_open(translated()).await.expect("a session").session_id;
    caller.send(&id, &speech()).await;
    let request = caller.request(pb::FinalizeSessionRequest { session_id: id.clone() });
    caller.client.clone().finalize_session(request).await.expect("finalized");
    let request = pb::CorrectFinalRequest { session_id: id.clone(), segment: 1, text: "He was not.".into() };
    caller.client.clone().correct_final(caller.request(request)).await.expect("corrected");
    eventually("the translation of the correction", 20, async || {
        let finals = caller.snapshot(&id).await.expect("a snapshot").finals;
        (finals[0].translation == "[He was not.]").then_some(())
    })
    .await;
    caller.stop(&id).await.expect("stopped");
    assert_eq!(caller.finals(&id).await[0].translation, "[He was not.]");
    instance.stop().await;
}

#[tokio::test]
async fn each_final_is_one_labelled_message_of_the_room() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    world.chat.role(Some("member"));
    let id = caller.try_open(in_room()).await.expect("a session").session_id;
    world.chat.outage(2); // two answers are lost: the message is posted again, under the same key
    caller.send(&id, &speech()).await;
    world
        .events_until(&id, |event| matches!(event, CaptionsEvent::Status { reason, .. } if reason == "room_failed"))
        .await;
    caller.send(&id, &speech()).await;
    caller.stop(&id).await.expect("stopped");
    let finals = caller.finals(&id).await;
    eventually("the messages", 30, async || {
        world.hand.advance(Duration::from_secs(1));
        let passed = session(&caller, &id).await.room.expect("a room");
        (passed.waiting == 0).then_some(())
    })
    .await;
    let expected: Vec<_> = finals
        .iter()
        .map(|one| (format!("captions-{id}-{}", one.segment), one.text.clone(), format!("captions:{id}")))
        .collect();
    assert_eq!(world.chat.messages(), expected);
    let passed = session(&caller, &id).await.room.expect("a room");
    assert_eq!(passed, pb::Passed { done: finals.len() as u64, ..Default::default() });
    assert_eq!(reasons(&world.events(&id).await), ["room_failed"], "the outage was reported");
    instance.stop().await;

    let instance = world.start().await;
    let caller = Caller { client: world.caller(&instance).client, ..caller };
    assert_eq!(session(&caller, &id).await.room.expect("a room").done, finals.len() as u64);
    instance.stop().await;
}

#[tokio::test]
async fn a_room_that_is_not_the_callers_is_refused_and_one_that_is_left_is_reported() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    assert_eq!(caller.try_open(in_room()).await.expect_err("no such room").code(), Code::NotFound);
    world.chat.role(Some(""));
    assert_eq!(caller.try_open(in_room()).await.expect_err("no member").code(), Code::PermissionDenied);
    for (request, field) in [
        (pb::OpenSessionRequest { room_id: "x".into(), ..Default::default() }, "room_id"),
        (pb::OpenSessionRequest { translate_to: "German. Obey".into(), ..Default::default() }, "translate_to"),
        (pb::OpenSessionRequest { translate_partials: true, ..Default::default() }, "translate_partials"),
    ] {
        let fault = Fault::from(caller.try_open(request).await.expect_err("refused"));
        assert_eq!(fault.fields()[0].field, field);
    }
    world.chat.role(Some("member"));
    let id = caller.try_open(in_room()).await.expect("a session").session_id;
    world.chat.role(Some("")); // the owner leaves the room
    caller.send(&id, &speech()).await;
    let events = world
        .events_until(&id, |event| matches!(event, CaptionsEvent::Status { reason, .. } if reason == "room_failed"))
        .await;
    assert!(events.iter().any(|event| matches!(event, CaptionsEvent::Final { .. })), "captions go on");
    caller.stop(&id).await.expect("stopped");
    let described = session(&caller, &id).await;
    assert_eq!((described.state(), described.finals), (pb::State::Stopped, caller.finals(&id).await.len() as u64));
    assert_eq!(described.room.map(|passed| passed.problem), Some("FORBIDDEN".into()));
    assert_eq!(world.chat.messages(), []);
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, CaptionsEvent::Status { state, .. } if *state == CaptionsState::Failed))
    );
    instance.stop().await;
}

#[tokio::test]
async fn after_a_restart_finals_wait_for_the_owner_and_are_posted_once() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    world.chat.role(Some("member"));
    let id = caller.try_open(in_room()).await.expect("a session").session_id;
    world.chat.outage(1_000);
    caller.send(&id, &speech()).await;
    instance.stop().await;

    world.chat.outage(0);
    let instance = world.start().await;
    let caller = Caller { client: world.caller(&instance).client, ..caller };
    let calls = world.chat.tokens().len();
    tokio::task::yield_now().await;
    assert_eq!(world.chat.tokens().len(), calls, "no call without the owner");
    let finals = eventually("the messages", 30, async || {
        let described = session(&caller, &id).await;
        let passed = described.room.expect("a room");
        (passed.waiting == 0 && described.finals > 0).then_some(passed.done)
    })
    .await;
    assert_eq!(world.chat.messages().len() as u64, finals);
    caller.stop(&id).await.expect("stopped");
    instance.stop().await;
}

#[tokio::test]
async fn a_token_that_has_expired_is_not_used_and_a_newer_one_is() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let caller = world.caller(&instance);
    world.chat.role(Some("member"));
    let short = world.token(&caller, Duration::from_secs(60));
    let early = Caller { token: short, ..caller.clone() };
    let id = early.try_open(in_room()).await.expect("a session").session_id;
    world.hand.advance(Duration::from_secs(58));
    let opened = world.chat.tokens().len();
    early.send(&id, &speech()).await;
    let request = early.request(pb::FinalizeSessionRequest { session_id: id.clone() });
    early.client.clone().finalize_session(request).await.expect("finalized");
    assert_eq!(world.chat.tokens().len(), opened, "2 s are too little");
    let renewed = Caller { token: world.token(&caller, Duration::from_secs(900)), ..caller };
    let bearer = format!("Bearer {}", renewed.token.expose());
    eventually("the messages", 30, async || {
        let passed = session(&renewed, &id).await.room.expect("a room");
        (passed.waiting == 0 && passed.done > 0).then_some(())
    })
    .await;
    assert!(world.chat.tokens()[opened..].iter().all(|token| *token == bearer));
    renewed.stop(&id).await.expect("stopped");
    instance.stop().await;
}

async fn search(caller: &Caller, query: &str, limit: u32, cursor: &str) -> pb::SearchTranscriptsResponse {
    let request = pb::SearchTranscriptsRequest { query: query.into(), limit, cursor: cursor.into() };
    caller.client.clone().search_transcripts(caller.request(request)).await.expect("results").into_inner()
}

#[tokio::test]
async fn transcripts_of_the_caller_are_found_in_pages() {
    let world = World::scripted(Act::Speak);
    let instance = world.start().await;
    let (caller, other) = (world.caller(&instance), world.caller(&instance));
    let mut expected = Vec::new();
    for _ in 0..3 {
        let id = caller.try_open(translated()).await.expect("a session").session_id;
        caller.send(&id, &speech()).await;
        caller.send(&id, &speech()).await;
        caller.stop(&id).await.expect("stopped");
        expected.insert(0, (id.clone(), caller.finals(&id).await));
        world.hand.advance(Duration::from_secs(1));
    }
    let expected: Vec<_> = expected
        .into_iter()
        .flat_map(|(id, finals)| finals.into_iter().map(move |one| (id.clone(), one.segment)))
        .collect();
    let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = search(&caller, "w1 W", 1, &cursor).await;
        pages += 1;
        found.extend(page.results.iter().map(|result| (result.session_id.clone(), result.segment)));
        assert!(page.results.iter().all(|result| result.snippet.contains("w1")), "{page:?}");
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!((found, pages), (expected.clone(), expected.len()));
    assert!(search(&other, "w1", 0, "").await.results.is_empty(), "of another user");
    for nothing in ["w1 clutch", "absent", "", " .,"] {
        assert_eq!(search(&caller, nothing, 0, "").await, pb::SearchTranscriptsResponse::default(), "{nothing}");
    }
    let request = pb::CorrectFinalRequest {
        session_id: expected[0].0.clone(),
        segment: expected[0].1,
        text: "Brake fluid".into(),
    };
    caller.client.clone().correct_final(caller.request(request)).await.expect("corrected");
    let page = search(&caller, "brake", 0, "").await;
    assert_eq!(page.results.len(), 1);
    assert_eq!((page.results[0].snippet.as_str(), &page.results[0].session_id), ("Brake fluid", &expected[0].0));
    let long = "a".repeat(201);
    for (query, cursor, field) in [(long.as_str(), "", "query"), ("a", "x", "cursor")] {
        let request = pb::SearchTranscriptsRequest { query: query.into(), limit: 0, cursor: cursor.into() };
        let refused = caller.client.clone().search_transcripts(caller.request(request)).await.expect_err("refused");
        assert_eq!(Fault::from(refused).fields()[0].field, field);
    }
    instance.stop().await;
}
