//! `discord`: the fleet's bot. People ask it by `!command` and `/command`, and it keeps channels for figures, alerts and log lines.
//!
//! It has one door of its own, to Discord, held by the copy that leads ([`gateway`], [`rest`]); on the fleet it acts through tools like every agent.
//! What a person asks for is done under the role that the configuration maps them to ([`people`]), within the agent's own, and recorded under
//! their name; what it does in its channels is done under `agent:discord`. Without a token it is off, and healthy.
//!
//! Discord's protocol is spoken by ourselves, over the websocket of `tokio-websockets`: the client library that there is for it reads frames of any size,
//! resumes wherever it is told to and takes any event for a heartbeat's answer; what must hold here would have had to be built around it.

mod answer;
mod channels;
mod command;
mod does;
mod events;
mod gateway;
mod limits;
mod people;
mod rest;
mod session;
mod state;
mod talk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::Uri;
use kernel::health::Check;
use kernel::{Access, Fault, Role, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use servers::outbound::host_port;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::agent::{Agent, Duties, When};
use crate::hands::Hands;
use crate::jobs::{Job, Jobs};
use crate::presence::{Room, Secrets};
use answer::{Answer, Tone};
use gateway::Gateway;
use people::People;
use rest::{Rest, is_id};
use state::{Link, State};
use talk::Talk;

/// Most of what was heard and waits.
const HEARD_MAX: usize = 256;
/// Most commands that are carried out at once.
const AT_ONCE: usize = 16;
/// How often what is over is tidied up.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// What the first documentation has in place of a token and of ids: as good as nothing.
const PLACEHOLDERS: [&str; 2] = ["your_bot_token_here", "channel_id"];

/// `[agents.discord]` in `flotilla.toml`. The bot's token is a variable: `DISCORD_BOT_TOKEN`, best as a file, `DISCORD_BOT_TOKEN_FILE`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Discord's REST interface. The token goes there and to its gateway, and nowhere else.
    pub api: String,
    /// The id of the one Discord server that is heard; all that the bot is in when empty.
    pub guild: String,
    /// The fleet role of every member of that server: `viewer`, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub everyone: Option<Role>,
    /// Fleet roles by the id of a Discord role: `"1300000000000000000" = "operator"`. Nobody may do anything unless mapped.
    pub roles: BTreeMap<String, Role>,
    /// Fleet roles by the id of a Discord user.
    pub users: BTreeMap<String, Role>,
    /// How long a change waits to be confirmed, in seconds: 5 to 600.
    pub confirm_seconds: u32,
    /// The id of the channel where the fleet's figures are shown, in one message. `DISCORD_METRICS_CHANNEL_ID` sets it.
    pub metrics_channel: String,
    /// How often that message is brought up to date, in seconds: 10 to 3,600.
    pub metrics_seconds: u32,
    /// The id of the channel where alerts are told. `DISCORD_ALERTS_CHANNEL_ID` sets it.
    pub alerts_channel: String,
    /// How often is looked for alerts, in seconds: 1 to 300. It is looked at once when an alert changes.
    pub alerts_seconds: u32,
    /// The id of the channel where warnings and errors are told. `DISCORD_LOGS_CHANNEL_ID` sets it.
    pub logs_channel: String,
    /// How often that is done, in seconds: 5 to 3,600. What came meanwhile is one message.
    pub logs_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api: "https://discord.com/api/v10".into(),
            guild: String::new(),
            everyone: None,
            roles: BTreeMap::new(),
            users: BTreeMap::new(),
            confirm_seconds: 60,
            metrics_channel: String::new(),
            metrics_seconds: 60,
            alerts_channel: String::new(),
            alerts_seconds: 5,
            logs_channel: String::new(),
            logs_seconds: 10,
        }
    }
}

/// The channels, where there are any.
struct Channels {
    metrics: Option<String>,
    alerts: Option<String>,
    logs: Option<String>,
}

/// The agent.
pub struct Discord {
    config: Config,
    people: People,
    channels: Channels,
    token: Option<Secret>,
    rest: Option<Arc<Rest>>,
    state: Arc<State>,
}

impl Agent for Discord {
    const NAME: &'static str = "discord";
    type Config = Config;

    fn new(config: Config) -> Result<Self, Fault> {
        check_api(&config.api)?;
        let seconds = [
            ("confirm_seconds", config.confirm_seconds, 5, 600),
            ("metrics_seconds", config.metrics_seconds, 10, 3_600),
            ("alerts_seconds", config.alerts_seconds, 1, 300),
            ("logs_seconds", config.logs_seconds, 5, 3_600),
        ];
        if let Some((name, value, min, max)) =
            seconds.into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value))
        {
            return Err(Fault::invalid(format!("agents.discord.{name} is {value}")).hint(format!("{min} to {max}")));
        }
        let guild = given_id("guild", &config.guild)?;
        let people = People::new(guild, config.everyone.clone(), &config.roles, &config.users)?;
        let channels = Channels {
            metrics: given_id("metrics_channel", &config.metrics_channel)?,
            alerts: given_id("alerts_channel", &config.alerts_channel)?,
            logs: given_id("logs_channel", &config.logs_channel)?,
        };
        Ok(Self { config, people, channels, token: None, rest: None, state: Arc::new(State::new(Link::Off)) })
    }

    fn given(self, secrets: &Secrets) -> Result<Self, Fault> {
        let token = secrets.discord_token.clone().filter(|token| !is_nothing(token.expose()));
        let rest = token.as_ref().map(|token| Rest::new(&self.config.api, token)).transpose()?.map(Arc::new);
        let link = if rest.is_some() { Link::Idle } else { Link::Off };
        Ok(Self { token, rest, state: Arc::new(State::new(link)), ..self })
    }

    fn duties(&self, set: &mut Duties<Self>) {
        let seconds = |seconds: u32| When::every(Duration::from_secs(seconds.into()));
        set.add(
            "alerts",
            "Shows alerts in the alerts channel: a message for each rule, edited as its alerts fire, are acknowledged and end.",
            seconds(self.config.alerts_seconds).or_on(&["alert."]),
            Self::alerts,
        );
        set.add(
            "metrics",
            "Keeps one message with the fleet's figures in the metrics channel up to date.",
            seconds(self.config.metrics_seconds),
            Self::metrics,
        );
        set.add(
            "logs",
            "Tells warnings and errors in the logs channel, some at a time, and how many more there are.",
            seconds(self.config.logs_seconds),
            Self::logs,
        );
    }

    fn jobs(&self, set: &mut Jobs<Self>) {
        let notify = "Posts a message in one of the bot's channels; once, however often it is tried.";
        set.add(Job::new("notify", notify, Access::Operate).text("text"), Self::notify);
    }

    async fn presence(self: Arc<Self>, room: Room) {
        let (Some(rest), Some(token)) = (&self.rest, &self.token) else { return std::future::pending().await };
        let gateway = Gateway { rest: Arc::clone(rest), token: token.clone(), state: Arc::clone(&self.state) };
        let confirm = Duration::from_secs(self.config.confirm_seconds.into());
        let talk = Talk::new(Arc::clone(rest), Arc::clone(&self.state), self.people.clone(), room, confirm);
        let (tell, heard) = mpsc::channel(HEARD_MAX);
        let listening = async {
            gateway.run(tell).await;
            // Refused for good: that is said until somebody starts it anew.
            std::future::pending::<()>().await;
        };
        tokio::join!(listening, self.attend(&talk, heard));
    }

    fn checks(&self) -> Vec<Check> {
        self.state.checks()
    }
}

/// Which channel.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// That of alerts.
    #[default]
    Alerts,
    /// That of figures.
    Metrics,
    /// That of log lines.
    Logs,
}

/// What `notify` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// What to say; what does not fit a message is cut.
    pub text: String,
    /// Its title.
    #[serde(default)]
    pub title: Option<String>,
    /// Where: `alerts` (unless given), `metrics` or `logs`.
    #[serde(default)]
    pub channel: Channel,
}

/// What `notify` gives.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Notified {
    /// The id of the message in Discord.
    pub message: String,
}

/// What a duty answers whose channel is not configured, or that has no token.
const OFF: &str = "off: no token or no channel";

impl Discord {
    async fn notify(self: Arc<Self>, asked: Notify, hands: Hands) -> Result<Notified, Fault> {
        let channel = match asked.channel {
            Channel::Alerts => &self.channels.alerts,
            Channel::Metrics => &self.channels.metrics,
            Channel::Logs => &self.channels.logs,
        };
        let (Some(rest), Some(channel)) = (&self.rest, channel) else {
            return Err(Fault::not_configured("there is no such channel, or no token")
                .hint("DISCORD_BOT_TOKEN and agents.discord.*_channel: docs/discord.md"));
        };
        let answer = Answer::new(Tone::Plain, asked.title.unwrap_or_else(|| "For your information".into()), asked.text);
        let body = answer.page(&answer.pages(), 0, &[]);
        let message = channels::post(rest, channel, &hands.key(), body).await?;
        Ok(Notified { message })
    }

    async fn alerts(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        match (&self.rest, &self.channels.alerts) {
            (Some(rest), Some(channel)) => channels::alerts::update(rest, channel, &hands).await,
            _ => Ok(OFF.into()),
        }
    }

    async fn metrics(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        match (&self.rest, &self.channels.metrics) {
            (Some(rest), Some(channel)) => channels::metrics::update(rest, channel, &hands).await,
            _ => Ok(OFF.into()),
        }
    }

    async fn logs(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        match (&self.rest, &self.channels.logs) {
            (Some(rest), Some(channel)) => channels::logs::update(rest, channel, &hands).await,
            _ => Ok(OFF.into()),
        }
    }

    /// Answers what is heard, a few at once.
    async fn attend(&self, talk: &Talk, mut heard: mpsc::Receiver<events::Heard>) {
        let guild = Some(self.config.guild.as_str()).filter(|guild| !is_nothing(guild));
        let mut under_way: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut ticks = interval(TIDY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = under_way.len() < AT_ONCE;
            tokio::select! {
                Some(one) = heard.recv(), if room => under_way.push(talk.hear(one, guild).boxed()),
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                _ = ticks.tick(), if room => under_way.push(talk.tidy().boxed()),
            }
        }
    }
}

/// Whether a text stands for nothing.
fn is_nothing(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || PLACEHOLDERS.contains(&text)
}

/// An id that the configuration gives, or nothing.
fn given_id(name: &str, text: &str) -> Result<Option<String>, Fault> {
    if is_nothing(text) {
        return Ok(None);
    }
    match is_id(text.trim()) {
        true => Ok(Some(text.trim().to_owned())),
        false => Err(Fault::invalid(format!("agents.discord.{name} is `{text}`, which is no id of Discord's"))
            .hint("a number: right-click, Copy ID, in Discord's developer mode")),
    }
}

/// The token may not go over a network in the open.
fn check_api(api: &str) -> Result<(), Fault> {
    let bad =
        |what: &str| Err(Fault::invalid(format!("agents.discord.api: {what}")).hint("https://discord.com/api/v10"));
    let Ok(uri) = api.parse::<Uri>() else { return bad("no address") };
    let (host, _) = host_port(&uri).map_err(|fault| fault.context("agents.discord.api"))?;
    let local = ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str());
    if uri.query().is_some() {
        bad("an address with a query")
    } else if uri.scheme_str() == Some("http") && !local {
        bad("not https")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
