//! Engines that panic and fail, and clients that vanish.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use turnpike_captions::engine::scripted::Act;
use turnpike_event::{CaptionsEvent, CaptionsState};
use turnpike_proto::captions::v1 as pb;
use turnpike_testkit::{eventually, pcm, recordings};

use crate::world::{Caller, Instance, World};

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

/// What a process holds.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    tasks: usize,
    /// Of the engine.
    threads: usize,
    open_files: usize,
    leases: i64,
    /// In the data directory.
    files: usize,
}

impl Held {
    /// At the start there may have been more: the probe of the data directory has a file and a task for a moment.
    fn is_back_at(&self, before: &Self) -> bool {
        let Self { tasks, threads, open_files, leases, files } = *self;
        (threads, leases, files) == (before.threads, before.leases, before.files)
            && tasks <= before.tasks
            && open_files <= before.open_files
    }

    fn now(instance: &Instance, world: &World) -> Self {
        let count = |folder: &Path| {
            let names =
                fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.file_name());
            names.filter(|name| !name.to_string_lossy().starts_with('.')).count()
        };
        let threads = fs::read_dir("/proc/self/task").expect("Linux").filter_map(Result::ok);
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        Self {
            tasks: instance.tasks(),
            threads: threads.map(name).filter(|name| name.starts_with("captions-")).count(),
            open_files: count(Path::new("/proc/self/fd")),
            leases: LEASES.load(Ordering::SeqCst),
            files: count(&world.folder.path().join("captions")),
        }
    }
}

/// The gauge of audio leases.
static LEASES: AtomicI64 = AtomicI64::new(0);

/// Records the gauge of audio leases, and nothing else.
struct Leases;

impl GaugeFn for Leases {
    fn increment(&self, value: f64) {
        LEASES.fetch_add(value as i64, Ordering::SeqCst);
    }

    fn decrement(&self, value: f64) {
        LEASES.fetch_sub(value as i64, Ordering::SeqCst);
    }

    fn set(&self, value: f64) {
        LEASES.store(value as i64, Ordering::SeqCst);
    }
}

impl Recorder for Leases {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match key.name() {
            "turnpike_captions_audio_leases" => Gauge::from_arc(Arc::new(Leases)),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// One session, whose client stops it, vanishes, or finds that it has failed.
async fn session(caller: Caller, n: u32, speech: Arc<Vec<u8>>) {
    let request = pb::OpenSessionRequest { keep_audio: n.is_multiple_of(3), ..Default::default() };
    let id = caller.try_open(request).await.expect("a session").session_id;
    let audio = if n.is_multiple_of(5) { &speech[..] } else { &speech[..640] };
    if let Ok((stream, _)) = caller.stream(&id, None).await {
        for piece in audio.chunks(6_400) {
            let input = Some(pb::transcribe_request::Input::Audio(piece.to_vec().into()));
            if stream.sender.send(pb::TranscribeRequest { input }).await.is_err() {
                break;
            }
        }
    }
    if n.is_multiple_of(2) {
        let _ = caller.stop(&id).await;
    }
}

/// Resident memory, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_sessions_with_panics_and_vanished_clients_leave_nothing_behind() {
    metrics::set_global_recorder(Leases).expect("the only recorder");
    let speech = Arc::new(pcm(&recordings().swap_remove(1).samples));
    for act in [Act::Panic, Act::Speak] {
        let world = World::scripted(act).with("TURNPIKE_CAPTIONS_SESSIONS", "1000");
        let instance = world.start().await;
        // A thread gets its name when it runs for the first time. There is one for each core.
        let threads = std::thread::available_parallelism().expect("the number of cores").get();
        let before = eventually("the threads of the engine", 20, async || {
            let now = Held::now(&instance, &world);
            (now.threads == threads).then_some(now)
        })
        .await;
        assert_eq!((before.leases, before.files), (0, 0), "{before:?}");
        let mut settled = 0;
        for batch in 0..5 {
            let caller = world.caller(&instance); // the token of the one before has expired
            let sessions = (0..50_u32).map(|n| session(caller.clone(), n, speech.clone()));
            futures(sessions.collect()).await;
            // Sessions of clients that have vanished end; then every transcript is old.
            let began = Instant::now();
            loop {
                world.hand.advance(Duration::from_secs(74 * 3600));
                let now = Held::now(&instance, &world);
                if now.is_back_at(&before) {
                    break;
                }
                assert!(began.elapsed() < Duration::from_secs(60), "{now:?} instead of {before:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if batch == 1 {
                settled = memory();
            }
        }
        let grown = memory().saturating_sub(settled);
        // On a busy machine, the allocator's share varies by 12 MB; it does not grow with further sessions.
        assert!(grown < 20 << 20, "{grown} bytes more after 150 sessions");
        instance.stop().await;
    }
}

/// Runs all of them at the same time.
async fn futures<F: Future<Output = ()> + Send + 'static>(all: Vec<F>) {
    let mut running = tokio::task::JoinSet::new();
    for one in all {
        running.spawn(one);
    }
    running.join_all().await;
}
