//! Typed tools: one constant names a tool, its types and its manners; a server binds a function to it.

use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kernel::{Access, Fault};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ctx::Ctx;
use crate::error::ToolError;
use crate::reply::Outcome;
use crate::schema::{self, Make};
use crate::{typed, wire};

/// What a tool does to the world and what it asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// What the caller's role must allow.
    pub access: Access,
    /// Whether it may destroy or overwrite.
    pub destructive: bool,
    /// Whether calling it twice is the same as calling it once: only then may the router retry.
    pub idempotent: bool,
    /// Whether it reaches beyond the fleet: a chain, a network, another program.
    pub open_world: bool,
    /// How long a call may take.
    pub time: Duration,
    /// Whether it may outlast a request: clients that know the tasks extension get a task.
    pub long: bool,
}

impl Hints {
    /// Looks at the fleet's own state.
    pub const READ: Self = Self {
        access: Access::Read,
        destructive: false,
        idempotent: true,
        open_world: false,
        time: kernel::limits::TOOL_TIME,
        long: false,
    };
    /// Looks at something outside the fleet.
    pub const READ_WORLD: Self = Self { open_world: true, ..Self::READ };
    /// Adds to the fleet's state; a second call adds again.
    pub const OPERATE: Self = Self { access: Access::Operate, idempotent: false, ..Self::READ };
    /// Sets something in the fleet's state; a second call changes nothing more.
    pub const SET: Self = Self { access: Access::Operate, destructive: true, ..Self::READ };
    /// Changes what the fleet trusts or who may do what.
    pub const ADMIN: Self = Self { access: Access::Admin, destructive: true, idempotent: false, ..Self::READ };

    /// With another time limit.
    #[must_use]
    pub const fn within(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// May outlast a request.
    #[must_use]
    pub const fn long(mut self) -> Self {
        self.long = true;
        self
    }

    /// Reaches beyond the fleet.
    #[must_use]
    pub const fn open_world(mut self) -> Self {
        self.open_world = true;
        self
    }

    /// MCP's annotations.
    pub fn annotations(&self) -> Value {
        json!({
            "readOnlyHint": self.access == Access::Read && !self.destructive,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        })
    }
}

/// The typed name of one tool.
pub struct Tool<I, O> {
    /// The server that has it.
    pub server: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What a model chooses it by.
    pub about: &'static str,
    /// Its manners.
    pub hints: Hints,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> Clone for Tool<I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for Tool<I, O> {}

impl<I, O> Tool<I, O> {
    /// Names a tool. Written by [`tools!`](crate::tools).
    pub const fn new(server: &'static str, name: &'static str, about: &'static str, hints: Hints) -> Self {
        Self { server, name, about, hints, types: PhantomData }
    }

    fn words(&self) -> Words {
        (self.name, self.about, self.hints)
    }
}

/// A tool's name, description and manners.
type Words = (&'static str, &'static str, Hints);

/// Declares a server's tools: each a constant whose doc comment is the tool's description.
///
/// ```ignore
/// tools! { "utilities":
///     /// Keccak-256 of text or of bytes.
///     KECCAK256 = "keccak256": fn(Keccak256) -> Digest, Hints::READ;
/// }
/// ```
#[macro_export]
macro_rules! tools {
    ($server:expr; $($(#[doc = $about:literal])+ $const:ident = $name:literal: fn($in:ty) -> $out:ty, $hints:expr;)+) => {
        $($(#[doc = $about])+ pub const $const: $crate::Tool<$in, $out> =
            $crate::Tool::new($server, $name, concat!($($about, "\n"),+), $hints);)+
    };
}

/// The key in `_meta` of a tool's entry under which a server of the fleet tells its [`Manners`].
pub const MANNERS: &str = "flotilla/tool";

/// What MCP's annotations cannot say of a tool: another process of the fleet routes by it, a person learns which role it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Manners {
    /// What the caller's role must allow.
    pub access: Access,
    /// How long a call may take, in milliseconds.
    pub time_ms: u64,
}

impl Manners {
    fn of(hints: &Hints) -> Self {
        Self { access: hints.access, time_ms: u64::try_from(hints.time.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// What lists and the router know of a tool.
#[derive(Debug, Clone)]
pub struct ToolDef {
    /// Its name on its server.
    pub name: String,
    /// What a model chooses it by.
    pub about: String,
    /// JSON Schema of what it takes.
    pub input: Value,
    /// JSON Schema of what it answers; `None` when it answers free content.
    pub output: Option<Value>,
    /// Its manners.
    pub hints: Hints,
    /// `_meta` of its entry in lists (an interactive view's address, …).
    pub meta: Option<Value>,
}

impl ToolDef {
    /// Its entry in `tools/list`, under `name`.
    pub fn listing(&self, name: &str) -> Value {
        let mut entry = json!({
            "name": name,
            "description": self.about,
            "inputSchema": self.input,
            "annotations": self.hints.annotations(),
        });
        if let Some(output) = &self.output {
            entry["outputSchema"] = output.clone();
        }
        entry["_meta"] = self.meta.clone().unwrap_or_else(|| json!({}));
        entry["_meta"][MANNERS] = json!(Manners::of(&self.hints));
        entry
    }
}

/// A function behind a tool, its types erased.
pub type Run = Arc<dyn Fn(Option<Box<RawValue>>, Ctx) -> BoxFuture<'static, Result<Outcome, ToolError>> + Send + Sync>;

/// A tool and what it runs.
#[derive(Clone)]
pub struct Entry {
    /// What it is.
    pub def: Arc<ToolDef>,
    /// What it does.
    pub run: Run,
}

type Bind<S> = Box<dyn FnOnce(&Arc<S>) -> Run>;

/// A server's tools while it is being put together.
pub struct ToolSet<S> {
    entries: Vec<(ToolDef, Bind<S>)>,
}

impl<S: Send + Sync + 'static> ToolSet<S> {
    /// An empty set.
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Binds an asynchronous function to a tool.
    pub fn add<I, O, F, Fut>(&mut self, tool: Tool<I, O>, function: F)
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + 'static,
        F: Fn(Arc<S>, I, Ctx) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<O, ToolError>> + Send + 'static,
    {
        self.bind(def(tool.words(), I::json_schema, Some(O::json_schema)), move |server| {
            let server = Arc::clone(server);
            Arc::new(move |arguments, ctx| {
                let (server, function) = (Arc::clone(&server), function.clone());
                async move {
                    let input = read::<I>(arguments.as_deref())?;
                    let output = function(server, input, ctx).await?;
                    Ok(Outcome::typed(&output)?)
                }
                .boxed()
            })
        });
    }

    /// Binds a pure function to a tool.
    pub fn add_pure<I, O>(&mut self, tool: Tool<I, O>, function: fn(&S, I) -> Result<O, Fault>)
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + 'static,
    {
        self.bind(def(tool.words(), I::json_schema, Some(O::json_schema)), move |server| {
            let server = Arc::clone(server);
            Arc::new(move |arguments, _| {
                let server = Arc::clone(&server);
                async move {
                    let output = function(&server, read::<I>(arguments.as_deref())?)?;
                    Ok(Outcome::typed(&output)?)
                }
                .boxed()
            })
        });
    }

    /// Binds a function that makes its own content (pictures, links) to a tool; its answer has no schema.
    pub fn add_content<I, F, Fut>(&mut self, tool: Tool<I, ()>, function: F)
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(Arc<S>, I, Ctx) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome, ToolError>> + Send + 'static,
    {
        self.bind(def(tool.words(), I::json_schema, None), move |server| {
            let server = Arc::clone(server);
            Arc::new(move |arguments, ctx| {
                let (server, function) = (Arc::clone(&server), function.clone());
                async move { function(server, read::<I>(arguments.as_deref())?, ctx).await }.boxed()
            })
        });
    }

    /// Changes the last added tool's definition: a schema written by hand, an interactive view.
    pub fn adjust(&mut self, change: impl FnOnce(&mut ToolDef)) {
        if let Some((def, _)) = self.entries.last_mut() {
            change(def);
        }
    }

    fn bind(&mut self, def: ToolDef, bind: impl FnOnce(&Arc<S>) -> Run + 'static) {
        self.entries.push((def, Box::new(bind)));
    }

    /// The tools of `server`, by name.
    pub(crate) fn finish(self, server: &Arc<S>) -> BTreeMap<String, Entry> {
        self.entries
            .into_iter()
            .map(|(def, bind)| (def.name.clone(), Entry { def: Arc::new(def), run: bind(server) }))
            .collect()
    }
}

fn def((name, about, hints): Words, input: Make, output: Option<Make>) -> ToolDef {
    let about = about.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned();
    ToolDef {
        name: name.into(),
        about,
        input: schema::input_of(input),
        output: output.map(schema::output_of),
        hints,
        meta: None,
    }
}

/// Reads a call's arguments; the fault names the field that is wrong.
fn read<I: DeserializeOwned>(arguments: Option<&RawValue>) -> Result<I, Fault> {
    typed::read_as(arguments.map_or("{}", RawValue::get), "arguments")
        .map_err(|fault| fault.hint("the tool's inputSchema says what it takes"))
}

/// JSON text of an entry, for a list.
pub fn listing_text(def: &ToolDef, name: &str) -> Box<RawValue> {
    wire::raw(&def.listing(name))
}
