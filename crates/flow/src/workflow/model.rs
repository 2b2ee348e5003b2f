//! A definition as it was read: every reference resolved, every default filled in.

use serde_json::Value;

use crate::schedules::Spec;

/// A workflow.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Whose it is.
    pub namespace: String,
    /// What it is called there.
    pub name: String,
    /// Which version this is.
    pub version: String,
    /// For people.
    pub title: Option<String>,
    /// For people, in Markdown.
    pub summary: Option<String>,
    /// What it takes.
    pub input: Filter,
    /// What it gives.
    pub output: Filter,
    /// How long a run may take.
    pub timeout: Option<Span>,
    /// When it is started by itself.
    pub schedule: Option<Schedule>,
    /// Whether any text may be an expression (`evaluate.mode: loose`).
    pub loose: bool,
    /// Its tasks.
    pub tasks: List,
    /// All of it, as a JSON value.
    pub value: Value,
}

/// Tasks done one after the other.
pub type List = Vec<Task>;

/// A jq program, without the `${ }` around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expr(pub String);

/// A task and what is common to all kinds.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name in its list.
    pub name: String,
    /// Where it stands in the definition: a JSON Pointer.
    pub at: String,
    /// Whether it is done at all.
    pub condition: Option<Expr>,
    /// What it takes.
    pub input: Filter,
    /// What it gives.
    pub output: Filter,
    /// What becomes of the run's context.
    pub export: Filter,
    /// How long it may take.
    pub timeout: Option<Span>,
    /// What comes after it.
    pub then: Then,
    /// What undoes it, when the run fails or is cancelled.
    pub undo: List,
    /// What it does.
    pub kind: Kind,
}

/// A schema and a transformation.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// What the data must be like.
    pub schema: Option<Value>,
    /// What is made of the data: an expression, or an object with expressions in it.
    pub map: Option<Template>,
}

/// Data in which texts of the form `${ … }` are expressions.
#[derive(Debug, Clone)]
pub enum Template {
    /// One expression, also without `${ }`.
    Expr(Expr),
    /// A value.
    Value(Value),
}

/// How long.
#[derive(Debug, Clone)]
pub enum Span {
    /// In milliseconds.
    Ms(i64),
    /// An expression that gives an ISO 8601 duration.
    Expr(Expr),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Then {
    /// The next task of the list.
    #[default]
    Continue,
    /// The end of the list.
    Exit,
    /// The end of the run.
    End,
    /// The task of this name in the same list.
    To(String),
}

/// What a task does.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Calls something outside.
    Call(Call),
    /// A function of the definition, with its arguments as input.
    Function {
        /// The arguments.
        with: Value,
        /// What is done.
        task: Box<Task>,
    },
    /// Does tasks one after the other.
    Do(List),
    /// Publishes an event.
    Emit(Value),
    /// Does tasks for each item.
    For(For),
    /// Does branches at the same time.
    Fork {
        /// The branches.
        branches: List,
        /// Whether the first to end is the only one that counts.
        compete: bool,
    },
    /// Waits for events.
    Listen(Listen),
    /// Fails.
    Raise(RaisedError),
    /// Runs another workflow.
    Workflow(SubWorkflow),
    /// Makes data.
    Set(Template),
    /// Chooses what comes next.
    Switch(Vec<Case>),
    /// Does tasks and handles their errors.
    Try {
        /// The tasks.
        tasks: List,
        /// What is done with an error.
        catch: Box<Catch>,
    },
    /// Waits.
    Wait(Span),
    /// Asks people: an extension of ours.
    Approve(Approve),
}

impl Kind {
    /// Its name, as histories and diagrams have it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Call(call) => call.word(),
            Self::Function { .. } => "call",
            Self::Do(_) => "do",
            Self::Emit(_) => "emit",
            Self::For(_) => "for",
            Self::Fork { .. } => "fork",
            Self::Listen(_) => "listen",
            Self::Raise(_) => "raise",
            Self::Workflow(_) => "run workflow",
            Self::Set(_) => "set",
            Self::Switch(_) => "switch",
            Self::Try { .. } => "try",
            Self::Wait(_) => "wait",
            Self::Approve(_) => "approve",
        }
    }
}

/// A call outside. Values are templates.
#[derive(Debug, Clone)]
pub enum Call {
    /// A tool of the fleet, or of a server that joined it.
    Mcp {
        /// Which server; none when the tool's name says it (`server__tool`).
        server: Option<String>,
        /// The parameters of `tools/call`: `name` and `arguments`.
        parameters: Template,
        /// How long the call may take.
        timeout: Option<Span>,
    },
    /// An agent.
    A2a(Value),
    /// A web service.
    Http(Value),
    /// A web service that describes itself.
    OpenApi(Value),
    /// A script in the sandbox.
    Script {
        /// The script: `language`, `code`, `arguments`, `environment`, `stdin`.
        script: Value,
        /// Whether its end is waited for.
        wait: bool,
        /// What of it is the output.
        gives: ProcessOutput,
    },
}

impl Call {
    fn word(&self) -> &'static str {
        match self {
            Self::Mcp { .. } => "call mcp",
            Self::A2a(_) => "call a2a",
            Self::Http(_) => "call http",
            Self::OpenApi(_) => "call openapi",
            Self::Script { .. } => "run script",
        }
    }
}

/// What of a process is a task's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProcessOutput {
    /// What it wrote.
    #[default]
    Stdout,
    /// What it complained.
    Stderr,
    /// Its exit code.
    Code,
    /// All three.
    All,
    /// Nothing: the input goes on.
    None,
}

/// A loop.
#[derive(Debug, Clone)]
pub struct For {
    /// The item's variable.
    pub each: String,
    /// The index's variable.
    pub at: String,
    /// The items.
    pub items: Expr,
    /// Whether to go on.
    pub condition: Option<Expr>,
    /// What is done for each.
    pub tasks: List,
}

/// A wait for events.
#[derive(Debug, Clone)]
pub struct Listen {
    /// For which.
    pub to: Consume,
    /// What of each event is read.
    pub read: ReadAs,
    /// What is done with each.
    pub each: Option<Iterator>,
}

/// What of an event is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadAs {
    /// Its data.
    #[default]
    Data,
    /// All of it.
    Envelope,
    /// Its data as it came.
    Raw,
}

/// Which events are consumed.
#[derive(Debug, Clone)]
pub enum Consume {
    /// One.
    One(EventFilter),
    /// One for each filter.
    All(Vec<EventFilter>),
    /// One for any filter, or as many as come until something holds. No filter is every event.
    Any {
        /// The filters.
        filters: Vec<EventFilter>,
        /// Until when.
        until: Option<Until>,
    },
}

impl Consume {
    /// Its filters, those of `until` left out.
    pub fn filters(&self) -> &[EventFilter] {
        match self {
            Self::One(filter) => std::slice::from_ref(filter),
            Self::All(filters) | Self::Any { filters, .. } => filters,
        }
    }

    /// All its filters.
    pub fn all_filters(&self) -> impl std::iter::Iterator<Item = &EventFilter> {
        let until = match self {
            Self::Any { until: Some(Until::Events(until)), .. } => until.filters(),
            _ => &[],
        };
        self.filters().iter().chain(until)
    }
}

/// The end of a listening.
#[derive(Debug, Clone)]
pub enum Until {
    /// An expression over the events consumed so far.
    Expr(Expr),
    /// Other events.
    Events(Box<Consume>),
}

/// Which events match.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// The attributes: texts are compared, or matched as regular expressions; `data` may be an expression.
    pub with: serde_json::Map<String, Value>,
    /// What ties events together.
    pub correlate: Vec<Correlation>,
}

/// What ties events together.
#[derive(Debug, Clone)]
pub struct Correlation {
    /// Its name.
    pub name: String,
    /// What an event has.
    pub from: Expr,
    /// What it must be; the first event's, if nothing is said.
    pub expect: Option<Value>,
}

/// What is done with each event.
#[derive(Debug, Clone)]
pub struct Iterator {
    /// The event's variable.
    pub item: String,
    /// The index's variable.
    pub at: String,
    /// The tasks.
    pub tasks: List,
    /// What becomes of each.
    pub output: Filter,
    /// What becomes of the run's context.
    pub export: Filter,
}

/// An error that a definition raises. Values are templates.
#[derive(Debug, Clone)]
pub struct RaisedError {
    /// What kind: a URI.
    pub kind: Value,
    /// As of HTTP.
    pub status: u16,
    /// In a few words.
    pub title: Option<Value>,
    /// What happened.
    pub detail: Option<Value>,
    /// Which part of the definition; the task itself, if nothing is said.
    pub instance: Option<Value>,
}

/// Another workflow.
#[derive(Debug, Clone)]
pub struct SubWorkflow {
    /// Whose.
    pub namespace: String,
    /// Which.
    pub name: String,
    /// Which version; none for the latest.
    pub version: Option<String>,
    /// Its input.
    pub input: Option<Value>,
    /// Whether its end is waited for.
    pub wait: bool,
    /// Whether its output is the task's.
    pub gives: ProcessOutput,
}

/// A case of a switch.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// When it is chosen; none for when no other is.
    pub when: Option<Expr>,
    /// What comes next.
    pub then: Then,
}

/// What is done with an error.
#[derive(Debug, Clone)]
pub struct Catch {
    /// What of the error must be so.
    pub with: serde_json::Map<String, Value>,
    /// The error's variable.
    pub variable: String,
    /// Whether it is caught.
    pub when: Option<Expr>,
    /// Whether it is not.
    pub except: Option<Expr>,
    /// How it is tried again.
    pub retry: Option<Retry>,
    /// What is done in the end.
    pub tasks: List,
}

/// How something is tried again.
#[derive(Debug, Clone, Default)]
pub struct Retry {
    /// Whether it is.
    pub when: Option<Expr>,
    /// Whether it is not.
    pub except: Option<Expr>,
    /// How long to wait before.
    pub delay: Option<Span>,
    /// How the wait grows.
    pub backoff: Backoff,
    /// What is added to the wait by chance: from, to.
    pub jitter: Option<(Span, Span)>,
    /// How often in all.
    pub count: Option<u32>,
    /// How long one attempt may take.
    pub attempt: Option<Span>,
    /// How long all may take.
    pub duration: Option<Span>,
}

/// How a wait grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backoff {
    /// It does not.
    #[default]
    Constant,
    /// By the first wait each time.
    Linear,
    /// Twice as long each time.
    Exponential,
}

/// A question to people.
#[derive(Debug, Clone)]
pub struct Approve {
    /// What it is about: a template.
    pub title: Value,
    /// What exactly is approved: a template; the input, if nothing is said.
    pub arguments: Option<Template>,
    /// The least role that may answer.
    pub access: kernel::Access,
    /// Whether it must be another than who started the run.
    pub others: bool,
}

/// When a workflow is started by itself.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// Every so many milliseconds.
    Every(i64),
    /// As a cron expression says.
    Cron(Spec),
    /// So many milliseconds after the last run's end.
    After(i64),
    /// When there are events.
    On(Consume),
}

/// The task that stands at this JSON Pointer.
pub(crate) fn find<'d>(definition: &'d Definition, at: &str) -> Option<&'d Task> {
    fn inside<'d>(tasks: &'d [Task], at: &str) -> Option<&'d Task> {
        tasks.iter().find_map(|task| {
            if task.at == at {
                return Some(task);
            }
            let lists: Vec<&[Task]> = match &task.kind {
                Kind::Do(tasks) => vec![tasks],
                Kind::For(each) => vec![&each.tasks],
                Kind::Fork { branches, .. } => vec![branches],
                Kind::Listen(listen) => listen.each.iter().map(|each| each.tasks.as_slice()).collect(),
                Kind::Try { tasks, catch } => vec![tasks, &catch.tasks],
                Kind::Function { task, .. } => vec![std::slice::from_ref(&**task)],
                _ => Vec::new(),
            };
            lists.into_iter().find_map(|tasks| inside(tasks, at))
        })
    }
    inside(&definition.tasks, at)
}
