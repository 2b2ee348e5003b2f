//! Listening: which events a task consumes, and what it does with each.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::kinds::{EVENTS_TOPIC, Here, ITEMS_MAX};
use super::{Flow, Walk, next};
use crate::workflow::error::Error;
use crate::workflow::expression::TaskFacts;
use crate::workflow::history::{Cursors, Next, Transition};
use crate::workflow::model::{Consume, EventFilter, Iterator as Each, Listen, ReadAs, Template, Until};
use crate::workflow::read::inner;
use crate::workflow::state::SIGNALS;

/// Longest regular expression of a filter, in bytes of what it compiles to.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The place of the filter that takes an event, none for one of `until`; and the correlations it fixes.
type Taken = (Option<usize>, Map<String, Value>);

/// The topics that a listening reads: those its filters name, the fleet's own and the workflows' otherwise.
pub(crate) fn topics(consume: &Consume) -> BTreeSet<String> {
    let named: BTreeSet<String> =
        consume.all_filters().filter_map(|filter| filter.with.get("topic")?.as_str().map(str::to_owned)).collect();
    if named.is_empty() { [kernel::bus::FLEET_TOPIC, EVENTS_TOPIC].map(str::to_owned).into() } else { named }
}

/// How an attribute is compared, without expressions: as it is, or as a regular expression over the whole of it.
pub(crate) fn attribute_fits(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::String(wanted), Value::String(found)) if wanted == found => true,
        (Value::String(pattern), Value::String(found)) => {
            let pattern = regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build();
            pattern.is_ok_and(|pattern| pattern.is_match(found))
        }
        // Of data, what is named must be so; there may be more.
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| attribute_fits(wanted, found)))
        }
        (wanted, found) => wanted == found,
    }
}

/// What a filter makes of an event, where expressions are evaluated by `evaluate`: on the attribute for a filter, on the event otherwise.
pub(crate) fn matched(
    filter: &EventFilter,
    event: &Value,
    known: &Map<String, Value>,
    evaluate: &dyn Fn(&str, &Value) -> Result<Value, Error>,
) -> Result<Option<Map<String, Value>>, Error> {
    for (name, wanted) in &filter.with {
        let found = &event[name.as_str()];
        let fits = match wanted.as_str().and_then(inner) {
            Some(program) => match evaluate(program, found)? {
                Value::Bool(fits) => fits,
                Value::Null => false,
                value => value == *found,
            },
            None => attribute_fits(wanted, found),
        };
        if !fits {
            return Ok(None);
        }
    }
    let mut correlated = Map::new();
    for correlation in &filter.correlate {
        let own = evaluate(&correlation.from.0, event)?;
        let expected = match &correlation.expect {
            Some(Value::String(text)) => match inner(text) {
                Some(program) => Some(evaluate(program, event)?),
                None => Some(Value::String(text.clone())),
            },
            Some(value) => Some(value.clone()),
            None => known.get(&correlation.name).cloned(),
        };
        if own.is_null() || expected.is_some_and(|expected| expected != own) {
            return Ok(None);
        }
        correlated.insert(correlation.name.clone(), own);
    }
    Ok(Some(correlated))
}

impl Walk<'_> {
    /// A `listen` task.
    pub(super) fn listen(&mut self, here: &Here<'_>, listen: &Listen) -> Flow {
        if self.frame_of(here.path).is_none_or(|frame| frame.cursors.is_none()) {
            let reach = &self.news.topics;
            let cursors: Cursors = topics(&listen.to)
                .into_iter()
                .map(|topic| (topic.clone(), reach.get(&topic).copied().unwrap_or(0)))
                .collect();
            self.note(Transition::Listened { path: here.path.to_owned(), cursors });
        }
        let ended = match self.consume(here, listen) {
            Ok(ended) => ended,
            Err(error) => return self.failed(here.task, here.path, error),
        };
        let outputs = match self.each_event(here, listen) {
            Ok(Ok(outputs)) => outputs,
            Ok(Err(flow)) => return flow,
            Err(error) => return self.failed(here.task, here.path, error),
        };
        if ended {
            return Flow::Done(Value::Array(outputs), next(&here.task.then));
        }
        let cursors = self.frame_of(here.path).and_then(|frame| frame.cursors.clone()).unwrap_or_default();
        self.decided.listening.push((here.path.to_owned(), cursors));
        for filter in listen.to.all_filters() {
            let kind = filter.with.get("type").and_then(Value::as_str).filter(|kind| inner(kind).is_none());
            self.decided.kinds.push(kind.map(str::to_owned));
        }
        if listen.to.filters().is_empty() {
            self.decided.kinds.push(None);
        }
        Flow::Pending
    }

    /// Consumes what there is. Whether the listening is over.
    fn consume(&mut self, here: &Here<'_>, listen: &Listen) -> Result<bool, Error> {
        if self.over(here, listen)? {
            return Ok(true);
        }
        let news = self.news;
        let signals: Vec<(String, u64, Value)> =
            (1..).zip(&self.state.signals).map(|(seq, event)| (SIGNALS.to_owned(), seq, event.clone())).collect();
        for (topic, seq, event) in signals.iter().chain(&news.events) {
            if self.full() {
                return Ok(false);
            }
            let frame = self.frame_of(here.path);
            let cursors = frame.and_then(|frame| frame.cursors.as_ref());
            let new = match topic.as_str() {
                SIGNALS => !self.state.signals_used.contains(seq),
                topic => cursors.and_then(|cursors| cursors.get(topic)).is_some_and(|cursor| seq > cursor),
            };
            if new && let Some((filter, correlated)) = self.filter_of(here, listen, event)? {
                if frame.is_some_and(|frame| frame.consumed.len() >= ITEMS_MAX) {
                    let detail = format!("a listening consumes at most {ITEMS_MAX} events");
                    return Err(Error::standard("runtime", 413, "too many events", detail));
                }
                super::fits(event)?;
                let (path, topic, seq, event) = (here.path.to_owned(), topic.clone(), *seq, event.clone());
                self.note(Transition::Consumed { path, filter, topic, seq, event, correlated });
                if self.over(here, listen)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Which filter takes an event, if any: none of its place for one of `until`.
    fn filter_of(&self, here: &Here<'_>, listen: &Listen, event: &Value) -> Result<Option<Taken>, Error> {
        let frame = self.frame_of(here.path);
        let known = frame.map(|frame| frame.correlated.clone()).unwrap_or_default();
        let consumed =
            |place: usize| frame.is_some_and(|frame| frame.consumed.iter().any(|(filter, _)| *filter == Some(place)));
        let evaluate = |program: &str, on: &Value| {
            let expr = crate::workflow::model::Expr(program.to_owned());
            self.with_scope(here, |walk, scope| {
                walk.evaluator().expr(&expr, on, scope).map_err(|fault| Error::of_expression(&fault))
            })
        };
        if let Consume::Any { until: Some(Until::Events(until)), .. } = &listen.to {
            for filter in until.filters() {
                if let Some(correlated) = matched(filter, event, &known, &evaluate)? {
                    return Ok(Some((None, correlated)));
                }
            }
        }
        let filters = listen.to.filters();
        if filters.is_empty() && matches!(listen.to, Consume::Any { .. }) {
            return Ok(Some((Some(0), Map::new())));
        }
        for (place, filter) in filters.iter().enumerate() {
            if matches!(listen.to, Consume::All(_)) && consumed(place) {
                continue;
            }
            if let Some(correlated) = matched(filter, event, &known, &evaluate)? {
                return Ok(Some((Some(place), correlated)));
            }
        }
        Ok(None)
    }

    /// Whether what was consumed is enough.
    fn over(&self, here: &Here<'_>, listen: &Listen) -> Result<bool, Error> {
        let Some(frame) = self.frame_of(here.path) else { return Ok(false) };
        let taken = || frame.consumed.iter().filter(|(filter, _)| filter.is_some());
        Ok(match &listen.to {
            Consume::One(_) => taken().count() >= 1,
            Consume::All(filters) => taken().count() >= filters.len(),
            Consume::Any { until: None, .. } => taken().count() >= 1,
            Consume::Any { until: Some(Until::Events(until)), .. } => {
                let ends = frame.consumed.iter().filter(|(filter, _)| filter.is_none()).count();
                ends >= if let Consume::All(filters) = &**until { filters.len() } else { 1 }
            }
            // The condition is looked at after each event, over what was read so far.
            Consume::Any { until: Some(Until::Expr(expr)), .. } => {
                let read: Vec<Value> = taken().map(|(_, event)| read(event, listen.read)).collect();
                !read.is_empty() && self.holds(here, expr, &Value::Array(read))?
            }
        })
    }

    /// What each consumed event becomes, in order; or how far that is.
    fn each_event(&mut self, here: &Here<'_>, listen: &Listen) -> Result<Result<Vec<Value>, Flow>, Error> {
        let consumed = self.frame_of(here.path).map(|frame| frame.consumed.clone()).unwrap_or_default();
        let events = consumed.iter().filter(|(filter, _)| filter.is_some()).map(|(_, event)| read(event, listen.read));
        let Some(each) = &listen.each else { return Ok(Ok(events.collect())) };
        let mut outputs = Vec::new();
        for (place, event) in events.enumerate() {
            let mut locals = here.locals.clone();
            locals.push((each.item.clone(), event.clone()));
            locals.push((each.at.clone(), place.into()));
            let own = format!("{}[{place}]", here.path);
            let inside = self.frame_of(&own).and_then(|frame| frame.outcome.clone());
            if let Some(crate::workflow::state::Outcome::Done(output, _)) = inside {
                outputs.push(output);
                continue;
            }
            let output = match self.list(&each.tasks, &format!("{own}/foreach/do"), &event, &locals) {
                Flow::Done(output, Next::End) => return Ok(Err(Flow::Done(output, Next::End))),
                Flow::Done(output, _) => output,
                other => return Ok(Err(other)),
            };
            outputs.push(self.event_done(here, each, &own, output, &locals)?);
        }
        Ok(Ok(outputs))
    }

    fn event_done(
        &mut self,
        here: &Here<'_>,
        each: &Each,
        own: &str,
        output: Value,
        locals: &super::Locals,
    ) -> Result<Value, Error> {
        let inside = Here { locals, ..*here };
        let output = match &each.output.map {
            Some(map) => self.evaluate_on(&inside, map, &output)?,
            None => output,
        };
        super::schema(each.output.schema.as_ref(), &output, "output")?;
        super::fits(&output)?;
        let key = self.key(own);
        let facts = TaskFacts {
            name: &here.task.name,
            reference: &here.task.at,
            input: here.input,
            output: Some(&output),
            began_ms: self.ground.now_ms,
            key: &key,
        };
        let context = self.exported(&each.export, facts, here.input, &output, locals)?;
        self.note(Transition::Done {
            path: own.to_owned(),
            output: output.clone(),
            next: Next::Continue,
            context,
            undo: None,
        });
        Ok(output)
    }

    fn evaluate_on(&self, here: &Here<'_>, template: &Template, on: &Value) -> Result<Value, Error> {
        self.with_scope(here, |walk, scope| {
            walk.evaluator().template(template, on, scope).map_err(|fault| Error::of_expression(&fault))
        })
    }
}

/// What of an event is read.
pub(crate) fn read(event: &Value, how: ReadAs) -> Value {
    match how {
        ReadAs::Envelope => event.clone(),
        ReadAs::Data | ReadAs::Raw => event["data"].clone(),
    }
}
