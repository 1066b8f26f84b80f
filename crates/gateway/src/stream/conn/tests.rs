//! Clients of real sockets compared with a model of the published events. Their events come from the sweepers and from catch-up
//! tasks, through buffers that are soon full. Topics are closed or lost, clients stop reading, unsubscribe and leave meanwhile.

use std::{
    collections::HashMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use turnpike_bus::{Bus, ResetReason};

use super::*;
use crate::stream::{
    hub::{
        Hub,
        model::{self, Model, Progress},
        topic_reader::TopicReader,
    },
    since::Since,
};

const DEADLINE: Duration = Duration::from_secs(20);
const TOPICS: usize = 3;
/// The buffers of the kernel on both sides: a few events fill them.
const KERNEL_BUFFER: usize = 4 << 10;

#[derive(Clone, Debug)]
enum Step {
    Publish {
        topic: usize,
        events: usize,
        bytes: usize,
    },
    Close(usize),
    Forget(usize),
    Connect,
    Subscribe {
        client: Index,
        topic: usize,
        from: From,
    },
    /// Every client subscribes to the topic from now on.
    SubscribeAll(usize),
    Unsubscribe {
        client: Index,
        topic: usize,
    },
    /// The gateway answers something, or pings.
    Say(Index),
    /// A client reads so many bytes, if they are there.
    Read {
        client: Index,
        bytes: usize,
    },
    /// Every client reads what it has been sent, so that all are current.
    ReadAll,
    /// A client leaves, with or without its catch-up task at work.
    Leave(Index),
    /// The other tasks run.
    Yield(usize),
}

#[derive(Clone, Debug)]
enum From {
    Start,
    Live,
    /// After an event that was published, or so many events ahead of it.
    After(Index, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let from = || {
        prop_oneof![
            2 => Just(From::Start),
            2 => Just(From::Live),
            3 => any::<Index>().prop_map(|index| From::After(index, 0)),
            1 => (any::<Index>(), 1..400_u64).prop_map(|(index, ahead)| From::After(index, ahead)),
        ]
    };
    let step = prop_oneof![
        8 => (0..TOPICS).prop_map(|topic| Step::Publish { topic, events: 1, bytes: 10 }),
        12 => (0..TOPICS, 1..100_usize, 0..1_500_usize)
            .prop_map(|(topic, events, bytes)| Step::Publish { topic, events, bytes }),
        1 => (0..TOPICS).prop_map(Step::Close),
        1 => (0..TOPICS).prop_map(Step::Forget),
        3 => Just(Step::Connect),
        8 => (any::<Index>(), 0..TOPICS, from())
            .prop_map(|(client, topic, from)| Step::Subscribe { client, topic, from }),
        3 => (0..TOPICS).prop_map(Step::SubscribeAll),
        3 => (any::<Index>(), 0..TOPICS).prop_map(|(client, topic)| Step::Unsubscribe { client, topic }),
        3 => any::<Index>().prop_map(Step::Say),
        10 => (any::<Index>(), 1..40_000_usize).prop_map(|(client, bytes)| Step::Read { client, bytes }),
        12 => Just(Step::ReadAll),
        1 => any::<Index>().prop_map(Step::Leave),
        8 => (1..8_usize).prop_map(Step::Yield),
    ];
    proptest::collection::vec(step, 1..60)
}

struct AllReported;

impl TopicFrames for AllReported {
    fn caught_up(&self, topic: Topic, head: Option<Offset>) -> Option<String> {
        Some(control_frames::caught_up(topic, head))
    }

    fn topic_closed(&self, topic: Topic) -> Result<String, Close> {
        Ok(control_frames::closed(topic))
    }
}

struct Client {
    conn: Arc<Conn>,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What it asked for, by the id of the request. An entry is taken when the answer arrives.
    requested: HashMap<u64, Progress>,
    /// What it has got of each topic that it follows.
    follows: HashMap<Topic, Progress>,
    /// Requests so far: subscriptions, and those that are answered by the gateway itself.
    requests: u64,
    answered: u64,
    pings: u64,
}

struct Scenario {
    hub: Hub,
    shared: Arc<Shared>,
    models: Vec<Model>,
    clients: Vec<Client>,
    listener: TcpListener,
    next: u64,
}

impl Scenario {
    async fn new(hub: fn(Bus, Tasks) -> Hub) -> Self {
        let (bus, tasks) = (model::bus(), Tasks::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let models = (0..TOPICS).map(|_| Model::new(&bus)).collect();
        let (wheel, heartbeat) = (Arc::new(Wheel::new()), Duration::from_secs(30));
        let shared = Arc::new(Shared { tasks: tasks.clone(), wheel, heartbeat });
        Self { hub: hub(bus, tasks), shared, models, clients: Vec::new(), listener, next: 0 }
    }

    async fn connect(&mut self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(KERNEL_BUFFER as u32).expect("SO_RCVBUF can be set");
        let address = self.listener.local_addr().expect("an address");
        let (client, server) = tokio::join!(socket.connect(address), self.listener.accept());
        let server = server.expect("accepted").0;
        socket2::SockRef::from(&server).set_send_buffer_size(KERNEL_BUFFER).expect("SO_SNDBUF can be set");
        self.next += 1;
        let format = if self.next.is_multiple_of(3) { Format::Protobuf } else { Format::Json };
        let conn = Conn::new(self.next, &self.shared, (server, format), &AllReported);
        let (requested, follows) = (HashMap::new(), HashMap::new());
        let stream = client.expect("connected");
        let (requests, answered, pings, buffer) = (0, 0, 0, Vec::new());
        self.clients.push(Client { conn, stream, buffer, requested, follows, requests, answered, pings });
    }

    fn subscribe(&mut self, client: usize, topic: usize, from: &From) {
        let model = &self.models[topic];
        let since = match from {
            From::Start => Since::Start,
            From::Live => Since::Live,
            From::After(index, ahead) => {
                let known: Vec<_> = model.texts.keys().collect();
                let Some(&&(epoch, n)) = (!known.is_empty()).then(|| index.get(&known)) else { return };
                Since::After(Offset { epoch, n: n + ahead })
            }
        };
        let client = &mut self.clients[client];
        if client.conn.follows(model.topic) {
            return;
        }
        let Some((slot, wake)) = client.conn.reserve(model.topic) else { return };
        client.requests += 1;
        let mut progress = Progress::new(since);
        if let Since::After(offset) = since
            && !model.texts.contains_key(&(offset.epoch, offset.n))
        {
            progress.expected = model::Expected::Ahead(offset);
        }
        client.requested.insert(client.requests, progress);
        let reader = Reader::of_hub(TopicReader::open(&self.hub, model.topic, since, &wake), since);
        client.conn.subscribe(slot, reader, Some(Some(json!(client.requests))));
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { topic, events, bytes } => {
                for _ in 0..*events {
                    self.models[*topic].publish(*bytes, false).await;
                }
            }
            Step::Close(topic) => self.models[*topic].publish(0, true).await,
            Step::Forget(topic) => self.models[*topic].forget().await,
            Step::Connect => self.connect().await,
            Step::Subscribe { client, topic, from } => {
                if !self.clients.is_empty() {
                    self.subscribe(client.index(self.clients.len()), *topic, from);
                }
            }
            Step::SubscribeAll(topic) => {
                (0..self.clients.len()).for_each(|client| self.subscribe(client, *topic, &From::Live));
            }
            Step::Unsubscribe { client, topic } => {
                let topic = self.models[*topic].topic;
                let Some(client) = pick(&mut self.clients, client) else { return };
                if client.conn.unsubscribe(topic) {
                    client.requests += 1;
                    client.conn.say(control_frames::unsubscribed(Some(&json!(client.requests)), topic));
                }
            }
            Step::Say(client) => {
                if let Some(client) = pick(&mut self.clients, client) {
                    client.requests += 1;
                    client.conn.say(control_frames::pong(Some(&json!(client.requests))));
                    client.conn.queue(&rfc6455::ping());
                }
            }
            Step::Read { client, bytes } => {
                if let Some(client) = pick(&mut self.clients, client) {
                    client.try_read(*bytes, &self.models);
                }
            }
            Step::ReadAll => {
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                    self.clients.iter_mut().for_each(|client| client.try_read(100_000, &self.models));
                }
            }
            Step::Leave(client) => {
                if !self.clients.is_empty() {
                    let left = self.clients.swap_remove(client.index(self.clients.len()));
                    left.conn.gone();
                }
            }
            Step::Yield(times) => {
                for _ in 0..*times {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// All clients read to the end, and everything is freed.
    async fn read_to_the_end(mut self) {
        let (models, deadline) = (&self.models, Instant::now() + DEADLINE);
        for client in &mut self.clients {
            while !client.is_complete(models) {
                let read = timeout(deadline - Instant::now(), client.read(models)).await;
                let heads: Vec<_> = models.iter().map(|model| (model.head, model.closed)).collect();
                assert!(read.is_ok(), "no more for {:?} and {:?} up to {heads:?}", client.follows, client.requested);
            }
            let answers = client.requests - client.requested.len() as u64;
            assert_eq!(client.answered, answers, "every request has one answer");
        }
        let conns: Vec<_> = self.clients.drain(..).map(|client| client.conn).collect();
        conns.iter().for_each(|conn| _ = conn.gone());
        // The catch-up tasks of clients that left may still end.
        while conns.iter().any(|conn| Arc::strong_count(conn) > 1) || self.hub.topics() > 0 {
            assert!(Instant::now() < deadline, "a connection is kept, or a topic is followed without readers");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.shared.tasks.stop();
    }
}

fn pick<'a>(clients: &'a mut [Client], index: &Index) -> Option<&'a mut Client> {
    (!clients.is_empty()).then(|| index.get_mut(clients))
}

impl Client {
    fn try_read(&mut self, bytes: usize, models: &[Model]) {
        let mut read = vec![0; bytes];
        if let Ok(length) = self.stream.try_read(&mut read) {
            self.buffer.extend_from_slice(&read[..length]);
            self.take_frames(models);
        }
    }

    async fn read(&mut self, models: &[Model]) {
        let mut read = [0; 4096];
        let length = self.stream.read(&mut read).await.expect("the stream is open");
        assert_ne!(length, 0, "the gateway has closed the stream");
        self.buffer.extend_from_slice(&read[..length]);
        self.take_frames(models);
    }

    fn take_frames(&mut self, models: &[Model]) {
        let mut start = 0;
        while let Some((header, length)) = wire::header(&self.buffer[start..]) {
            let (opcode, payload) = (self.buffer[start], self.buffer[start + header..start + header + length].to_vec());
            start += header + length;
            match opcode {
                0x81 if self.conn.format == Format::Json => {
                    self.take_text(std::str::from_utf8(&payload).expect("text"), models);
                }
                0x82 if self.conn.format == Format::Protobuf => {
                    wire::frames(&payload).iter().for_each(|text| self.take_text(text, models));
                }
                0x89 => self.pings += 1,
                other => panic!("no frame begins with {other:#x}"),
            }
        }
        self.buffer.drain(..start);
    }

    fn take_text(&mut self, text: &str, models: &[Model]) {
        let frame: Value = serde_json::from_str(text).expect("JSON");
        let model = models.iter().find(|model| frame["topic"] == model.topic.to_string());
        let head = || frame["head"].as_str().map(|head| head.parse().expect("an offset"));
        if let Some(id) = frame["id"].as_u64() {
            self.answered += 1;
            match (frame["event"].as_str(), model) {
                (Some("subscribed"), Some(model)) => {
                    let progress = self.requested.remove(&id).expect("a subscription that is not confirmed");
                    assert!(self.follows.insert(model.topic, progress).is_none(), "one subscription of a topic");
                }
                (Some("unsubscribed"), Some(model)) => drop(self.follows.remove(&model.topic)),
                (Some("pong"), None) => {}
                _ => panic!("{frame}"),
            }
            return;
        }
        let model = model.expect("a topic");
        let progress = self.follows.get_mut(&model.topic).expect("only topics that the client follows");
        match (frame["event"].as_str(), frame["offset"].as_str()) {
            (_, Some(offset)) => progress.event(offset.parse().expect("an offset"), text, model),
            (Some("caught_up"), None) => progress.caught_up(head(), model),
            (Some("reset"), None) => {
                let reason = if frame["reason"] == "epoch" { ResetReason::Epoch } else { ResetReason::Trimmed };
                progress.reset(reason, model);
            }
            (Some("closed"), None) => {
                self.follows.remove(&model.topic);
            }
            _ => panic!("{frame}"),
        }
    }

    /// Whether nothing can follow.
    fn is_complete(&self, models: &[Model]) -> bool {
        let follows = |model: &Model| self.conn.follows(model.topic);
        models.iter().all(|model| match self.follows.get(&model.topic) {
            Some(progress) => follows(model) && !model.closed && progress.is_complete(model),
            None => !follows(model),
        }) && self.conn.is_drained()
            && self.buffer.is_empty()
            && self.answered + self.requested.len() as u64 == self.requests
    }
}

/// The hub as it is: it writes to the few connections of these tests without its sweepers.
fn hub(bus: Bus, tasks: Tasks) -> Hub {
    Hub::new(bus, tasks, &CancellationToken::new(), Arc::new(|_, _| {}))
}

async fn run(hub: fn(Bus, Tasks) -> Hub, steps: &[Step]) {
    let mut scenario = Scenario::new(hub).await;
    for _ in 0..5 {
        scenario.connect().await;
    }
    for step in steps {
        scenario.step(step).await;
    }
    scenario.read_to_the_end().await;
}

static ONE_CORE: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));
static TWO_CORES: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// A frame is partly written, and the client reads all of that before the catch-up task starts.
#[tokio::test]
async fn a_connection_that_has_room_again_before_its_catch_up_task_runs_is_not_blocked() {
    let mut scenario = Scenario::new(hub).await;
    let mut blocked = 0;
    for kilobytes in 1.. {
        scenario.connect().await;
        let Client { conn, stream, .. } = scenario.clients.remove(0);
        let mut stream = stream.into_std().expect("a stream");
        let mut read = [0; 4096];
        let mut drain = || while std::io::Read::read(&mut stream, &mut read).is_ok_and(|length| length > 0) {};
        conn.say("x".repeat(kilobytes << 10));
        blocked += u32::from(conn.out.lock().blocked);
        drain();
        while conn.out.lock().has_task {
            tokio::task::yield_now().await;
            drain();
        }
        conn.say("the last".to_owned());
        assert!(conn.is_drained(), "the kernel has room, so it is written at once, after {kilobytes} KiB");
        conn.gone();
        if blocked == 3 {
            return; // frames that are a little longer than the buffers of the kernel
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, max_shrink_time: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_client_gets_every_event_once_or_a_reset_from_a_sweeper(steps in steps()) {
        ONE_CORE.block_on(run(Hub::of_sweepers, &steps));
    }

    #[test]
    fn every_client_gets_every_event_once_or_a_reset_from_two_sweepers(steps in steps()) {
        TWO_CORES.block_on(run(Hub::of_sweepers, &steps));
    }

    #[test]
    fn every_client_gets_every_event_once_or_a_reset_without_sweepers(steps in steps()) {
        TWO_CORES.block_on(run(hub, &steps));
    }
}
