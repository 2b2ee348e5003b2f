//! Buckets and a fan-out on Redis (or Valkey), which the processes of a fleet share.
//!
//! Invariants:
//! - Nothing that matters is kept here: buckets that are lost are full again, and news are hints.
//! - Time is the server's, so clocks of machines need not agree.
//! - All names begin with the fleet's own, so fleets may share a server. No error says anything of the URL but its host and port.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kernel::fanout::Fanout;
use kernel::ids::digest;
use kernel::meters::{Buckets, Drawn, Rate};
use kernel::{Code, Fault, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, Script};

/// How long connecting may take, and every answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// The slowest rate a bucket is filled at, per second: one token in an hour.
const PER_SECOND_MIN: f64 = 1.0 / 3_600.0;

/// Where the server is. Secrets: they are never shown.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// `redis://user:password@host:port/database`, `rediss://…` over TLS, or `unix:///path`.
    pub url: &'a str,
    /// The password, when the URL has none.
    pub password: Option<&'a str>,
}

/// Draws from a bucket: the key; tokens per millisecond, the most it holds, the most to take. Answers with tokens, and how long to wait.
const DRAW: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local per_ms, burst, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local level = burst
local had = redis.call('HMGET', KEYS[1], 'level', 'at_ms')
if had[1] and had[2] then
  level = math.min(burst, tonumber(had[1]) + math.max(0, now - tonumber(had[2])) * per_ms)
end
local tokens = math.min(most, math.floor(level))
if tokens < 1 then
  return {0, math.ceil((1 - level) / per_ms)}
end
level = level - tokens
redis.call('HSET', KEYS[1], 'level', string.format('%.9f', level), 'at_ms', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((burst - level) / per_ms)))
return {tokens, 0}
";

/// See the module.
pub struct Redis {
    client: Client,
    /// Host and port, for people.
    place: String,
    /// What all names begin with.
    prefix: String,
    config: AsyncConnectionConfig,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    draw: Script,
}

impl Place<'_> {
    fn info(&self) -> Result<ConnectionInfo> {
        let wrong = |why: &str| {
            Fault::invalid(format!("REDIS_URL {why}")).hint("redis://user:password@host:6379/0, rediss://… over TLS")
        };
        let known = ["redis://", "rediss://", "valkey://", "valkeys://", "unix://", "redis+unix://", "valkey+unix://"];
        if !known.iter().any(|scheme| self.url.starts_with(scheme)) {
            return Err(wrong("is not Redis': it begins with neither redis:// nor rediss://"));
        }
        // The error's detail may have a part of the URL in it.
        let info = self.url.into_connection_info().map_err(|error| wrong(error.category()))?;
        let settings = info.redis_settings().clone();
        Ok(match self.password {
            Some(password) if settings.password().is_none() => info.set_redis_settings(settings.set_password(password)),
            _ => info,
        })
    }

    /// Looks once whether the server lets us in. Answers where it is, without a secret.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the URL is none; [`Code::Unavailable`] when nobody answers there; [`Code::NotConfigured`] when it
    /// does not let us in.
    pub async fn look(&self) -> Result<String> {
        let redis = Redis::new(*self, "")?;
        Buckets::look(&redis).await.map(|()| redis.place)
    }
}

impl Redis {
    /// The server at `place`, for the fleet of this name. Connects when it is used.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the URL is none.
    pub fn new(place: Place<'_>, fleet: &str) -> Result<Self> {
        let info = place.info()?;
        let place = format!("Redis at {}", info.addr());
        let client = Client::open(info).map_err(|error| fault(&place, &error))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIME))
            .set_response_timeout(Some(ANSWER_TIME));
        Ok(Self {
            client,
            place,
            prefix: format!("flotilla:{fleet}"),
            config,
            connection: tokio::sync::Mutex::default(),
            draw: Script::new(DRAW),
        })
    }

    /// What it is and where, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Does `work` on the connection all share, or on a new one when that has broken.
    async fn on_connection<T, W>(&self, work: impl FnOnce(MultiplexedConnection) -> W) -> Result<T>
    where
        W: Future<Output = redis::RedisResult<T>>,
    {
        let connection = {
            let mut shared = self.connection.lock().await;
            match &*shared {
                Some(connection) => connection.clone(),
                None => {
                    let connecting = self.client.get_multiplexed_async_connection_with_config(&self.config);
                    let connection = connecting.await.map_err(|error| fault(&self.place, &error))?;
                    shared.insert(connection).clone()
                }
            }
        };
        let done = work(connection).await;
        if let Err(error) = &done
            && !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
        {
            *self.connection.lock().await = None;
        }
        done.map_err(|error| fault(&self.place, &error))
    }

    fn channel(&self) -> String {
        format!("{}:news", self.prefix)
    }
}

#[async_trait]
impl Buckets for Redis {
    async fn draw(&self, name: &str, rate: Rate, most: u32) -> Result<Drawn> {
        let key = format!("{}:bucket:{}", self.prefix, digest(name.as_bytes()));
        let per_ms = rate.per_second.max(PER_SECOND_MIN) / 1_000.0;
        let (tokens, wait_ms): (u32, u64) = self
            .on_connection(|mut connection| async move {
                self.draw.key(key).arg(per_ms).arg(rate.burst).arg(most).invoke_async(&mut connection).await
            })
            .await?;
        Ok(if tokens == 0 { Drawn::WaitMs(wait_ms) } else { Drawn::Tokens(tokens) })
    }

    async fn look(&self) -> Result<()> {
        self.on_connection(|mut connection| async move { redis::cmd("PING").query_async(&mut connection).await }).await
    }
}

#[async_trait]
impl Fanout for Redis {
    async fn tell(&self, news: &str) -> Result<()> {
        let (channel, news) = (self.channel(), news.to_owned());
        self.on_connection(|mut connection| async move {
            redis::cmd("PUBLISH").arg(channel).arg(news).query_async(&mut connection).await
        })
        .await
    }

    async fn listen(&self) -> Result<BoxStream<'static, String>> {
        let subscribed = async {
            let mut listener = self.client.get_async_pubsub().await?;
            listener.subscribe(self.channel()).await?;
            Ok(listener.into_on_message())
        };
        let heard = subscribed.await.map_err(|error: RedisError| fault(&self.place, &error))?;
        // What is not text is nobody's of the fleet.
        Ok(heard.filter_map(|news| async move { news.get_payload::<String>().ok() }).boxed())
    }
}

/// An error of Redis in our words.
fn fault(place: &str, error: &RedisError) -> Fault {
    let code = error.code().unwrap_or_default();
    let refused = error.kind() == ErrorKind::AuthenticationFailed || ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&code);
    match error.kind() {
        _ if refused => Fault::new(Code::NotConfigured, format!("{place} refuses the login: {error}"))
            .hint("look at the user in REDIS_URL, and at its password or REDIS_PASSWORD"),
        ErrorKind::Server(_) | ErrorKind::Extension => {
            Fault::unavailable(format!("{place} does not do it: {error}")).hint("look at its log and its memory")
        }
        ErrorKind::InvalidClientConfig => Fault::invalid(format!("REDIS_URL cannot be used: {}", error.category()))
            .hint("redis://user:password@host:6379/0"),
        _ => Fault::unavailable(format!("{place} cannot be reached: {error}")).hint("it is looked for"),
    }
}
