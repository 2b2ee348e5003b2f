//! What people and programs ask of the engine: definitions, runs, answers.

use std::sync::Arc;

use kernel::store::{Expect, LIST_MAX, Write};
use kernel::{Access, Caller, Fault, Result};
use serde_json::{Value, json};

use super::book::{DEFINITIONS, Head, INBOX, Message, NEWEST, OWNERS, RUNS, Status, Stored, definition_key, text};
use super::{Engine, lost};
use crate::workflow::history::Entry;
use crate::workflow::state::State;
use crate::workflow::{Definition, Problem, ToolUse, Validated, playbooks, validate};

/// Most names of a fleet's definitions.
const NAMES_MAX: usize = 500;
/// Most versions of one definition.
const VERSIONS_MAX: usize = 100;
/// Most messages to a run that wait to be taken.
const INBOX_MAX: usize = 512;
/// Most of them when another signal is sent: people can still answer and cancel then.
pub(super) const SIGNALS_MAX: usize = 256;
/// Most bytes of a run's input, and of a signal's data.
const INPUT_BYTES_MAX: usize = crate::workflow::walk::DATA_BYTES_MAX;

/// A run to be started.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id, where the same start must not make two; otherwise one of its own.
    pub id: Option<String>,
    /// Whose definition.
    pub namespace: String,
    /// Which.
    pub name: String,
    /// Which version; the latest, if nothing is said.
    pub version: Option<String>,
    /// Its input.
    pub input: Value,
    /// The run that runs it.
    pub parent: Option<String>,
    /// How many runs are around it.
    pub depth: u32,
}

/// An answer to a question of a run.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The run.
    pub run: String,
    /// The task; may be left out when the run asks one question.
    pub step: Option<String>,
    /// The hash of what is answered.
    pub hash: String,
    /// Whether it is approved.
    pub approved: bool,
    /// Why.
    pub comment: Option<String>,
}

impl Engine {
    /// Reads and checks a definition.
    ///
    /// # Errors
    /// As of [`validate`].
    pub async fn validate(&self, text: String) -> Result<Validated> {
        self.gate.run("definition", crate::jq::STACK, move || validate(&text)).await
    }

    /// What of calls' arguments does not fit what their tools take.
    ///
    /// # Errors
    /// As of [`ToolUse::misfits`].
    pub async fn misfits(&self, calls: Vec<(ToolUse, Value)>) -> Result<Vec<Problem>> {
        let work = move || {
            let all = calls.iter().map(|(call, takes)| call.misfits(takes)).collect::<Result<Vec<_>>>()?;
            Ok(all.concat())
        };
        self.gate.run("definition", crate::schema::STACK, work).await
    }

    /// Keeps a definition. The same one again changes nothing.
    ///
    /// # Errors
    /// What is wrong with it; `already_exists` when this version says something else.
    pub async fn define(&self, definition_text: String, by: &Caller) -> Result<(Stored, bool)> {
        let definition: Definition = self.validate(definition_text.clone()).await?.into_definition()?;
        let stored = Stored {
            namespace: definition.namespace.clone(),
            name: definition.name.clone(),
            version: definition.version.clone(),
            title: definition.title.clone(),
            hash: crate::workflow::hash_of(&Value::String(definition_text.clone())),
            text: definition_text,
            by: by.clone(),
            at_ms: self.now_ms(),
        };
        let key = definition_key(&stored.namespace, &stored.name, &stored.version);
        let mut writes = vec![Write::put(DEFINITIONS, &key, text(&stored)?).expecting(Expect::Absent)];
        writes.extend(self.owned(&stored).await?);
        let before = self.book.definitions(&format!("{}/{}/", stored.namespace, stored.name)).await?;
        if before.len() >= VERSIONS_MAX && before.iter().all(|other| other.version != stored.version) {
            return Err(Fault::too_large(format!(
                "`{}/{}` has {VERSIONS_MAX} versions",
                stored.namespace, stored.name
            ))
            .hint("another name"));
        }
        if before.iter().all(|other| precedence(&other.version) <= precedence(&stored.version)) {
            writes.push(self.scheduled(&definition, &stored)?);
        }
        match self.store().commit(writes).await {
            Ok(_) => Ok((stored, true)),
            Err(fault) if lost(&fault) => {
                let kept = self.book.definition(&stored.namespace, &stored.name, &stored.version).await?;
                match kept {
                    Some(kept) if kept.hash == stored.hash => Ok((kept, false)),
                    None => Err(Fault::conflict(format!(
                        "`{}/{}` was defined by another at the same time",
                        stored.namespace, stored.name
                    ))
                    .hint("define it again, under another name")),
                    Some(_) => Err(Fault::already_exists(format!(
                        "version {} of `{}/{}` is defined otherwise",
                        stored.version, stored.namespace, stored.name
                    ))
                    .hint("runs keep the version they began with: give the new one a new version")),
                }
            }
            Err(fault) => Err(fault),
        }
    }

    /// What has to be written for a name to be its first definer's. Who starts a workflow lends it their role, so nobody puts other work
    /// under a name that others know: versions are added by who has the name, or an administrator. What is shipped anybody may define.
    async fn owned(&self, stored: &Stored) -> Result<Option<Write>> {
        let key = format!("{}/{}", stored.namespace, stored.name);
        let owner = self.store().get(OWNERS, &key).await?.map(|entry| entry.value);
        if owner.is_none() && self.store().list(OWNERS, "", None, NAMES_MAX).await?.len() >= NAMES_MAX {
            return Err(Fault::too_large(format!("there are {NAMES_MAX} workflows")).hint("a further version of one"));
        }
        let unowned = Write::put(OWNERS, &key, stored.by.name.clone()).expecting(Expect::Absent);
        let write = owner.is_none().then_some(unowned);
        let reserved = stored.namespace == playbooks::NAMESPACE;
        if playbooks::is_shipped(&stored.text) || stored.by.allows(Access::Admin) {
            // A shipped text gives nobody its name.
            return Ok(write.filter(|_| !reserved));
        }
        let own = owner.as_ref().is_none_or(|owner| *owner == stored.by.name);
        if own && !reserved {
            return Ok(write);
        }
        let whose = owner.filter(|_| !reserved).map_or_else(|| "the fleet".into(), |owner| format!("`{owner}`"));
        Err(Fault::denied(format!("workflow `{key}` is {whose}'s: `{}` may not define it", stored.by.name))
            .hint("a name of your own, or ask an administrator"))
    }

    /// All definitions whose key begins so: `namespace/name/version`.
    pub async fn definitions(&self, prefix: &str) -> Result<Vec<Stored>> {
        self.book.definitions(prefix).await
    }

    /// The newest version of a definition.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn latest(&self, namespace: &str, name: &str) -> Result<Stored> {
        let all = self.book.definitions(&format!("{namespace}/{name}/")).await?;
        let latest = all.into_iter().max_by_key(|stored| precedence(&stored.version));
        latest.ok_or_else(|| {
            Fault::not_found(format!("no workflow `{namespace}/{name}`"))
                .hint("list_workflows has them; define_workflow adds one")
        })
    }

    /// Starts a run under the caller's role. A run of that id is not started twice.
    ///
    /// # Errors
    /// `not_found`; `too_large`.
    pub async fn start_run(&self, run: NewRun, caller: &Caller) -> Result<(Head, bool)> {
        self.start_with(run, caller, Vec::new()).await
    }

    /// The same, with more in the commit.
    pub(super) async fn start_with(&self, run: NewRun, caller: &Caller, more: Vec<Write>) -> Result<(Head, bool)> {
        let size = crate::workflow::size_of(&run.input);
        if size > INPUT_BYTES_MAX {
            return Err(
                Fault::too_large(format!("the input has {size} bytes")).hint(format!("at most {INPUT_BYTES_MAX}"))
            );
        }
        let version = match run.version {
            Some(version) if version != "latest" => {
                self.definition(&run.namespace, &run.name, &version).await?;
                version
            }
            _ => self.latest(&run.namespace, &run.name).await?.version,
        };
        let head = Head {
            id: run.id.unwrap_or_else(|| kernel::ids::new_id("run")),
            namespace: run.namespace,
            name: run.name,
            version,
            caller: Caller { standing: false, ..caller.clone() },
            created_ms: self.now_ms(),
            parent: run.parent,
            depth: run.depth,
            status: Status::Pending,
            batches: 0,
            bytes: 0,
            steps: 0,
            lease: None,
            due: None,
            listening: false,
            questions: Vec::new(),
            waits: Vec::new(),
            ended_ms: None,
            told: false,
            ending: None,
        };
        let begun = self.book.begin(&head, &run.input, more).await?;
        if begun { Ok((head, true)) } else { Ok((self.book.need(&head.id).await?.0, false)) }
    }

    /// The id that makes one run of a caller's starts with the same key.
    pub fn run_id(caller: &Caller, key: &str) -> String {
        super::child_id(&format!("{}\0{key}", caller.name))
    }

    /// A run's head.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn run(&self, run: &str) -> Result<Head> {
        Ok(self.book.need(run).await?.0)
    }

    /// A run's transitions after a place, and the place to go on from, if there may be more.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn history(&self, run: &str, after: u64, limit: usize) -> Result<(Vec<Entry>, Option<u64>)> {
        /// Batches that one answer has.
        const BATCHES: usize = 50;
        self.book.need(run).await?;
        let batches = self.book.batches(run, after, limit.min(BATCHES)).await?;
        let count = batches.len();
        let next = (count == limit.min(BATCHES)).then_some(after + count as u64);
        Ok((batches.into_iter().flatten().collect(), next))
    }

    /// What a run is, added up.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn state(&self, run: &str) -> Result<State> {
        self.book.need(run).await?;
        Ok(State::of(&self.book.transitions(run).await?))
    }

    /// The definition of a run.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn definition_of(&self, head: &Head) -> Result<Arc<Definition>> {
        self.definition(&head.namespace, &head.name, &head.version).await
    }

    /// A definition by its name.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn named(&self, namespace: &str, name: &str, version: Option<&str>) -> Result<Arc<Definition>> {
        match version {
            Some(version) if version != "latest" => self.definition(namespace, name, version).await,
            _ => {
                let version = self.latest(namespace, name).await?.version;
                self.definition(namespace, name, &version).await
            }
        }
    }

    /// Runs, the newest first, after a cursor; at most `limit` that `wanted` takes, of those looked at. With the cursor to go on with.
    ///
    /// # Errors
    /// What the store says.
    pub async fn runs(
        &self,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&Head) -> bool,
    ) -> Result<(Vec<Head>, Option<String>)> {
        /// Pages that one answer looks at.
        const PAGES: usize = 5;
        let (mut heads, mut after) = (Vec::new(), after.map(str::to_owned));
        for _ in 0..PAGES {
            let page = self.store().list(NEWEST, "", after.as_deref(), LIST_MAX).await?;
            let full = page.len() == LIST_MAX;
            for entry in page {
                if heads.len() >= limit {
                    return Ok((heads, after));
                }
                after = Some(entry.key.clone());
                heads.extend(self.book.head(&entry.value).await?.map(|(head, _)| head).filter(|head| wanted(head)));
            }
            if !full {
                return Ok((heads, None));
            }
        }
        Ok((heads, after))
    }

    /// Asks a run to end.
    ///
    /// # Errors
    /// `not_found`; `conflict` when it is over.
    pub async fn cancel(&self, run: &str, by: &Caller, reason: Option<String>) -> Result<()> {
        let head = self.going(run).await?;
        self.book.has_room(run, INBOX_MAX).await?;
        self.book.send(&head.id, &Message::Cancel { by: by.name.clone(), reason }, self.now_ms()).await
    }

    async fn going(&self, run: &str) -> Result<Head> {
        let head = self.run(run).await?;
        if head.status.is_end() {
            return Err(Fault::conflict(format!(
                "run `{run}` is over: {}",
                json!(head.status).as_str().unwrap_or_default()
            ))
            .hint("status tells how it ended"));
        }
        Ok(head)
    }

    /// Sends an event to one run. Only who started it may, or an administrator: what a run is told, it acts on under its starter's role.
    ///
    /// # Errors
    /// `not_found`; `conflict` when it is over; `permission_denied`.
    pub async fn signal(&self, run: &str, kind: &str, data: Value, by: &Caller) -> Result<()> {
        let head = self.going(run).await?;
        own(&head, by, "signal")?;
        let size = crate::workflow::size_of(&data);
        if size > INPUT_BYTES_MAX {
            return Err(Fault::too_large(format!("the signal's data has {size} bytes"))
                .hint(format!("at most {INPUT_BYTES_MAX}")));
        }
        self.book.has_room(run, SIGNALS_MAX).await?;
        let event = json!({
            "specversion": "1.0", "id": kernel::ids::new_id("signal"), "source": format!("https://flotilla/callers/{}", by.name), "type": kind,
            "time": kernel::clock::timestamp(self.now_ms()), "subject": run, "datacontenttype": "application/json", "data": data,
        });
        self.book.send(run, &Message::Signal { event }, self.now_ms()).await
    }

    /// Answers a question of a run.
    ///
    /// # Errors
    /// `not_found` when it does not ask that; `conflict` when it asks for something else by now; `permission_denied`.
    pub async fn answer(&self, answer: Answer, by: &Caller) -> Result<String> {
        let head = self.going(&answer.run).await?;
        let open: Vec<_> =
            head.questions.iter().filter(|asked| answer.step.as_ref().is_none_or(|step| *step == asked.step)).collect();
        let asked = match open.as_slice() {
            [asked] => *asked,
            [] => {
                return Err(
                    Fault::not_found(format!("run `{}` does not ask that", head.id)).hint("status tells what it asks")
                );
            }
            _ => {
                return Err(Fault::invalid(format!("run `{}` asks {} questions", head.id, open.len()))
                    .hint("say which by `step`"));
            }
        };
        if asked.hash != answer.hash {
            return Err(Fault::conflict(format!("the answer is for other arguments than `{}` asks about", asked.step))
                .hint("look at the arguments in status, and answer with their hash")
                .data(json!({ "hash": asked.hash })));
        }
        by.require(asked.access, "this approval")?;
        if answer.approved {
            by.require_person("approve")?;
        }
        if asked.others && answer.approved && by.name == head.caller.name {
            return Err(Fault::denied(format!("`{}` started the run, and another must approve", by.name))
                .hint("ask somebody else"));
        }
        let step = asked.step.clone();
        let message = Message::Answer {
            by: by.name.clone(),
            step: step.clone(),
            hash: answer.hash,
            approved: answer.approved,
            comment: answer.comment,
        };
        self.book.has_room(&head.id, INBOX_MAX).await?;
        self.book.send(&head.id, &message, self.now_ms()).await?;
        Ok(step)
    }

    /// Has a failed task done again, or one that waits to be at once. Only who started the run may, or an administrator.
    ///
    /// # Errors
    /// `conflict` when there is nothing to try again.
    pub async fn retry(&self, run: &str, step: Option<String>, by: &Caller) -> Result<String> {
        let head = self.run(run).await?;
        own(&head, by, "retry_step")?;
        let state = self.state(run).await?;
        let none = |why: &str| {
            Err(Fault::conflict(format!("run `{run}` has nothing to try again: {why}"))
                .hint("a run that faulted without undoing, or a task that waits to be tried again"))
        };
        if state.undoing.is_some() {
            return none("what it did was undone");
        }
        let failed = match &head.ending {
            Some(crate::workflow::history::Ending::Faulted { path, .. }) => path.clone(),
            Some(_) => return none("it did not fail"),
            None => state
                .frames
                .iter()
                .find(|(_, frame)| frame.caught.last().is_some_and(|(_, due)| due.is_some()) && frame.outcome.is_none())
                .map(|(path, _)| path.clone()),
        };
        let Some(step) = failed.filter(|failed| step.as_ref().is_none_or(|step| step == failed)) else {
            return none("that task did not fail");
        };
        self.book.has_room(run, INBOX_MAX).await?;
        self.book.send(run, &Message::Retry { by: by.name.clone(), step: step.clone() }, self.now_ms()).await?;
        Ok(step)
    }

    /// Waits until a run is over or waits for something, at most so long. Gives its head.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn settled(&self, run: &str, limit: std::time::Duration) -> Result<Head> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let changed = self.store().changed(&[RUNS, INBOX]);
            let head = self.run(run).await?;
            let mail = !self.book.inbox(run).await?.is_empty();
            if (head.status.is_end() || head.status == Status::Waiting) && !mail {
                return Ok(head);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => return Ok(head),
            }
        }
    }
}

/// Refuses who neither started a run nor is an administrator.
fn own(head: &Head, by: &Caller, what: &str) -> Result<()> {
    if by.name == head.caller.name || by.allows(Access::Admin) {
        return Ok(());
    }
    Err(Fault::denied(format!(
        "run `{}` was started by `{}`, under whose role it acts: `{}` may not {what} it",
        head.id, head.caller.name, by.name
    ))
    .hint("ask them, or an administrator"))
}

/// Orders semantic versions: by numbers, and those with a label before those without.
fn precedence(version: &str) -> (Vec<u64>, bool, Vec<(bool, u64, String)>) {
    let rest = version.split_once('+').map_or(version, |(rest, _)| rest);
    let (core, label) = rest.split_once('-').map_or((rest, None), |(core, label)| (core, Some(label)));
    let numbers = core.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    let labels = label.into_iter().flat_map(|label| label.split('.'));
    let labels =
        labels.map(|part| part.parse().map_or((true, 0, part.to_owned()), |number| (false, number, String::new())));
    (numbers, label.is_none(), labels.collect())
}

#[cfg(test)]
mod tests {
    use super::precedence;

    #[test]
    fn versions_are_ordered_as_semantic_versions_are() {
        let ordered =
            ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-2", "1.0.0", "1.2.0", "1.10.0", "2.0.0+x"];
        let mut sorted = ordered;
        sorted.sort_by_key(|version| precedence(version));
        assert_eq!(
            sorted,
            ["1.0.0-2", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0", "1.2.0", "1.10.0", "2.0.0+x"]
        );
    }
}
