//! Events for programs outside the fleet: a topic exchange that has every event, and quorum queues that keep some for who comes later.
//!
//! Invariants:
//! - Everything survives the broker's death: exchanges and queues are durable, messages persistent, queues replicated where the broker has several nodes.
//! - An event is the same message however often it is published: its id is made of the fleet, its topic, its place there and its time.
//! - A queue is bounded; what overflows, or is refused too often, goes to the dead letters, so that one that nobody reads stops no other.

use async_trait::async_trait;
use kernel::bus::Event;
use kernel::outbox::Publisher;
use kernel::{Fault, Result};
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ExchangeKind};

use super::{Config, DEAD, NAME_BYTES_MAX, Purpose, Rabbit};

/// What all names begin with.
const PREFIX: &str = "flotilla";
/// Messages that one queue holds at most.
const QUEUE_MAX: i64 = 1_000_000;
/// How often a message is handed out again before it is a dead letter.
const DELIVERIES_MAX: i64 = 20;
/// How much of a fleet's name is in the ids of its messages.
const FLEET_BYTES: usize = 8;
/// AMQP's number for messages that are written to disk.
const PERSISTENT: u8 = 2;

fn exchange() -> ShortString {
    format!("{PREFIX}.events").into()
}

fn queue(name: &str) -> ShortString {
    format!("{PREFIX}.{name}").into()
}

/// Makes the exchanges that are not there yet.
pub(super) async fn declare(channel: &Channel) -> lapin::Result<()> {
    let lasting = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange(), ExchangeKind::Topic, lasting, FieldTable::default()).await?;
    channel.exchange_declare(queue(DEAD), ExchangeKind::Fanout, lasting, FieldTable::default()).await
}

/// Makes the queues that are not there yet.
pub(super) async fn declare_queues(channel: &Channel, config: &Config) -> lapin::Result<()> {
    keep(channel, DEAD, queue(DEAD), &[""], None).await?;
    for (name, patterns) in &config.queues {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        keep(channel, name, exchange(), &patterns, Some(DEAD)).await?;
    }
    Ok(())
}

/// Makes a queue that keeps what comes to an exchange under these keys.
async fn keep(
    channel: &Channel,
    name: &str,
    from: ShortString,
    keys: &[&str],
    dead: Option<&str>,
) -> lapin::Result<()> {
    let mut bounds = FieldTable::default();
    bounds.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    bounds.insert("x-max-length".into(), AMQPValue::LongLongInt(QUEUE_MAX));
    if let Some(dead) = dead {
        bounds.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERIES_MAX));
        bounds.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(queue(dead).to_string().into()));
    }
    let lasting = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue(name), lasting, bounds).await?;
    for key in keys {
        let options = QueueBindOptions::default();
        channel.queue_bind(queue(name), from.clone(), (*key).into(), options, FieldTable::default()).await?;
    }
    Ok(())
}

/// A text cut to what a name of AMQP may have.
fn short(mut text: String) -> ShortString {
    text.truncate(text.floor_char_boundary(NAME_BYTES_MAX));
    text.into()
}

impl Rabbit {
    fn message(&self, event: &Event) -> Result<(ShortString, Vec<u8>, BasicProperties)> {
        let Event { seq, topic, kind, at_ms, .. } = event;
        let body = serde_json::to_vec(event)
            .map_err(|error| Fault::internal(format!("event {seq} of `{topic}` cannot be written: {error}")))?;
        let fleet = self.fleet.get(..FLEET_BYTES).unwrap_or(&self.fleet);
        let properties = BasicProperties::default()
            .with_app_id(PREFIX.into())
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(format!("{fleet}/{topic}/{seq}/{at_ms}").into())
            .with_timestamp(at_ms.unsigned_abs() / 1_000)
            .with_type(short(kind.clone()));
        Ok((short(format!("{topic}.{kind}")), body, properties))
    }
}

#[async_trait]
impl Publisher for Rabbit {
    async fn look(&self) -> Result<()> {
        self.on_channel(Purpose::Events, |channel| async move {
            let seen = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(exchange(), ExchangeKind::Topic, seen, FieldTable::default()).await
        })
        .await
    }

    async fn publish(&self, events: &[Event]) -> Result<()> {
        let messages = events.iter().map(|event| self.message(event)).collect::<Result<Vec<_>>>()?;
        self.on_channel(Purpose::Events, |channel| async move {
            let mut published = Vec::with_capacity(messages.len());
            for (key, body, properties) in messages {
                let options = BasicPublishOptions::default();
                published.push(channel.basic_publish(exchange(), key, options, &body, properties).await?);
            }
            self.confirmed(published).await
        })
        .await?
    }
}
