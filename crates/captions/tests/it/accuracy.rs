//! The real engine on real speech.

use std::time::Duration;

use turnpike_event::CaptionsEvent;
use turnpike_proto::captions::v1 as pb;
use turnpike_testkit::{pcm, recordings, word_errors};

use crate::world::World;

/// A pause of the speaker, with the noise of a quiet room.
fn pause(seconds: f64) -> Vec<i16> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16 % 8
    };
    (0..(seconds * 16_000.0) as usize).map(|_| noise()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_sentences_become_five_finals_and_committed_words_stay() {
    let world = World::real();
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    let (mut said, mut samples) = (String::new(), pause(0.5));
    for recording in recordings() {
        said += &format!("{} ", recording.text);
        samples.extend(recording.samples);
        samples.extend(pause(0.9));
    }
    caller.send(&id, &pcm(&samples)).await;
    let ended = caller.stop(&id).await.expect("stopped");
    assert_eq!((ended.samples, ended.stored_samples), (samples.len() as u64, samples.len() as u64));

    let (mut heard, mut finals, mut committed) = (String::new(), 0, String::new());
    for event in world.events(&id).await {
        match event {
            CaptionsEvent::Partial { segment, committed: now, .. } => {
                assert_eq!(segment, finals + 1, "partials are of the live segment");
                assert!(now.starts_with(&committed), "{committed:?} then {now:?}");
                committed = now;
            }
            CaptionsEvent::Final { caption, .. } => {
                finals += 1;
                assert_eq!(caption.segment, finals);
                assert!(caption.text.starts_with(&committed), "{committed:?} then {:?}", caption.text);
                committed.clear();
                let mut at = 0;
                for word in &caption.words {
                    assert!(word.span.start_ms >= at && word.span.end_ms > word.span.start_ms, "{:?}", caption.words);
                    at = word.span.end_ms;
                }
                heard += &format!("{} ", caption.text);
            }
            _ => {}
        }
    }
    let errors = word_errors(&said, &heard);
    assert!(errors <= 0.06, "word error rate {errors:.3}: {heard}");
    assert_eq!(finals, 5, "{heard}");
    let stored: Vec<String> = caller.finals(&id).await.into_iter().map(|last| last.text).collect();
    assert_eq!(stored.join(" "), heard.trim());
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rates_and_floats_are_heard_as_well() {
    let world = World::real();
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let audio = pb::Audio { encoding: pb::Encoding::PcmF32le.into(), sample_rate: 48_000 };
    let request = pb::OpenSessionRequest { audio: Some(audio), ..Default::default() };
    let id = caller.try_open(request).await.expect("a session").session_id;
    let recording = recordings().swap_remove(1);
    // Each sample three times is the same sound at three times the rate, with a little noise above what the model hears.
    let floats = recording.samples.iter().flat_map(|sample| [f32::from(*sample) / 32_768.0; 3]);
    let bytes: Vec<u8> = floats.flat_map(f32::to_le_bytes).collect();
    caller.send(&id, &bytes).await;
    caller.stop(&id).await.expect("stopped");
    let heard: String = caller.finals(&id).await.into_iter().map(|last| last.text + " ").collect();
    let errors = word_errors(&recording.text, &heard);
    assert!(errors <= 0.26, "word error rate {errors:.3}: {heard}");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_noise_and_hum_have_no_words() {
    let world = World::real();
    let instance = world.start().await;
    let caller = world.caller(&instance);
    let id = caller.open().await;
    let mut state = 7_u32;
    let mut noise = |size: f64| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) / f64::from(u32::MAX) - 0.5) * 2.0 * size
    };
    let mut sound = |seconds: usize, noise_size: f64, hum_size: f64| -> Vec<i16> {
        let hum = |n: usize| (n as f64 * 50.0 * std::f64::consts::TAU / 16_000.0).sin() * hum_size;
        (0..seconds * 16_000).map(|n| (noise(noise_size) + hum(n)) as i16).collect()
    };
    let minute = [sound(15, 0.0, 0.0), sound(15, 300.0, 0.0), sound(15, 3000.0, 0.0), sound(15, 30.0, 4000.0)].concat();
    let mut samples = Vec::new();
    for _ in 0..10 {
        samples.extend_from_slice(&minute);
    }
    caller.send(&id, &pcm(&samples)).await;
    // The voice detector without optimization is slower than the patience of a call.
    let _ = tokio::time::timeout(Duration::from_secs(60), caller.stop(&id)).await;
    let events = world.events(&id).await;
    let words: Vec<_> = events.iter().filter(|event| matches!(event, CaptionsEvent::Final { .. })).collect();
    assert!(words.is_empty(), "{words:?}");
    instance.stop().await;
}
