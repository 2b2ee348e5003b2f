//! What each kind of task decides.

use kernel::Fault;
use serde_json::{Value, json};

use super::{Flow, Locals, Walk, next};
use crate::workflow::error::Error;
use crate::workflow::expression::{Scope, TaskFacts};
use crate::workflow::history::{Effect, Next, Question, Transition};
use crate::workflow::model::{
    Approve, Call, Case, Expr, For, Kind, ProcessOutput, RaisedError, SubWorkflow, Task, Template,
};

/// Most items of one loop.
pub(super) const ITEMS_MAX: usize = 5_000;
/// The topic of what workflows emit, and of events sent to them.
pub(crate) const EVENTS_TOPIC: &str = "workflows";

/// Whether a task is decided at once, and so leaves nothing behind but its end.
pub(super) fn is_momentary(kind: &Kind) -> bool {
    matches!(kind, Kind::Set(_) | Kind::Switch(_) | Kind::Raise(_))
}

/// What the expressions of one task see: everything about it is at hand.
pub(super) struct Here<'h> {
    pub(super) task: &'h Task,
    pub(super) path: &'h str,
    pub(super) input: &'h Value,
    pub(super) locals: &'h Locals,
}

impl Walk<'_> {
    /// What a task comes to, before its output is transformed.
    pub(super) fn kind(&mut self, task: &Task, path: &str, input: &Value, locals: &Locals) -> Flow {
        let here = Here { task, path, input, locals };
        let decided = match &task.kind {
            Kind::Set(template) => self.evaluate(&here, template),
            Kind::Switch(cases) => return self.switch(&here, cases),
            Kind::Raise(error) => self.raise(&here, error).and_then(Err),
            Kind::Do(tasks) => return self.within(&here, tasks, "/do", input),
            Kind::For(each) => return self.each(&here, each),
            Kind::Fork { branches, compete } => return self.fork(&here, branches, *compete),
            Kind::Try { tasks, catch } => return self.attempt(&here, tasks, catch),
            Kind::Listen(listen) => return self.listen(&here, listen),
            Kind::Function { with, task: function } => return self.function(&here, with, function),
            Kind::Wait(span) => {
                let due = self.frame_of(path).and_then(|frame| frame.due_ms);
                let due = due.map_or_else(
                    || {
                        self.with_scope(&here, |walk, scope| walk.span_ms(span, input, scope))
                            .map(|ms| walk_due(self, &here, ms))
                    },
                    Ok,
                );
                match due {
                    Ok(due_ms) if self.ground.now_ms >= due_ms => Ok(input.clone()),
                    Ok(due_ms) => {
                        self.wake(due_ms);
                        return Flow::Pending;
                    }
                    Err(error) => Err(error),
                }
            }
            Kind::Call(call) => {
                return self.outside(&here, |walk, here| walk.call(here, call), |output| gives(call, output, input));
            }
            Kind::Emit(event) => return self.outside(&here, |walk, here| walk.emit(here, event), |event| event),
            Kind::Workflow(sub) => {
                let shown = |output| if sub.wait && sub.gives != ProcessOutput::None { output } else { input.clone() };
                return self.outside(&here, |walk, here| walk.sub(here, sub), shown);
            }
            Kind::Approve(approve) => return self.approve(&here, approve),
        };
        self.settled(&here, decided)
    }

    /// A task's end, one way or the other.
    pub(super) fn settled(&mut self, here: &Here<'_>, decided: Result<Value, Error>) -> Flow {
        match decided {
            Ok(output) => Flow::Done(output, next(&here.task.then)),
            Err(error) => self.failed(here.task, here.path, error),
        }
    }

    pub(super) fn frame_of(&self, path: &str) -> Option<&crate::workflow::state::Frame> {
        self.state.frames.get(path)
    }

    /// Does something with what this task's expressions see.
    pub(super) fn with_scope<T>(
        &self,
        here: &Here<'_>,
        work: impl FnOnce(&Self, &Scope<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Here { task, path, input, locals } = here;
        let key = self.key(path);
        let frame = self.frame_of(path);
        let began_ms = frame.map_or(self.ground.now_ms, |frame| frame.began_ms);
        let raw = frame.map_or(*input, |frame| &frame.raw);
        let facts = TaskFacts { name: &task.name, reference: &task.at, input: raw, output: None, began_ms, key: &key };
        work(self, &self.scope(Some(facts), Some(input), None, locals))
    }

    pub(super) fn evaluate(&self, here: &Here<'_>, template: &Template) -> Result<Value, Error> {
        self.with_scope(here, |walk, scope| {
            walk.evaluator().template(template, here.input, scope).map_err(|fault| Error::of_expression(&fault))
        })
    }

    pub(super) fn data(&self, here: &Here<'_>, value: &Value) -> Result<Value, Error> {
        self.with_scope(here, |walk, scope| {
            walk.evaluator().value(value, here.input, scope).map_err(|fault| Error::of_expression(&fault))
        })
    }

    pub(super) fn holds(&self, here: &Here<'_>, expr: &Expr, on: &Value) -> Result<bool, Error> {
        self.with_scope(here, |walk, scope| {
            walk.evaluator().truth(expr, on, scope).map_err(|fault| Error::of_expression(&fault))
        })
    }

    fn switch(&mut self, here: &Here<'_>, cases: &[Case]) -> Flow {
        let mut chosen = cases.iter().find(|case| case.when.is_none());
        for case in cases {
            let Some(when) = &case.when else { continue };
            match self.holds(here, when, here.input) {
                Ok(true) => {
                    chosen = Some(case);
                    break;
                }
                Ok(false) => {}
                Err(error) => return self.failed(here.task, here.path, error),
            }
        }
        let then = chosen.map_or(&here.task.then, |case| &case.then);
        Flow::Done(here.input.clone(), next(then))
    }

    fn raise(&self, here: &Here<'_>, raised: &RaisedError) -> Result<Error, Error> {
        let text = |value: &Value| {
            let value = self.data(here, value)?;
            Ok::<_, Error>(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        Ok(Error {
            kind: text(&raised.kind)?,
            status: raised.status,
            title: raised.title.as_ref().map(text).transpose()?,
            detail: raised.detail.as_ref().map(text).transpose()?,
            instance: raised.instance.as_ref().map(text).transpose()?,
        })
    }

    /// Tasks inside this one.
    pub(super) fn within(&mut self, here: &Here<'_>, tasks: &[Task], suffix: &str, input: &Value) -> Flow {
        match self.list(tasks, &format!("{}{suffix}", here.path), input, here.locals) {
            Flow::Done(output, Next::End) => Flow::Done(output, Next::End),
            Flow::Done(output, _) => Flow::Done(output, next(&here.task.then)),
            other => other,
        }
    }

    fn each(&mut self, here: &Here<'_>, each: &For) -> Flow {
        let items = match self.evaluate(here, &Template::Expr(each.items.clone())) {
            Ok(Value::Array(items)) if items.len() <= ITEMS_MAX => items,
            Ok(Value::Array(items)) => {
                let detail = format!("the loop is over {} items, at most {ITEMS_MAX}", items.len());
                return self.failed(here.task, here.path, Error::standard("runtime", 413, "too large", detail));
            }
            Ok(other) => {
                let detail =
                    format!("`in` gives {}, and a loop is over a list", crate::bounded::shown(&other.to_string()));
                return self.failed(here.task, here.path, Error::standard("expression", 400, "not a list", detail));
            }
            Err(error) => return self.failed(here.task, here.path, error),
        };
        let own = format!("{}[", here.path);
        let start = || super::Cursor { place: 0, data: here.input.clone(), visits: Default::default() };
        let mut cursor = self.state.cursors.remove(&own).unwrap_or_else(start);
        while let Some(item) = items.get(cursor.place) {
            let mut locals = here.locals.clone();
            locals.push((each.each.clone(), item.clone()));
            locals.push((each.at.clone(), cursor.place.into()));
            let inside = Here { locals: &locals, ..*here };
            // Once begun, a turn is finished: what its condition reads may change meanwhile.
            let begun = self.state.frames.range(format!("{own}{}]", cursor.place)..).next();
            let begun = begun.is_some_and(|(path, _)| path.starts_with(&format!("{own}{}]", cursor.place)));
            if let Some(condition) = each.condition.as_ref().filter(|_| !begun) {
                match self.holds(&inside, condition, &cursor.data) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return self.failed(here.task, here.path, error),
                }
            }
            match self.list(&each.tasks, &format!("{own}{}]/do", cursor.place), &cursor.data, &locals) {
                Flow::Done(output, Next::End) => return Flow::Done(output, Next::End),
                Flow::Done(output, _) => {
                    cursor.data = output;
                    cursor.place += 1;
                }
                Flow::Pending => {
                    self.state.cursors.insert(own, cursor);
                    return Flow::Pending;
                }
                failed => return failed,
            }
        }
        Flow::Done(cursor.data, next(&here.task.then))
    }

    fn fork(&mut self, here: &Here<'_>, branches: &[Task], compete: bool) -> Flow {
        let mut outputs = Vec::new();
        let mut failure = None;
        let mut pending = false;
        for (place, branch) in branches.iter().enumerate() {
            let path =
                format!("{}/fork/branches/{place}/{}", here.path, crate::workflow::source::segment(&branch.name));
            match self.task(branch, &path, here.input, here.locals) {
                Flow::Done(output, Next::End) => return self.forked(here, Flow::Done(output, Next::End)),
                Flow::Done(output, _) if compete => {
                    return self.forked(here, Flow::Done(output, next(&here.task.then)));
                }
                Flow::Done(output, _) => outputs.push(output),
                Flow::Pending => pending = true,
                Flow::Failed(error, path) if compete => failure = Some((error, path)),
                failed => return self.forked(here, failed),
            }
        }
        match failure {
            _ if pending => Flow::Pending,
            // Every competitor failed.
            Some((error, path)) => Flow::Failed(error, path),
            None => Flow::Done(Value::Array(outputs), next(&here.task.then)),
        }
    }

    /// The end of a fork: what its other branches have under way is given up.
    fn forked(&mut self, here: &Here<'_>, flow: Flow) -> Flow {
        let inside = format!("{}/fork/", here.path);
        self.decided.effects.retain(|path, _| !path.starts_with(&inside));
        flow
    }

    fn function(&mut self, here: &Here<'_>, with: &Value, function: &Task) -> Flow {
        let path = format!("{}/call/{}", here.path, crate::workflow::source::segment(&function.name));
        // Its arguments are worked out once.
        let raw = match self.frame_of(&path).filter(|frame| frame.began_ms > 0).map(|frame| frame.raw.clone()) {
            Some(raw) => raw,
            None => match self.data(here, with) {
                Ok(raw) => raw,
                Err(error) => return self.failed(here.task, here.path, error),
            },
        };
        match self.task(function, &path, &raw, &Vec::new()) {
            Flow::Done(output, Next::End) => Flow::Done(output, Next::End),
            Flow::Done(output, _) => Flow::Done(output, next(&here.task.then)),
            other => other,
        }
    }

    /// Something outside: asked for once, and done with when its result is there.
    fn outside(
        &mut self,
        here: &Here<'_>,
        effect: impl FnOnce(&Self, &Here<'_>) -> Result<Effect, Error>,
        shown: impl FnOnce(Value) -> Value,
    ) -> Flow {
        let asked = self.frame_of(here.path).and_then(|frame| frame.asked.clone());
        let Some((key, effect)) = asked else {
            return match effect(self, here)
                .and_then(|effect| super::fits(&serde_json::to_value(&effect).unwrap_or_default()).map(|()| effect))
            {
                Ok(effect) => {
                    let key = self.key(here.path);
                    self.note(Transition::Asked {
                        path: here.path.to_owned(),
                        key: key.clone(),
                        effect: effect.clone(),
                    });
                    self.decided.effects.insert(here.path.to_owned(), (key, effect));
                    Flow::Pending
                }
                Err(error) => self.failed(here.task, here.path, error),
            };
        };
        match self.news.results.get(&(here.path.to_owned(), key.clone())).cloned() {
            Some(Ok(output)) => Flow::Done(shown(output), next(&here.task.then)),
            Some(Err(error)) => self.failed(here.task, here.path, error),
            None => {
                self.decided.effects.insert(here.path.to_owned(), (key, effect));
                Flow::Pending
            }
        }
    }

    fn call(&self, here: &Here<'_>, call: &Call) -> Result<Effect, Error> {
        Ok(match call {
            Call::Mcp { server, parameters, timeout } => {
                let parameters = self.evaluate(here, parameters)?;
                let name = parameters["name"].as_str().unwrap_or_default();
                let pair = server.as_deref().map(|server| (server, name)).or_else(|| name.split_once("__"));
                let Some((server, tool)) = pair.filter(|(server, tool)| !server.is_empty() && !tool.is_empty()) else {
                    let fault = Fault::invalid(format!("`{name}` names no tool of a server"))
                        .hint("server__tool, or a transport to fleet://SERVER");
                    return Err(Error::standard("configuration", 400, "no such tool", fault.to_string()));
                };
                let limit_ms = timeout
                    .as_ref()
                    .map(|span| self.with_scope(here, |walk, scope| walk.span_ms(span, here.input, scope)));
                Effect::Tool {
                    server: server.into(),
                    tool: tool.into(),
                    arguments: parameters.get("arguments").cloned().unwrap_or_else(|| json!({})),
                    limit_ms: limit_ms.transpose()?,
                }
            }
            Call::A2a(call) => Effect::Agent { call: self.data(here, call)? },
            Call::Http(call) => Effect::Http { call: with_uri(self.data(here, call)?, "/endpoint/uri", here.input)? },
            Call::OpenApi(call) => {
                Effect::OpenApi { call: with_uri(self.data(here, call)?, "/document/uri", here.input)? }
            }
            Call::Script { script, .. } => {
                let mut evaluated = script.clone();
                for part in ["stdin", "arguments", "environment"] {
                    evaluated[part] = self.data(here, &script[part])?;
                }
                Effect::Script { script: evaluated }
            }
        })
    }

    fn emit(&self, here: &Here<'_>, event: &Value) -> Result<Effect, Error> {
        let mut event = self.data(here, event)?;
        let Some(fields) = event.as_object_mut() else {
            return Err(Error::standard("validation", 400, "not an event", "an event has attributes"));
        };
        let topic = fields.remove("topic").and_then(|topic| topic.as_str().map(str::to_owned));
        fields.entry("specversion").or_insert_with(|| "1.0".into());
        // However often it is published, it is the same event.
        fields.entry("id").or_insert_with(|| self.key(here.path).into());
        let now_ms = self.ground.now_ms;
        fields.entry("time").or_insert_with(|| kernel::clock::timestamp(now_ms).into());
        Ok(Effect::Emit { event, topic: topic.unwrap_or_else(|| EVENTS_TOPIC.to_owned()) })
    }

    fn sub(&self, here: &Here<'_>, sub: &SubWorkflow) -> Result<Effect, Error> {
        let input = sub.input.as_ref().map_or_else(|| Ok(here.input.clone()), |input| self.data(here, input))?;
        let SubWorkflow { namespace, name, version, wait, .. } = sub.clone();
        Ok(Effect::Workflow { namespace, name, version, input, wait })
    }

    fn approve(&mut self, here: &Here<'_>, approve: &Approve) -> Flow {
        let frame = self.frame_of(here.path);
        let Some(question) = frame.and_then(|frame| frame.question.clone()) else {
            return match self.question(here, approve) {
                Ok(question) => {
                    self.note(Transition::Questioned { path: here.path.to_owned(), question });
                    self.decided.questions.push(here.path.to_owned());
                    Flow::Pending
                }
                Err(error) => self.failed(here.task, here.path, error),
            };
        };
        match frame.and_then(|frame| frame.answer.clone()) {
            None => {
                self.decided.questions.push(here.path.to_owned());
                Flow::Pending
            }
            Some((by, true, comment)) => {
                let output =
                    json!({ "arguments": question.arguments, "hash": question.hash, "by": by, "comment": comment });
                Flow::Done(output, next(&here.task.then))
            }
            Some((by, false, comment)) => {
                let why = comment.map_or_else(String::new, |comment| format!(": {comment}"));
                let error = Error::standard(
                    "authorization",
                    403,
                    "not approved",
                    format!("{by} rejected `{}`{why}", question.title),
                );
                self.failed(here.task, here.path, error)
            }
        }
    }

    fn question(&self, here: &Here<'_>, approve: &Approve) -> Result<Question, Error> {
        let arguments = approve
            .arguments
            .as_ref()
            .map_or_else(|| Ok(here.input.clone()), |template| self.evaluate(here, template))?;
        super::fits(&arguments)?;
        let title = self.data(here, &approve.title)?;
        Ok(Question {
            title: title.as_str().map_or_else(|| title.to_string(), str::to_owned),
            hash: crate::workflow::hash_of(&arguments),
            arguments,
            access: approve.access,
            others: approve.others,
        })
    }
}

/// Sets a timer, and says when it is due.
fn walk_due(walk: &mut Walk<'_>, here: &Here<'_>, ms: i64) -> i64 {
    let due_ms = walk.ground.now_ms.saturating_add(ms);
    walk.note(Transition::Timed { path: here.path.to_owned(), due_ms });
    due_ms
}

/// What of a call's result is its task's output.
fn gives(call: &Call, output: Value, input: &Value) -> Value {
    let Call::Script { wait, gives, .. } = call else { return output };
    match gives {
        _ if !wait => input.clone(),
        ProcessOutput::Stdout => output["stdout"].clone(),
        ProcessOutput::Stderr => output["stderr"].clone(),
        ProcessOutput::Code => output["code"].clone(),
        ProcessOutput::All => output,
        ProcessOutput::None => input.clone(),
    }
}

/// Fills the `{names}` of a URI with the fields of the input.
fn with_uri(mut call: Value, pointer: &str, input: &Value) -> Result<Value, Error> {
    if let Some(uri) = call.pointer_mut(pointer) {
        let text = uri.as_str().unwrap_or_default();
        *uri = expanded(text, input)?.into();
    }
    Ok(call)
}

fn expanded(template: &str, input: &Value) -> Result<String, Error> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        text.push_str(before);
        match &input[name] {
            Value::Null => {}
            Value::String(value) => text.push_str(&encoded(value)),
            value @ (Value::Bool(_) | Value::Number(_)) => text.push_str(&encoded(&value.to_string())),
            _ => {
                let detail = format!("`{{{name}}}` in a URI is neither text, number nor boolean");
                return Err(Error::standard("expression", 400, "not a scalar", detail));
            }
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// As RFC 6570's simple expansion writes a value.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().fold(String::new(), |text, byte| {
        if plain(byte) { text + &char::from(byte).to_string() } else { format!("{text}%{byte:02X}") }
    })
}
