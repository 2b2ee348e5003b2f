//! A fan-out of news: an exchange for a fleet, and a queue for each process that listens.
//!
//! Invariants:
//! - News are hints, so queues are their listeners' own, end with them, and hold [`WAITING_MAX`] news for [`WAITING_MS`] at most.
//! - The exchange's name has the fleet's own in it, so that fleets that share a virtual host do not wake each other.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use kernel::Result;
use kernel::fanout::Fanout;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ExchangeKind};

use super::{Purpose, Rabbit};

/// News that wait for one process at most; the oldest go first.
const WAITING_MAX: i32 = 1_024;
/// How long they do, in milliseconds.
const WAITING_MS: i32 = 10_000;

fn exchange(fleet: &str) -> ShortString {
    format!("flotilla.news.{fleet}").into()
}

/// Makes the exchange where it is not there yet.
pub(super) async fn declare(channel: &Channel, fleet: &str) -> lapin::Result<()> {
    let lasting = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange(fleet), ExchangeKind::Fanout, lasting, FieldTable::default()).await
}

#[async_trait]
impl Fanout for Rabbit {
    async fn tell(&self, news: &str) -> Result<()> {
        let (exchange, news) = (exchange(&self.fleet), news.to_owned());
        self.on_channel(Purpose::News, |channel| async move {
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            let published = channel.basic_publish(exchange, "".into(), options, news.as_bytes(), properties).await?;
            self.confirmed(vec![published]).await
        })
        .await?
    }

    async fn listen(&self) -> Result<BoxStream<'static, String>> {
        let open = self.open(Purpose::News).await?;
        let channel = &open.channel;
        let listening = async {
            let mut bounds = FieldTable::default();
            bounds.insert("x-max-length".into(), AMQPValue::LongInt(WAITING_MAX));
            bounds.insert("x-message-ttl".into(), AMQPValue::LongInt(WAITING_MS));
            let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
            let queue = channel.queue_declare("".into(), own, bounds).await?.name().clone();
            let (exchange, binding) = (exchange(&self.fleet), QueueBindOptions::default());
            channel.queue_bind(queue.clone(), exchange, "".into(), binding, FieldTable::default()).await?;
            let taken = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
            channel.basic_consume(queue, "".into(), taken, FieldTable::default()).await
        };
        let consumer = listening.await.map_err(|error| self.fault(&error))?;
        // The connection lives as long as who listens.
        let heard = stream::unfold((consumer, open), |(mut consumer, open)| async move {
            let news = consumer.next().await?.ok()?;
            // What is not text is nobody's of the fleet, and says nothing.
            let text = String::from_utf8(news.data).unwrap_or_default();
            Some((text, (consumer, open)))
        });
        Ok(heard.boxed())
    }
}
