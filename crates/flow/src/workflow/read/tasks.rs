//! Tasks, one kind each.

use serde_json::Value;

use super::fields::{Fields, Reader, inner, span, what};
use super::{Components, calls, events, parts};
use crate::workflow::TASKS_MAX;
use crate::workflow::model::{Approve, Case, Catch, Expr, For, Kind, List, RaisedError, Task, Template, Then};
use crate::workflow::source::segment;

/// What makes a task what it is.
const KINDS: [&str; 13] =
    ["call", "do", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait", "approve"];
/// Variables that the runtime gives.
pub(crate) const GIVEN: [&str; 8] =
    ["context", "input", "output", "secrets", "authorization", "task", "workflow", "runtime"];

/// A list of tasks: `- name: { … }`.
pub(super) fn list(reader: &mut Reader<'_>, components: &mut Components<'_>, value: &Value, at: &str) -> List {
    const HINT: &str = "a list of tasks: - name: { … }";
    let Value::Array(items) = value else {
        reader.wrong(at, format!("{} where a list should be", what(value)), HINT);
        return Vec::new();
    };
    if items.is_empty() {
        reader.wrong(at, "a list without tasks", HINT);
    }
    if items.len() > TASKS_MAX {
        reader.wrong(at, format!("{} tasks in one list", items.len()), format!("at most {TASKS_MAX}"));
    }
    let mut tasks: List = Vec::new();
    for (place, item) in items.iter().enumerate().take(TASKS_MAX) {
        let at = format!("{at}/{place}");
        let one = item.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
        let Some((name, value)) = one else {
            let found =
                item.as_object().map_or_else(|| what(item).to_owned(), |fields| format!("{} names", fields.len()));
            reader.wrong(&at, format!("{found} where one task should be"), HINT);
            continue;
        };
        let at = format!("{at}/{}", segment(name));
        if tasks.iter().any(|task| task.name == *name) {
            reader.wrong(
                &at,
                format!("a second task `{name}` in this list"),
                "`then` would not know which: name it otherwise",
            );
        }
        if ["continue", "exit", "end"].contains(&name.as_str()) || name.is_empty() || name.len() > 128 {
            reader.wrong(
                &at,
                format!("`{name}` cannot be a task's name"),
                "1 to 128 bytes; continue, exit and end are directives",
            );
        }
        tasks.extend(task(reader, components, name, value, at));
    }
    check_directives(reader, &tasks);
    tasks
}

/// Every `then` leads to a task of its own list.
fn check_directives(reader: &mut Reader<'_>, tasks: &List) {
    let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    let mut check = |then: &Then, at: String| {
        let Then::To(name) = then else { return };
        if !names.contains(&name.as_str()) {
            let hint = match kernel::limits::nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`? continue, exit and end are the other directives"),
                None => format!("a task of the same list ({}), continue, exit or end", names.join(", ")),
            };
            reader.wrong(&at, format!("there is no task `{name}` in this list"), hint);
        }
    };
    for task in tasks {
        check(&task.then, format!("{}/then", task.at));
        if let Kind::Switch(cases) = &task.kind {
            for (place, case) in cases.iter().enumerate() {
                check(&case.then, format!("{}/switch/{place}/{}/then", task.at, segment(&case.name)));
            }
        }
    }
}

/// One task.
pub(super) fn task(
    reader: &mut Reader<'_>,
    components: &mut Components<'_>,
    name: &str,
    value: &Value,
    at: String,
) -> Option<Task> {
    let mut fields = Fields::of(
        reader,
        value,
        &at,
        "a task: one of call, do, emit, for, fork, listen, raise, run, set, switch, try, wait, approve",
    )?;
    let condition = fields.expr(reader, "if");
    let input = parts::filter(reader, &mut fields, "input", "from");
    let output = parts::filter(reader, &mut fields, "output", "as");
    let export = parts::filter(reader, &mut fields, "export", "as");
    let timeout = parts::timeout(reader, &mut fields, components);
    let then = fields.text(reader, "then").map(directive).unwrap_or_default();
    let undo =
        fields.get("undo").map(|value| list(reader, components, value, &format!("{at}/undo"))).unwrap_or_default();
    if let Some(metadata) = fields.get("metadata")
        && !metadata.is_object()
    {
        reader.wrong(
            &fields.path("metadata"),
            format!("{} where an object should be", what(metadata)),
            "names and values",
        );
    }
    // A loop has a `do` of its own.
    let given: Vec<&'static str> =
        KINDS.into_iter().filter(|kind| fields.has(kind) && !(*kind == "do" && fields.has("for"))).collect();
    let kind = match given.as_slice() {
        [kind] => of_kind(reader, components, kind, &mut fields),
        [] => {
            reader.wrong(&at, "a task that does nothing", format!("one of {}", KINDS.join(", ")));
            None
        }
        several => {
            reader.wrong(&at, format!("a task that is several things at once: {}", several.join(", ")), "one of them");
            several.iter().for_each(|kind| {
                fields.get(kind);
            });
            None
        }
    };
    fields.done(reader);
    Some(Task { name: name.into(), at, condition, input, output, export, timeout, then, undo, kind: kind? })
}

fn directive(text: String) -> Then {
    match text.as_str() {
        "continue" => Then::Continue,
        "exit" => Then::Exit,
        "end" => Then::End,
        _ => Then::To(text),
    }
}

fn of_kind(
    reader: &mut Reader<'_>,
    components: &mut Components<'_>,
    kind: &'static str,
    fields: &mut Fields<'_>,
) -> Option<Kind> {
    let value = fields.get(kind)?;
    let at = fields.path(kind);
    match kind {
        "call" => call(reader, components, fields),
        "do" => Some(Kind::Do(list(reader, components, value, &at))),
        "emit" => emit(reader, value, &at),
        "for" => each(reader, components, fields, value, &at),
        "fork" => fork(reader, components, value, &at),
        "listen" => events::listen(reader, components, fields, value).map(Kind::Listen),
        "raise" => raise(reader, components, value, &at),
        "run" => calls::run(reader, components, value, &at),
        "set" => set(reader, value, &at),
        "switch" => switch(reader, value, &at),
        "try" => {
            let tasks = list(reader, components, value, &at);
            let value = fields.need(reader, "catch", "catch: { errors, retry, do }")?;
            let catch = catch(reader, components, value, &fields.path("catch"))?;
            Some(Kind::Try { tasks, catch: Box::new(catch) })
        }
        "wait" => span(reader, value, &at).map(Kind::Wait),
        _ => approve(reader, value, &at),
    }
}

fn call(reader: &mut Reader<'_>, components: &mut Components<'_>, fields: &mut Fields<'_>) -> Option<Kind> {
    let name = fields.text(reader, "call")?;
    if let Some(call) = calls::call(reader, components, fields, &name) {
        return call.map(Kind::Call);
    }
    let with = fields.get("with").cloned().unwrap_or_else(|| serde_json::json!({}));
    parts::data(reader, &with, &fields.path("with"));
    let at = fields.path("call");
    let Some((function_at, function)) = components.functions.get(&name).cloned() else {
        let known: Vec<String> = ["mcp", "a2a", "http", "openapi"]
            .map(String::from)
            .into_iter()
            .chain(components.functions.keys().cloned())
            .collect();
        parts::missing(reader, &at, "function", "functions", &name, known.iter());
        return None;
    };
    if components.open.contains(&name) {
        reader.wrong(&at, format!("function `{name}` calls itself"), "a workflow may run itself: run.workflow");
        return None;
    }
    components.open.push(name.clone());
    let task = task(reader, components, &name, function, function_at);
    components.open.pop();
    Some(Kind::Function { with, task: Box::new(task?) })
}

fn emit(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Kind> {
    const HINT: &str = "emit: { event: { with: { source, type, data } } }";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    let event = fields.need(reader, "event", HINT)?;
    fields.done(reader);
    let mut fields = Fields::of(reader, event, &format!("{at}/event"), HINT)?;
    let with = fields.need(reader, "with", HINT)?;
    fields.done(reader);
    let at = format!("{at}/event/with");
    let map = with.as_object();
    for name in ["source", "type"] {
        if !map.is_some_and(|map| map.get(name).is_some_and(Value::is_string)) {
            reader.wrong(&at, format!("`{name}` is missing"), "an event has a source (a URI) and a type");
        }
    }
    map.map(|_| Kind::Emit(with.clone()))
}

/// Checks that a name can be a variable.
pub(super) fn variable(reader: &mut Reader<'_>, at: &str, name: &str) {
    let fits = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if !fits || GIVEN.contains(&name) {
        reader.wrong(
            at,
            format!("`{name}` cannot be a variable"),
            "1 to 64 letters, digits and _, and none of the runtime's own names",
        );
    }
}

fn each(
    reader: &mut Reader<'_>,
    components: &mut Components<'_>,
    of: &mut Fields<'_>,
    value: &Value,
    at: &str,
) -> Option<Kind> {
    const HINT: &str = "for: { each: item, in: .items }, do: […]";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    let each = fields.text(reader, "each").unwrap_or_else(|| "item".into());
    let index = fields.text(reader, "at").unwrap_or_else(|| "index".into());
    for (field, name) in [("each", &each), ("at", &index)] {
        variable(reader, &fields.path(field), name);
    }
    fields.need(reader, "in", HINT);
    let items = fields.expr(reader, "in");
    fields.done(reader);
    let condition = of.expr(reader, "while");
    let tasks = of.need(reader, "do", HINT).map(|value| list(reader, components, value, &of.path("do")))?;
    Some(Kind::For(For { each, at: index, items: items?, condition, tasks }))
}

fn fork(reader: &mut Reader<'_>, components: &mut Components<'_>, value: &Value, at: &str) -> Option<Kind> {
    let mut fields = Fields::of(reader, value, at, "fork: { branches: […], compete: false }")?;
    let branches = fields.need(reader, "branches", "the tasks to do at the same time")?;
    let branches = list(reader, components, branches, &format!("{at}/branches"));
    if branches.len() > crate::workflow::BRANCHES_MAX {
        reader.wrong(
            &format!("{at}/branches"),
            format!("{} branches", branches.len()),
            format!("at most {}", crate::workflow::BRANCHES_MAX),
        );
    }
    for branch in branches.iter().filter(|branch| branch.then != Then::Continue) {
        reader.wrong(
            &format!("{}/then", branch.at),
            "a directive on a branch",
            "branches run side by side: there is no next one",
        );
    }
    let compete = fields.flag(reader, "compete", false);
    fields.done(reader);
    Some(Kind::Fork { branches, compete })
}

fn raise(reader: &mut Reader<'_>, components: &Components<'_>, value: &Value, at: &str) -> Option<Kind> {
    const HINT: &str = "raise: { error: { type, status, title, detail } }, or the name of an error of `use.errors`";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    let error = fields.need(reader, "error", HINT)?;
    let at = fields.path("error");
    fields.done(reader);
    let map = match error {
        Value::String(name) => match components.errors.get(name) {
            Some((_, error)) => error.as_object(),
            None => {
                parts::missing(reader, &at, "error", "errors", name, components.errors.keys());
                None
            }
        },
        other => parts::error(reader, other, &at),
    }?;
    let status = map.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    let part = |name: &str| map.get(name).cloned();
    Some(Kind::Raise(RaisedError {
        kind: part("type")?,
        status: status?,
        title: part("title"),
        detail: part("detail"),
        instance: part("instance"),
    }))
}

fn set(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Kind> {
    match value {
        Value::Object(map) if !map.is_empty() => Some(Kind::Set(Template::Value(value.clone()))),
        Value::String(text) if inner(text).is_some() => {
            inner(text).map(|text| Kind::Set(Template::Expr(Expr(text.to_owned()))))
        }
        other => {
            reader.wrong(
                at,
                format!("{} where data should be", what(other)),
                "set: { name: value }, or one expression: ${ … }",
            );
            None
        }
    }
}

fn switch(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Kind> {
    const HINT: &str = "switch: [ { name: { when, then } } ]";
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        reader.wrong(at, "a switch without a case", HINT);
    }
    let mut cases = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let at = format!("{at}/{place}");
        let one = item.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
        let Some((name, value)) = one else {
            reader.wrong(&at, "not one case", HINT);
            continue;
        };
        let at = format!("{at}/{}", segment(name));
        let Some(mut fields) = Fields::of(reader, value, &at, HINT) else { continue };
        let when = fields.expr(reader, "when");
        fields.need(reader, "then", "then: the next task, continue, exit or end");
        let then = fields.text(reader, "then").map(directive);
        if when.is_none() && !fields.has("when") && cases.iter().any(|case: &Case| case.when.is_none()) {
            reader.wrong(&at, "a second case without `when`", "one case at most is the default");
        }
        fields.done(reader);
        cases.extend(then.map(|then| Case { name: name.clone(), when, then }));
    }
    Some(Kind::Switch(cases))
}

fn catch(reader: &mut Reader<'_>, components: &mut Components<'_>, value: &Value, at: &str) -> Option<Catch> {
    let mut fields = Fields::of(reader, value, at, "catch: { errors, as, when, exceptWhen, retry, do }")?;
    let mut with = serde_json::Map::new();
    if let Some(value) = fields.get("errors")
        && let Some(mut errors) =
            Fields::of(reader, value, &format!("{at}/errors"), "errors: { with: { type, status } }")
    {
        if let Some(value) = errors.get("with")
            && let Some(mut filter) = Fields::of(reader, value, &format!("{at}/errors/with"), "with: { type, status }")
        {
            for name in ["type", "status", "instance", "title", "details", "detail"] {
                filter.get(name);
            }
            filter.done(reader);
            with = value.as_object().cloned().unwrap_or_default();
        }
        errors.done(reader);
    }
    let name = fields.text(reader, "as").unwrap_or_else(|| "error".into());
    variable(reader, &fields.path("as"), &name);
    let (when, except) = (fields.expr(reader, "when"), fields.expr(reader, "exceptWhen"));
    let retry = fields.get("retry").and_then(|value| match value {
        Value::String(name) => {
            let found = components.retries.get(name).cloned();
            if found.is_none() {
                parts::missing(
                    reader,
                    &format!("{at}/retry"),
                    "retry policy",
                    "retries",
                    name,
                    components.retries.keys(),
                );
            }
            found
        }
        value => parts::retry(reader, value, &format!("{at}/retry")),
    });
    let tasks = fields.get("do").map(|value| list(reader, components, value, &format!("{at}/do"))).unwrap_or_default();
    fields.done(reader);
    Some(Catch { with, variable: name, when, except, retry, tasks })
}

fn approve(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Kind> {
    const HINT: &str = "approve: { title, arguments, role, others }";
    let mut fields = Fields::of(reader, value, at, HINT)?;
    fields.need(reader, "title", HINT);
    let title = fields.text(reader, "title");
    let arguments = fields.template(reader, "arguments");
    let access = match fields.word(reader, "role", &["operator", "trader", "admin"]) {
        "trader" => kernel::Access::Trade,
        "admin" => kernel::Access::Admin,
        _ => kernel::Access::Operate,
    };
    let others = fields.flag(reader, "others", false);
    fields.done(reader);
    Some(Kind::Approve(Approve { title: title?.into(), arguments, access, others }))
}
