//! RabbitMQ: what its ports promise, on a real broker that dies and comes back, refuses, and has dead letters.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backends::Database;
use backends::rabbitmq::{Config, Place, Rabbit};
use futures_util::StreamExt;
use kernel::bus::{Event, NewEvent};
use kernel::fanout::{self, Fanout, Signals};
use kernel::locks::Elections;
use kernel::metrics::Metrics;
use kernel::outbox::{self, Means, Publisher};
use kernel::reach::Reach;
use kernel::{Clock, Code, Tasks};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicRejectOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer};
use serde_json::json;

use crate::kit::{open as database, soon};
use crate::real;

pub(crate) fn open(url: &str, fleet: &str) -> Rabbit {
    Rabbit::new(Place { url }, fleet, &Config::default()).unwrap()
}

/// A broker's end of a fleet that keeps everything in one queue, and what `fleet` has in another.
fn keeping(url: &str) -> Rabbit {
    let queue = |name: &str, pattern: &str| (name.to_owned(), vec![pattern.to_owned()]);
    let queues = BTreeMap::from([queue("all", "#"), queue("some", "fleet.a.*")]);
    Rabbit::new(Place { url }, "0123456789abcdef", &Config { queues }).unwrap()
}

fn event(topic: &str, kind: &str, seq: u64) -> Event {
    let (topic, kind, source) = (topic.into(), kind.into(), "suite".into());
    Event { seq, topic, kind, source, at_ms: 1_794_729_600_123, trace_id: None, data: json!({ "é": [seq, null] }) }
}

/// A program outside the fleet that reads a queue.
async fn reader(url: &str, queue: &str) -> (Connection, Consumer) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
    (connection, consumer)
}

async fn next(consumer: &mut Consumer) -> (Event, Delivery) {
    let delivery = soon(consumer.next()).await.unwrap().unwrap();
    (serde_json::from_slice(&delivery.data).unwrap(), delivery)
}

fn message_id(delivery: &Delivery) -> String {
    delivery.properties.message_id().clone().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_keep_events_for_who_comes_later_and_what_is_refused_is_a_dead_letter() {
    let Some((_server, url)) = real::rabbitmq() else { return };
    let rabbit = keeping(&url);
    rabbit.look().await.unwrap();
    let long = "k".repeat(128);
    let events = [
        event("fleet", "a.b", 1),
        event("fleet", "b.a", 2),
        event("t:x", "", 7),
        event(&"t".repeat(128), &format!("{}é", &long[2..]), 9),
    ];
    rabbit.publish(&events).await.unwrap();
    // Published again, it is the same message.
    rabbit.publish(&events[..1]).await.unwrap();
    let (_all, mut all) = reader(&url, "flotilla.all").await;
    let mut ids = Vec::new();
    for expected in events.iter().chain(&events[..1]) {
        let (read, delivery) = next(&mut all).await;
        assert_eq!(read, *expected);
        let properties = &delivery.properties;
        assert_eq!(properties.kind().as_ref().map(|kind| kind.as_str()), Some(expected.kind.as_str()));
        assert_eq!((*properties.timestamp(), *properties.delivery_mode()), (Some(1_794_729_600), Some(2)));
        assert!(delivery.routing_key.as_str().starts_with(&format!("{}.", expected.topic)));
        ids.push(message_id(&delivery));
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    assert_eq!((ids[0].as_str(), &ids[4]), ("01234567/fleet/1/1794729600123", &ids[0]));
    // Of the other queue's two one is refused.
    let (_some, mut some) = reader(&url, "flotilla.some").await;
    let (read, delivery) = next(&mut some).await;
    assert_eq!((read, delivery.routing_key.as_str()), (events[0].clone(), "fleet.a.b"));
    delivery.reject(BasicRejectOptions { requeue: false }).await.unwrap();
    let (_dead, mut dead) = reader(&url, "flotilla.dead").await;
    let (read, delivery) = next(&mut dead).await;
    assert_eq!((read, message_id(&delivery)), (events[0].clone(), ids[0].clone()));
    assert!(delivery.properties.headers().as_ref().unwrap().inner().contains_key("x-death"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_says_why_and_fleets_do_not_wake_each_other() {
    let Some((_server, url)) = real::rabbitmq() else { return };
    let host = url.rsplit_once('@').unwrap().1.to_owned();
    for (url, code, part) in [
        (format!("amqp://guest:hunter2@{host}"), Code::NotConfigured, "refuses us"),
        (url.replace("%2f", "nowhere"), Code::NotConfigured, "refuses us"),
        ("amqp://root:hunter2@127.0.0.1:1/%2f".into(), Code::Unavailable, "RabbitMQ at 127.0.0.1:1 cannot be"),
        ("amqps://root:hunter2@127.0.0.1/%2f".into(), Code::InvalidArgument, "wants TLS"),
        ("redis://root:hunter2@127.0.0.1".into(), Code::InvalidArgument, "is not RabbitMQ's"),
        ("amqp://root:hunter2@127.0.0.1:port/%2f".into(), Code::InvalidArgument, "cannot be read"),
    ] {
        let fault = Place { url: &url }.look().await.unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains(part) && fault.hint.is_some(), "{fault}");
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }
    for url in [url.clone(), url.replace("%2f", "")] {
        assert!(Place { url: &url }.look().await.unwrap().starts_with("RabbitMQ at 127."));
    }
    // A queue that somebody made otherwise is named.
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.queue_declare("flotilla.all".into(), Default::default(), FieldTable::default()).await.unwrap();
    let fault = keeping(&url).look().await.unwrap_err();
    assert!(fault.code == Code::NotConfigured && fault.message.contains("flotilla.all"), "{fault}");
    crate::fanout::on_broker(&url).await;
    let (one, two) = (open(&url, "one"), open(&url, "two"));
    let mut heard = two.listen().await.unwrap();
    one.tell("of one").await.unwrap();
    two.tell("of two").await.unwrap();
    assert_eq!(soon(heard.next()).await.unwrap(), "of two");
}

#[test]
fn a_configuration_that_rabbitmq_would_refuse_is_refused() {
    let check = |name: &str, patterns: &[&str]| {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let refused = Config { queues: BTreeMap::from([(name.to_owned(), patterns)]) }.check();
        refused.err().map(|fault| (fault.code, fault.message))
    };
    assert_eq!(check("billing-2", &["fleet.#", ""]), None);
    for (name, patterns, part) in [
        ("dead", &["#"][..], "`dead`"),
        ("Billing", &["#"], "`Billing`"),
        ("", &["#"], "``"),
        ("a", &[], "0 patterns"),
        ("a", &[&*"é".repeat(128)], "256 bytes"),
    ] {
        let (code, message) = check(name, patterns).unwrap();
        assert!(code == Code::InvalidArgument && message.contains(part), "{message}");
    }
}

async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A process of a fleet: it passes events on, and hears others.
struct Process {
    database: Database,
    signals: Signals,
    events: Arc<Reach>,
    news: Arc<Reach>,
    metrics: Metrics,
    tasks: Tasks,
}

impl Process {
    async fn new(url: &str, name: &str, folder: &Path) -> Self {
        let (database, metrics, tasks) = (database(folder, Clock::system()).await, Metrics::default(), Tasks::new());
        let (rabbit, signals) = (Arc::new(open(url, "0123456789abcdef")), database.signals.clone());
        let [events, news] =
            ["events", "fanout"].map(|port| Reach::new(port, rabbit.place(), "the fleet goes on", &metrics));
        let elections = Elections::new(database.store.clone(), Clock::system());
        let means = Means { bus: database.bus.clone(), store: database.store.clone(), elections };
        outbox::start(rabbit.clone(), events.clone(), means, &metrics, &tasks);
        fanout::start(rabbit, news.clone(), name, &signals, &tasks);
        Self { database, signals, events, news, metrics, tasks }
    }

    /// Until both ways are open, or neither is.
    async fn until(&self, open: bool) {
        until(|| {
            self.signals.bus.hears_others() == open
                && [&self.events, &self.news].iter().all(|reach| reach.standing().is_ok() == open)
        })
        .await;
    }

    async fn happens(&self, count: u64) {
        for n in 0..count {
            self.database.bus.publish(NewEvent::fleet("a.b", "suite", json!({ "n": n }))).await.unwrap();
        }
    }

    fn waiting(&self) -> u64 {
        self.metrics.events_waiting.get().unsigned_abs()
    }

    fn passed_on(&self) -> u64 {
        self.metrics.events_passed_on.get()
    }
}

/// A queue that a program outside the fleet made for itself, which keeps every event. It is a classic one: RabbitMQ 3.10 sometimes leaves a quorum
/// queue without a leader when it was killed, and what is said here is of the fleet.
async fn keep_all(url: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let lasting = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("suite".into(), lasting, FieldTable::default()).await.unwrap();
    let options = QueueBindOptions::default();
    channel
        .queue_bind("suite".into(), "flotilla.events".into(), "#".into(), options, FieldTable::default())
        .await
        .unwrap();
}

/// What a reader gets until it has the event of this place, each once.
async fn read_until(url: &str, last: u64) -> BTreeMap<u64, String> {
    let mut read = BTreeMap::new();
    let (_connection, mut consumer) = reader(url, "suite").await;
    while !read.contains_key(&last) {
        let (event, delivery) = next(&mut consumer).await;
        let id = message_id(&delivery);
        let before = read.insert(event.seq, id.clone());
        assert!(before.is_none_or(|before| before == id), "what comes twice is the same message");
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_and_a_process_that_ends_lose_no_event() {
    const EACH: u64 = 300;
    let Some((mut server, url)) = real::rabbitmq() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Process::new(&url, "one", folder.path()).await, Process::new(&url, "two", folder.path()).await);
    one.until(true).await;
    two.until(true).await;
    keep_all(&url).await;
    // Who finds nothing by looking is woken by what the other tells.
    let woken = two.signals.queue.wait(|| async { Ok(0) });
    one.signals.queue.announce();
    soon(woken).await;
    // It dies in the midst of what it is given.
    tokio::join!(one.happens(EACH), async {
        until(|| one.passed_on() + two.passed_on() > 0).await;
        server.kill();
    });
    one.until(false).await;
    two.until(false).await;
    let fault = one.events.standing().unwrap_err();
    assert!(fault.code == Code::Unavailable && fault.message.starts_with("RabbitMQ at 127."), "{fault}");
    // Meanwhile events happen, and wait.
    two.happens(EACH).await;
    until(|| one.waiting() + two.waiting() >= EACH).await;
    server.again();
    one.until(true).await;
    two.until(true).await;
    until(|| one.waiting() + two.waiting() == 0).await;
    let mut read = read_until(&url, 2 * EACH).await;
    // The process that passes on ends; the other takes over.
    let (gone, left) = if one.passed_on() > 0 { (one, two) } else { (two, one) };
    assert_eq!(gone.tasks.drain(Duration::from_secs(10)).await, 0);
    left.happens(EACH).await;
    read.extend(read_until(&url, 3 * EACH).await);
    assert!(read.into_keys().eq(1..=3 * EACH), "each event came");
    assert_eq!(left.tasks.drain(Duration::from_secs(10)).await, 0);
}
