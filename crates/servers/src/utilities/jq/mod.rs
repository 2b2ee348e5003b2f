//! jq programs over JSON, within limits on time, depth, steps and memory, and with no view of the machine.

mod access;
mod arithmetic;
mod meter;
mod metered;
mod natives;
mod patterns;
mod text;
mod value;

use std::collections::BTreeMap;

use jaq_core::load::parse::{Def, Term};
use jaq_core::load::{Arena, File, Loader, lex, parse, span};
use jaq_core::{Compiler, Ctx as JqCtx, Vars};
use mcp::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::value::RawValue;

use self::natives::{Kind, Shared};
use self::value::Val;
use super::Utilities;
use super::bounded::check_size;
use super::encodings::{TEXT_MAX, lower};

/// Longest program, in bytes: the interpreter nests as deep as programs do.
const PROGRAM_MAX: usize = 8 << 10;
/// Most outputs of one program.
const OUTPUTS_MAX: usize = 10_000;
/// Most bytes of all outputs.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Most variables.
const VARIABLES_MAX: usize = 100;
/// Chains of half a million links are dropped link within link; see [`meter`]. Only what is used takes memory.
const STACK: usize = 512 << 20;
/// Under which name the program itself is known to the interpreter.
const MAIN: &str = "flotilla_main";

/// Definitions that jq has and the library lacks, or that the library has by looking at the machine.
const DEFINITIONS: &str = r#"
def localtime: gmtime;
def strflocaltime(f): strftime(f);
def toarray: if isarray then . else [.] end;
def leaf_paths: paths(scalars);
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);
def @csv: [.[] | if isstring then "\"" + gsub("\""; "\"\"") + "\"" elif . == null then "" elif isnumber or isboolean then tostring
  else error("\(.) cannot be a field of CSV") end] | join(",");
def @tsv: [.[] | if isstring then gsub("\\\\"; "\\\\") | gsub("\t"; "\\t") | gsub("\n"; "\\n") | gsub("\r"; "\\r")
  elif . == null then "" elif isnumber or isboolean then tostring else error("\(.) cannot be a field of TSV") end] | join("\t");
"#;

/// Any JSON, kept to the last digit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Exact(pub Box<RawValue>);

impl Default for Exact {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl JsonSchema for Exact {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Exact".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

/// What [`QUERY_JSON`](super::QUERY_JSON) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryJsonRequest {
    /// The jq program, at most 8 KiB: `.items[] | select(.price > 10) | {name, price}`.
    pub program: String,
    /// What it runs on: any JSON, at most 1 MiB. Whole numbers keep all their digits.
    #[serde(default)]
    pub input: Exact,
    /// Variables: `{"min": 3}` is `$min` in the program.
    #[serde(default)]
    pub variables: BTreeMap<String, Exact>,
    /// At most this many outputs, 1 to 10,000.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 10000))]
    pub limit: usize,
}

fn thousand() -> usize {
    1_000
}

/// What [`QUERY_JSON`](super::QUERY_JSON) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueryJsonResponse {
    /// The outputs, in order.
    pub outputs: Vec<Exact>,
    /// Whether the limit ended the program.
    pub limited: bool,
}

impl Utilities {
    pub(super) async fn query_json(
        self: Arc<Self>,
        request: QueryJsonRequest,
        _ctx: Ctx,
    ) -> Result<QueryJsonResponse, ToolError> {
        let now = self.clock.now_ms() as f64 / 1_000.0;
        Ok(self.gate.run("query_json", STACK, move || query(&request, now)).await?)
    }
}

fn query(request: &QueryJsonRequest, now: f64) -> Result<QueryJsonResponse, Fault> {
    check_size("program", &request.program, PROGRAM_MAX)?;
    check_size("input", request.input.0.get(), TEXT_MAX)?;
    if !(1..=OUTPUTS_MAX).contains(&request.limit) {
        return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {OUTPUTS_MAX}")));
    }
    let (names, values) = variables(request)?;
    let filter = compiled(&request.program, &names)?;
    let shared = Shared { lut: filter.lut, now };
    let input = text::read(request.input.0.get()).map_err(|fault| fault.context("input"))?;
    let ctx = JqCtx::<Kind>::new(&shared, Vars::new(values));
    outputs(filter.id.run((ctx, input)), request.limit)
}

/// The names of the variables, each with its `$`, and their values.
fn variables(request: &QueryJsonRequest) -> Result<(Vec<String>, Vec<Val>), Fault> {
    if request.variables.len() > VARIABLES_MAX {
        let text = format!("{} variables", request.variables.len());
        return Err(Fault::too_large(text).hint(format!("at most {VARIABLES_MAX}")));
    }
    let mut names = Vec::new();
    let mut values = Vec::new();
    for (name, value) in &request.variables {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !letters || name.is_empty() || name.len() > 64 || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(
                Fault::invalid("a variable's name").hint("1 to 64 letters, digits and _, not beginning with a digit")
            );
        }
        check_size("a variable", value.0.get(), TEXT_MAX)?;
        names.push(format!("${name}"));
        values.push(text::read(value.0.get()).map_err(|fault| fault.context(format!("variables.{name}")))?);
    }
    Ok((names, values))
}

fn compiled(program: &str, names: &[String]) -> Result<jaq_core::Filter<Kind>, Fault> {
    let main = parsed(program)?;
    let ours = parse(DEFINITIONS, |p| p.defs()).ok_or_else(|| Fault::internal("the definitions cannot be read"))?;
    let library = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(ours);
    let mut defs: Vec<Def<&str>> = library.collect();
    defs.push(Def { name: MAIN, args: Vec::new(), body: main });
    let defs = defs.into_iter().map(metered::definition);
    let arena = Arena::default();
    let loaded = Loader::new(defs).load(&arena, File { code: MAIN, path: () });
    let modules = loaded.map_err(|_| Fault::internal("the program's own name cannot be read"))?;
    let compiler = Compiler::default().with_funs(natives::all()).with_global_vars(names.iter().map(String::as_str));
    compiler.compile(modules).map_err(|errors| match errors.first().and_then(|(_, errors)| errors.first()) {
        Some((name, kind)) => {
            let fault = Fault::invalid(format!("program: there is no {} `{name}`", kind.as_str()));
            fault.hint("variables are given in `variables`; nothing reads files, further inputs or the environment")
        }
        None => Fault::internal("the program cannot be compiled"),
    })
}

/// The program's term; a refusal says where and what.
fn parsed(program: &str) -> Result<Term<&str>, Fault> {
    let at = |rest: &str| span(program, rest).start;
    let found = |rest: &str| {
        rest.chars().next().map_or("the end".to_owned(), |_| format!("`{}`", rest.chars().take(20).collect::<String>()))
    };
    let hint = "a jq program, like .items[] | select(.price > 10) | .name";
    let tokens = lex::Lexer::new(program).lex().map_err(|errors| match errors.first() {
        Some((expected, rest)) => {
            Fault::invalid(format!("program at {}: {} where a {} should be", at(rest), found(rest), expected.as_str()))
                .hint(hint)
        }
        None => Fault::invalid("program cannot be read").hint(hint),
    })?;
    jaq_core::load::Parser::new(&tokens).parse(|p| p.term()).map_err(|errors| match errors.first() {
        Some((expected, token)) => {
            let rest = lex::Token::opt_as_str(*token, program);
            Fault::invalid(format!("program at {}: {} where {} should be", at(rest), found(rest), expected.as_str()))
                .hint(hint)
        }
        None => Fault::invalid("program cannot be read").hint(hint),
    })
}

fn outputs<'a>(run: impl Iterator<Item = jaq_core::ValX<'a, Val>>, limit: usize) -> Result<QueryJsonResponse, Fault> {
    let mut outputs = Vec::new();
    let mut bytes = 0;
    for output in run {
        if let Some(fault) = meter::refusal() {
            return Err(fault);
        }
        if outputs.len() == limit {
            return Ok(QueryJsonResponse { outputs, limited: true });
        }
        let value = match output {
            Ok(value) => value,
            Err(exception) => match exception.get_err() {
                Ok(error) => return Err(failed(&error.into_val())),
                // `halt`: what came before it stands.
                Err(_) => break,
            },
        };
        let text = text::json(&value);
        bytes += text.len();
        if bytes > OUTPUT_BYTES_MAX {
            return Err(
                Fault::too_large(format!("the outputs have more than {OUTPUT_BYTES_MAX} bytes")).hint("ask for less")
            );
        }
        let raw = RawValue::from_string(text).map_err(|error| Fault::internal(format!("output: {error}")))?;
        outputs.push(Exact(raw));
    }
    match meter::refusal() {
        Some(fault) => Err(fault),
        None => Ok(QueryJsonResponse { outputs, limited: false }),
    }
}

fn failed(error: &Val) -> Fault {
    /// Longest message of a program's own, in characters.
    const MESSAGE_MAX: usize = 500;
    let message = match error {
        Val::Str(text) => lower(&text.it.chars().take(MESSAGE_MAX).collect::<String>()),
        other => other.to_string(),
    };
    Fault::invalid(format!("the program failed: {message}")).hint("`?` and `try` catch errors")
}
