//! Callers that go on while things break: each says a thing until it is acknowledged, and keeps what was; and the look afterwards whether all of it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::system::{HEALTHY_LIMIT, until};
use crate::problem::{Problem, Result};

/// Callers at once.
const CALLERS: usize = 4;
/// A caller's pause between two things, and before it says one again.
const PAUSE: Duration = Duration::from_millis(30);
/// How long one thing is said again.
const INSIST: Duration = Duration::from_secs(120);
/// Every which thing is a task.
const TASK_EVERY: usize = 8;

/// What a caller saw acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Keys that were put, with what was put there.
    keys: BTreeMap<String, String>,
    /// Tasks by the key that they were submitted under.
    tasks: BTreeMap<String, String>,
    /// What was said again because it was not acknowledged.
    again: u64,
}

/// Moments at which something was acknowledged, of all callers.
#[derive(Debug, Clone, Default)]
struct Moments(Arc<Mutex<Vec<Instant>>>);

impl Moments {
    fn note(&self, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(at);
    }

    fn all(&self) -> Vec<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Callers under way.
pub(crate) struct Load {
    client: Client,
    run: String,
    stop: Arc<AtomicBool>,
    acknowledged: Moments,
    callers: Vec<JoinHandle<Result<Kept>>>,
}

impl Load {
    /// Starts them.
    pub(crate) fn start(client: &Client) -> Self {
        let run = format!("e2e-load-{}", std::process::id());
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Moments::default());
        let callers = (0..CALLERS)
            .map(|number| {
                let (client, stop, acknowledged) = (client.clone(), Arc::clone(&stop), acknowledged.clone());
                let name = format!("{run}/{number}");
                thread::spawn(move || go_on(&client, &name, &stop, &acknowledged))
            })
            .collect();
        Self { client: client.clone(), run, stop, acknowledged, callers }
    }

    /// How many things were acknowledged by now.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.all().len()
    }

    /// The longest time since `from` in which nothing was acknowledged.
    pub(crate) fn longest_silence(&self, from: Instant) -> Duration {
        let mut moments: Vec<Instant> = self.acknowledged.all();
        moments.sort();
        let last_before = moments.iter().rev().find(|at| **at <= from).copied().unwrap_or(from);
        let after = moments.into_iter().filter(|at| *at > from).chain([Instant::now()]);
        let (mut before, mut longest) = (last_before, Duration::ZERO);
        for at in after {
            longest = longest.max(at - before);
            before = at;
        }
        longest
    }

    /// Stops them, and sees that all that was acknowledged is there, once.
    pub(crate) fn settle(self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Kept::default();
        for caller in self.callers {
            let kept = caller.join().map_err(|_| Problem::new("a caller panicked"))??;
            all.keys.extend(kept.keys);
            all.tasks.extend(kept.tasks);
            all.again += kept.again;
        }
        let there = keys(&self.client, &self.run)?;
        let lost = all.keys.iter().filter(|(key, value)| there.get(*key) != Some(*value)).count();
        let mut ended = Vec::new();
        for (key, id) in &all.tasks {
            let row = until(&format!("{id} ends"), HEALTHY_LIMIT, || {
                let row = self.client.rest("GET", &format!("/tasks/{id}"), None)?;
                Ok(["done", "dead", "cancelled"].iter().any(|state| row["state"] == *state).then_some(row))
            })?;
            ended.push((key, row));
        }
        let undone = ended.iter().filter(|(_, row)| row["state"] != "done").count();
        let ids: BTreeSet<&String> = all.tasks.values().collect();
        let doubled = all.tasks.len() - ids.len() + ended.iter().filter(|(key, row)| row["key"] != json!(key)).count();
        let tried_again = ended.iter().filter(|(_, row)| row["attempts"].as_u64() > Some(1)).count();
        if lost + undone + doubled > 0 {
            return Err(Problem::new(format!("{lost} keys lost, {undone} tasks not done, {doubled} doubled")));
        }
        Ok(format!(
            "{} keys and {} tasks acknowledged, {} sayings repeated, {tried_again} tasks done at a later attempt: none lost, none doubled",
            all.keys.len(),
            all.tasks.len(),
            all.again
        ))
    }
}

/// One caller.
fn go_on(client: &Client, name: &str, stop: &AtomicBool, acknowledged: &Moments) -> Result<Kept> {
    let mut kept = Kept::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{name}/{number}");
        let began = Instant::now();
        loop {
            let said = if number % TASK_EVERY == 0 { submit(client, &key) } else { put(client, &key) };
            match said {
                Ok(Some(task)) => drop(kept.tasks.insert(key.clone(), task)),
                Ok(None) => drop(kept.keys.insert(key.clone(), key.clone())),
                Err(problem) if began.elapsed() > INSIST => return Err(problem),
                Err(_) => {
                    kept.again += 1;
                    sleep(PAUSE);
                    continue;
                }
            }
            acknowledged.note(Instant::now());
            break;
        }
        sleep(PAUSE);
    }
    Ok(kept)
}

fn put(client: &Client, key: &str) -> Result<Option<String>> {
    client.call("coordination__kv_put", &json!({ "key": key, "value": key })).map(|_| None)
}

fn submit(client: &Client, key: &str) -> Result<Option<String>> {
    let body = json!({ "task_type": "summary", "payload": {}, "key": key });
    let task = client.rest("POST", "/agents/monitoring/tasks", Some(&body))?;
    let id = task["id"].as_str().ok_or_else(|| Problem::new(format!("no id in {task}")))?;
    Ok(Some(id.to_owned()))
}

/// All keys below `prefix`.
fn keys(client: &Client, prefix: &str) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut cursor = Value::Null;
    loop {
        let mut asked = json!({ "prefix": prefix, "limit": 200 });
        if !cursor.is_null() {
            asked["cursor"] = cursor;
        }
        let page = client.call("coordination__kv_list", &asked)?;
        for entry in page["entries"].as_array().into_iter().flatten() {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            all.insert(text("key"), text("value"));
        }
        if page["next"].is_null() {
            return Ok(all);
        }
        cursor = page["next"].clone();
    }
}
