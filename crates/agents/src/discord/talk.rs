//! Talks with people: reads what they ask, sees who they are and what they may do, has it confirmed where it changes something, answers.
//!
//! Invariants:
//! - What a person does is done under their own role and recorded under their name. Who has no role is told so, once in a while.
//! - What changes something is done when the same person has pressed the button in time, with the role that they have then.
//! - What is remembered (questions, pages, whom it turned away) is bounded in number and in time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Code, Fault, Role};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::answer::{Answer, Button, PAGES_MAX, Tone, message, private};
use super::command::{self, COMMANDS, Command};
use super::does::{carry_out, changes, title_of};
use super::events::{Asked, Heard, Person, Said, What};
use super::people::{People, name_of};
use super::rest::{Body, Rest, Route};
use super::state::State;
use crate::presence::Room;

/// How long a command may take.
const COMMAND_TIME: Duration = Duration::from_secs(120);
/// How long pages can be turned.
const PAGES_TIME: Duration = Duration::from_secs(900);
/// Most questions that wait for their answer, and most answers whose pages can be turned.
const PENDING_MAX: usize = 64;
const BOOKS_MAX: usize = 64;
/// How often somebody without a role is told so.
const AWAY_TIME: Duration = Duration::from_secs(60);
const AWAY_MAX: usize = 256;

/// Kinds of answers to an interaction.
const ANSWER: u32 = 4;
const WAIT: u32 = 5;
const UPDATE: u32 = 7;

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// To a message in a channel, which is answered.
    Channel { channel: String, to: String },
    /// In place of what an interaction shows.
    Original { application: String, token: String },
    /// In place of a message of the bot's.
    Own { channel: String, message: String },
}

/// A question that waits for a button.
#[derive(Debug, Clone)]
struct Pending {
    key: String,
    person: String,
    command: Command,
    place: Place,
    until: Instant,
}

/// An answer whose pages can be turned.
struct Book {
    key: String,
    answer: Answer,
    pages: Vec<String>,
    until: Instant,
}

#[derive(Default)]
struct Memory {
    pending: VecDeque<Pending>,
    books: VecDeque<Book>,
    away: VecDeque<(String, Instant)>,
}

/// The conversation.
pub(super) struct Talk {
    pub(super) rest: Arc<Rest>,
    pub(super) state: Arc<State>,
    pub(super) people: People,
    pub(super) room: Room,
    /// How long a question waits for its button.
    pub(super) confirm: Duration,
    memory: Mutex<Memory>,
}

/// What a command leads to.
enum Reply {
    Answer(Answer),
    /// It changes something: it is to be confirmed.
    Question(Command),
}

impl Talk {
    pub(super) fn new(rest: Arc<Rest>, state: Arc<State>, people: People, room: Room, confirm: Duration) -> Self {
        Self { rest, state, people, room, confirm, memory: Mutex::default() }
    }

    /// Does what follows from what was heard. What cannot be answered is logged.
    pub(super) async fn hear(&self, heard: Heard, guild: Option<&str>) {
        let done = match heard {
            Heard::Ready { application } => {
                self.declare(&application, guild).await;
                Ok(())
            }
            Heard::Said(said) => self.said(said).await,
            Heard::Asked(asked) => self.asked(asked).await,
        };
        match done {
            Ok(()) => self.state.has("answers"),
            Err(fault) => {
                tracing::warn!(%fault, "discord: an answer could not be given");
                self.state.misses("answers", format!("the last answer could not be given: {fault}"));
            }
        }
    }

    /// Tells Discord of the slash commands.
    async fn declare(&self, application: &str, guild: Option<&str>) {
        let told = self.rest.call(&Route::commands(application, guild), Body::Json(command::declared())).await;
        match told {
            Ok(_) => self.state.has("slash commands"),
            Err(fault) => {
                tracing::warn!(%fault, "discord: slash commands are not declared");
                self.state.misses("slash commands", format!("not declared, only those after ! work: {fault}"));
            }
        }
    }

    async fn said(&self, said: Said) -> Result<(), Fault> {
        if !self.people.hears(said.guild.as_deref()) {
            return Ok(());
        }
        let Some(command) = command::spoken(&said.text) else { return Ok(()) };
        let place = Place::Channel { channel: said.channel.clone(), to: said.id.clone() };
        let Some(role) = self.people.role_of(&said.person, said.guild.as_deref()) else {
            return match self.turns_away(&said.person) {
                true => self.put(&place, &nobody(&said.person)).await.map(|_| ()),
                false => Ok(()),
            };
        };
        self.answer(&place, command, &said.person, &role).await
    }

    async fn asked(&self, asked: Asked) -> Result<(), Fault> {
        let role = self.people.role_of(&asked.person, asked.guild.as_deref());
        let role = role.filter(|_| self.people.hears(asked.guild.as_deref()));
        let Some(role) = role else {
            return self.respond(&asked, ANSWER, Some(private(&nobody(&asked.person)))).await;
        };
        let place = Place::Original { application: asked.application.clone(), token: asked.token.clone() };
        match &asked.what {
            What::Slash { name, options } => {
                // Three seconds are left to say anything at all, fifteen minutes for the answer.
                self.respond(&asked, WAIT, None).await?;
                self.answer(&place, command::slashed(name, options), &asked.person, &role).await
            }
            What::Button(name) => self.pressed(&asked, name, &role, &place).await,
        }
    }

    /// Answers a command, or asks whether it is meant.
    async fn answer(
        &self,
        place: &Place,
        command: Result<Command, Fault>,
        person: &Person,
        role: &Role,
    ) -> Result<(), Fault> {
        let reply = match command {
            Ok(command) => self.consider(command, person, role).await,
            Err(fault) => Reply::Answer(Answer::of_fault("That is not understood", &fault).note(usage())),
        };
        match reply {
            Reply::Answer(answer) => self.put(place, &answer).await.map(|_| ()),
            Reply::Question(command) => self.question(place, command, person).await,
        }
    }

    async fn consider(&self, command: Command, person: &Person, role: &Role) -> Reply {
        let asked = json!({ "command": title_of(&command) }).to_string();
        let hands = self.room.hands_for(&name_of(person), role, "command", &asked);
        if changes(&command, &hands).await && role.allows(kernel::Access::Operate) {
            return Reply::Question(command);
        }
        Reply::Answer(self.carry(&command, person, role).await)
    }

    /// Carries a command out for somebody, and keeps what was done.
    async fn carry(&self, command: &Command, person: &Person, role: &Role) -> Answer {
        let title = title_of(command);
        let asked = json!({ "command": title }).to_string();
        let hands = self.room.hands_for(&name_of(person), role, "command", &asked);
        let slow = |_| Fault::timeout(format!("it took longer than {} s", COMMAND_TIME.as_secs()));
        let done = timeout(COMMAND_TIME, carry_out(command, role, &hands)).await.map_err(slow).and_then(|done| done);
        self.room.keep(&hands, done.as_ref().map(|answer| answer.title.clone()).map_err(Clone::clone)).await;
        done.unwrap_or_else(|fault| {
            let refused = Answer::of_fault(&title, &fault);
            if fault.code == Code::PermissionDenied {
                return refused.note(format!("{} is {role} here; docs/discord.md says who may do what", person.name));
            }
            refused
        })
    }

    async fn question(&self, place: &Place, command: Command, person: &Person) -> Result<(), Fault> {
        let key = kernel::ids::random_token(12);
        let seconds = self.confirm.as_secs();
        let answer = Answer::new(Tone::Warning, format!("Really {}?", title_of(&command)), "")
            .note(format!("{} has {seconds} s to confirm it; nothing is done until then", person.name));
        let buttons = [Button(format!("yes:{key}"), "Do it", 4), Button(format!("no:{key}"), "No", 2)];
        let body = answer.page(&answer.pages(), 0, &buttons);
        let shown = self.send(place, Body::Json(body)).await?;
        let place = match place {
            Place::Channel { channel, .. } => Place::Own {
                channel: channel.clone(),
                message: shown["id"].as_str().filter(|id| super::rest::is_id(id)).unwrap_or("0").to_owned(),
            },
            other => other.clone(),
        };
        let pending = Pending { key, person: person.id.clone(), command, place, until: Instant::now() + self.confirm };
        let mut memory = self.memory.lock();
        if memory.pending.len() >= PENDING_MAX {
            memory.pending.pop_front();
        }
        memory.pending.push_back(pending);
        Ok(())
    }

    async fn pressed(&self, asked: &Asked, name: &str, role: &Role, place: &Place) -> Result<(), Fault> {
        let mut parts = name.split(':');
        let (what, key, at) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
        let told = |answer: Answer| self.respond(asked, ANSWER, Some(private(&answer)));
        if what == "page" {
            return match self.turned(key, at) {
                Some(page) => self.respond(asked, UPDATE, Some(page)).await,
                None => told(Answer::new(Tone::Warning, "These pages are gone", "ask again")).await,
            };
        }
        let question = match self.taken(key, &asked.person) {
            Ok(question) => question,
            Err(why) => return told(Answer::new(Tone::Warning, why, "")).await,
        };
        let title = title_of(&question.command);
        let shown = |tone, title: String| {
            let answer = Answer::new(tone, title, "").note(format!("by {}", asked.person.name));
            answer.page(&answer.pages(), 0, &[])
        };
        if what != "yes" {
            return self.respond(asked, UPDATE, Some(shown(Tone::Plain, format!("Not done: {title}")))).await;
        }
        self.respond(asked, UPDATE, Some(shown(Tone::Plain, format!("{title} …")))).await?;
        let answer = self.carry(&question.command, &asked.person, role).await;
        let by = format!("confirmed by {}", asked.person.name);
        let note = if answer.note.is_empty() { by } else { format!("{} · {by}", answer.note) };
        self.put(place, &answer.note(note)).await.map(|_| ())
    }

    /// Takes a question for whoever may answer it.
    fn taken(&self, key: &str, person: &Person) -> Result<Pending, &'static str> {
        let mut memory = self.memory.lock();
        let at = memory.pending.iter().position(|pending| pending.key == key);
        let at = at.ok_or("Nothing is asked here any more")?;
        if memory.pending[at].person != person.id {
            return Err("Only who asked for it can say so");
        }
        let pending = memory.pending.remove(at).ok_or("Nothing is asked here any more")?;
        if pending.until <= Instant::now() { Err("It was not confirmed in time") } else { Ok(pending) }
    }

    fn turned(&self, key: &str, at: Option<&str>) -> Option<Value> {
        let at: usize = at?.parse().ok()?;
        let memory = self.memory.lock();
        let now = Instant::now();
        let book = memory.books.iter().find(|book| book.key == key && book.until > now)?;
        (at < book.pages.len()).then(|| book.answer.page(&book.pages, at, &turns(key, at, book.pages.len())))
    }

    /// Shows an answer, in the form that fits it; where the bot may show no more, its beginning as plain text.
    async fn put(&self, place: &Place, answer: &Answer) -> Result<Value, Fault> {
        let pages = answer.pages();
        let body = match pages.len() {
            0 | 1 => Body::Json(answer.page(&pages, 0, &[])),
            2..=PAGES_MAX => {
                let key = kernel::ids::random_token(12);
                let first = answer.page(&pages, 0, &turns(&key, 0, pages.len()));
                let book = Book { key, answer: answer.clone(), pages, until: Instant::now() + PAGES_TIME };
                let mut memory = self.memory.lock();
                if memory.books.len() >= BOOKS_MAX {
                    memory.books.pop_front();
                }
                memory.books.push_back(book);
                Body::Json(first)
            }
            _ => answer.file(&pages),
        };
        match self.send(place, body).await {
            Err(fault) if matches!(fault.code, Code::PermissionDenied | Code::TooLarge) => {
                self.send(place, Body::Json(answer.plain())).await
            }
            sent => sent,
        }
    }

    async fn send(&self, place: &Place, mut body: Body) -> Result<Value, Fault> {
        let route = match place {
            Place::Channel { channel, to } => {
                if let Body::Json(message) | Body::File { message, .. } = &mut body {
                    message["message_reference"] = json!({ "message_id": to, "fail_if_not_exists": false });
                }
                Route::post(channel)
            }
            Place::Original { application, token } => Route::original(application, token),
            Place::Own { channel, message } => Route::edit(channel, message),
        };
        self.rest.call(&route, body).await
    }

    async fn respond(&self, asked: &Asked, kind: u32, data: Option<Value>) -> Result<(), Fault> {
        let mut body = json!({ "type": kind });
        if let Some(data) = data {
            body["data"] = message(data);
        }
        self.rest.call(&Route::callback(&asked.id, &asked.token), Body::Json(body)).await.map(|_| ())
    }

    /// Whether somebody without a role is to be told so now.
    fn turns_away(&self, person: &Person) -> bool {
        let (mut memory, now) = (self.memory.lock(), Instant::now());
        memory.away.retain(|(_, at)| now - *at < AWAY_TIME);
        if memory.away.len() >= AWAY_MAX || memory.away.iter().any(|(id, _)| *id == person.id) {
            return false;
        }
        memory.away.push_back((person.id.clone(), now));
        true
    }

    /// Forgets what is over, and says of questions that nobody answered them.
    pub(super) async fn tidy(&self) {
        let late: Vec<Pending> = {
            let (mut memory, now) = (self.memory.lock(), Instant::now());
            memory.books.retain(|book| book.until > now);
            let (late, waiting): (Vec<_>, Vec<_>) = memory.pending.drain(..).partition(|pending| pending.until <= now);
            memory.pending = waiting.into();
            late
        };
        for pending in late {
            let title = format!("Not done: {}", title_of(&pending.command));
            let answer = Answer::new(Tone::Plain, title, "").note("it was not confirmed in time");
            let body = Body::Json(answer.page(&answer.pages(), 0, &[]));
            if let Err(fault) = self.send(&pending.place, body).await {
                tracing::info!(%fault, "discord: a question that nobody answered stays as it is");
            }
        }
    }
}

fn turns(key: &str, at: usize, count: usize) -> [Button<'static>; 2] {
    let to = |page: usize| format!("page:{key}:{page}");
    // Of two pages both buttons lead to the other one, and two buttons of one name are refused.
    let back = if count == 2 { format!("{}:b", to(1 - at)) } else { to((at + count - 1) % count) };
    [Button(back, "◀", 2), Button(to((at + 1) % count), "▶", 2)]
}

fn nobody(person: &Person) -> Answer {
    let text = format!("{} has no role in the fleet, so there is nothing to ask for", person.name);
    Answer::new(Tone::Warning, "Not for you", text)
        .note("whoever runs the fleet maps Discord roles and users to roles: docs/discord.md")
}

fn usage() -> String {
    COMMANDS.map(|(_, usage, _)| format!("!{usage}")).join("  ")
}
