//! RabbitMQ: the fleet's events for programs outside it ([`events`](self::events)), and a fan-out where there is no Redis ([`news`](self::news)).
//!
//! Invariants:
//! - Nothing stands here alone: events stand on the bus, news are hints to look. A broker that is lost loses the fleet nothing.
//! - What is published is confirmed by the broker before it counts as published.
//! - A connection on which something was left undone is given up, so that nothing piles up on it and no answer is taken for another's.
//! - No error says anything of the URL but its host and port.

mod events;
mod news;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kernel::{Code, Fault, Result};
use lapin::options::ConfirmSelectOptions;
use lapin::uri::AMQPUri;
use lapin::{Channel, Confirmation, Connection, ConnectionProperties, Error, ErrorKind, PublisherConfirm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// How often either side says that it lives, in seconds.
const HEARTBEAT_SECONDS: u16 = 10;
/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(4);
/// Longest name of a queue of the configuration, in bytes.
const QUEUE_NAME_MAX: usize = 64;
/// Most queues of the configuration.
const QUEUES_MAX: usize = 64;
/// Most patterns of a queue.
const PATTERNS_MAX: usize = 64;
/// The longest that names and keys may be, in bytes: AMQP's own limit.
const NAME_BYTES_MAX: usize = 255;
/// The name of the queue of dead letters; no other may have it.
const DEAD: &str = "dead";

/// `[rabbitmq]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Queues that keep events for programs outside the fleet, by name, each with the patterns of what it keeps: `billing = ["intents.#", "fleet.risk.#"]`
    /// keeps it in the quorum queue `flotilla.billing`. An event's key is its topic, a dot and its kind; `*` stands for one word of it, `#` for any number.
    pub queues: BTreeMap<String, Vec<String>>,
}

impl Config {
    /// Refuses what RabbitMQ would.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] with the queue.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, hint: String| Err(Fault::invalid(format!("rabbitmq.queues: {what}")).hint(hint));
        if self.queues.len() > QUEUES_MAX {
            return wrong(format!("{} queues", self.queues.len()), format!("at most {QUEUES_MAX}"));
        }
        for (name, patterns) in &self.queues {
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || name.len() > QUEUE_NAME_MAX || !name.bytes().all(fits) || name == DEAD {
                let hint = format!("1 to {QUEUE_NAME_MAX} characters of a-z 0-9 -, and not `{DEAD}`");
                return wrong(format!("a queue cannot be called `{name}`"), hint);
            }
            if patterns.is_empty() || patterns.len() > PATTERNS_MAX {
                let hint = format!("1 to {PATTERNS_MAX}, like \"fleet.#\"");
                return wrong(format!("`{name}` has {} patterns", patterns.len()), hint);
            }
            if let Some(long) = patterns.iter().find(|pattern| pattern.len() > NAME_BYTES_MAX) {
                let hint = format!("at most {NAME_BYTES_MAX} bytes");
                return wrong(format!("a pattern of `{name}` has {} bytes", long.len()), hint);
            }
        }
        Ok(())
    }
}

/// Where the broker is. A secret: it is never shown.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// `amqp://user:password@host:port/vhost`.
    pub url: &'a str,
}

/// See the module.
pub struct Rabbit {
    uri: AMQPUri,
    /// Host and port, for people.
    place: String,
    fleet: String,
    config: Config,
    /// Whether the queues were seen to be there. Asked for while a broker that came back elects their leaders, they may stay without (RabbitMQ 3.10).
    declared: AtomicBool,
    /// Events and news each have a connection: publishing many holds no news up.
    events: Mutex<Option<Open>>,
    news: Mutex<Option<Open>>,
}

/// An open connection, which ends with this, and its channel.
struct Open {
    channel: Channel,
    connection: Connection,
}

/// What a connection is for.
#[derive(Clone, Copy)]
enum Purpose {
    Events,
    News,
}

impl Place<'_> {
    fn uri(&self) -> Result<AMQPUri> {
        let wrong =
            |why: &str| Fault::invalid(format!("RABBITMQ_URL {why}")).hint("amqp://user:password@host:5672/%2f");
        if self.url.starts_with("amqps://") {
            let hint = "amqp://user:password@host:5672/%2f, in a network of its own or through a tunnel";
            return Err(wrong("wants TLS, which the fleet does not speak with brokers").hint(hint));
        }
        if !self.url.starts_with("amqp://") {
            return Err(wrong("is not RabbitMQ's: it does not begin with amqp://"));
        }
        // The error may have a part of the URL in it.
        let mut uri: AMQPUri = self.url.parse().map_err(|_| wrong("cannot be read"))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        // To AMQP a slash alone names a host without a name, which no broker has.
        if uri.vhost.is_empty() {
            uri.vhost = "/".into();
        }
        Ok(uri)
    }

    /// Looks once whether the broker lets us in. Answers where it is, without a secret.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the URL is none; [`Code::Unavailable`] when nobody answers there; [`Code::NotConfigured`] when it
    /// does not let us in.
    pub async fn look(&self) -> Result<String> {
        let rabbit = Rabbit::new(*self, "", &Config::default())?;
        let open = rabbit.connect().await?;
        open.connection.close(200, "seen".into()).await.map_err(|error| rabbit.fault(&error))?;
        Ok(rabbit.place)
    }
}

impl Rabbit {
    /// The broker at `place`, for the fleet of this name. Connects when it is used.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the URL is none, or the configuration is wrong.
    pub fn new(place: Place<'_>, fleet: &str, config: &Config) -> Result<Self> {
        config.check()?;
        let uri = place.uri()?;
        let place = format!("RabbitMQ at {}:{}", uri.authority.host, uri.authority.port);
        let (fleet, config) = (fleet.to_owned(), config.clone());
        Ok(Self {
            uri,
            place,
            fleet,
            config,
            declared: AtomicBool::new(false),
            events: Mutex::default(),
            news: Mutex::default(),
        })
    }

    /// What it is and where, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    async fn connect(&self) -> Result<Open> {
        let connecting = async {
            let properties = ConnectionProperties::default().with_connection_name("flotilla".into());
            let connection = Connection::connect_uri(self.uri.clone(), properties).await?;
            let channel = connection.create_channel().await?;
            Ok(Open { channel, connection })
        };
        match tokio::time::timeout(CONNECT_TIME, connecting).await {
            Ok(connected) => connected.map_err(|error| self.fault(&error)),
            Err(_) => {
                let what = format!("{} gave no answer within {} s", self.place, CONNECT_TIME.as_secs());
                Err(Fault::unavailable(what).hint("it is looked for"))
            }
        }
    }

    /// A new connection on which all is there that it is for.
    async fn open(&self, purpose: Purpose) -> Result<Open> {
        let open = self.connect().await?;
        let ready = async {
            match purpose {
                Purpose::Events => {
                    events::declare(&open.channel).await?;
                    if !self.declared.load(Ordering::Acquire) {
                        events::declare_queues(&open.channel, &self.config).await?;
                        self.declared.store(true, Ordering::Release);
                    }
                }
                Purpose::News => news::declare(&open.channel, &self.fleet).await?,
            }
            open.channel.confirm_select(ConfirmSelectOptions::default()).await
        };
        ready.await.map_err(|error| self.fault(&error))?;
        Ok(open)
    }

    /// Does `work` on the channel for a purpose, a new one where the last has ended.
    async fn on_channel<T, W>(&self, purpose: Purpose, work: impl FnOnce(Channel) -> W) -> Result<T>
    where
        W: Future<Output = lapin::Result<T>>,
    {
        let held = match purpose {
            Purpose::Events => &self.events,
            Purpose::News => &self.news,
        };
        let mut held = held.lock().await;
        // Taken out: whoever gives the wait up gives the connection up.
        let open = match held.take().filter(|open| open.channel.status().connected()) {
            Some(open) => open,
            None => self.open(purpose).await?,
        };
        let done = work(open.channel.clone()).await.map_err(|error| self.fault(&error))?;
        *held = Some(open);
        Ok(done)
    }

    /// Waits until all of these are confirmed.
    async fn confirmed(&self, published: Vec<PublisherConfirm>) -> lapin::Result<Result<()>> {
        for confirm in published {
            if !matches!(confirm.await?, Confirmation::Ack(_)) {
                let what = format!("{} did not take what was published", self.place);
                return Ok(Err(Fault::unavailable(what).hint("look at its log, its memory and its disk")));
            }
        }
        Ok(Ok(()))
    }

    /// An error of the broker in our words.
    fn fault(&self, error: &Error) -> Fault {
        let place = &self.place;
        let said = match error.kind() {
            ErrorKind::ProtocolError(said) => said.get_id(),
            _ => 0,
        };
        match said {
            // ACCESS_REFUSED, NOT_ALLOWED.
            403 | 530 => Fault::new(Code::NotConfigured, format!("{place} refuses us: {error}")).hint(
                "look at the user, the password, the virtual host in RABBITMQ_URL, and at what the user may do there",
            ),
            // PRECONDITION_FAILED.
            406 => Fault::new(Code::NotConfigured, format!("{place} has it otherwise: {error}"))
                .hint("delete what is named there, once it is empty: the fleet makes it anew"),
            _ => Fault::unavailable(format!("{place} cannot be reached: {error}")).hint("it is looked for"),
        }
    }
}
