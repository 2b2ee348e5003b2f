//! jq programs over JSON, within limits on time, depth, steps and memory, and with no view of the machine.
//!
//! A program runs inside [`Gate::run`](crate::bounded::Gate::run) with a stack of [`STACK`]: the limits of one computation are those of its
//! thread, and a thread may run several programs within them.

mod access;
mod arithmetic;
mod meter;
mod metered;
mod natives;
mod patterns;
mod text;
mod value;

use std::sync::Arc;

use jaq_core::compile::TermId;
use jaq_core::load::parse::{Def, Term};
use jaq_core::load::{Arena, File, Loader, lex, parse, span};
use jaq_core::{Compiler, Ctx, Lut, Vars};
use kernel::fault::lower;
use kernel::{Fault, UnixMs};
use serde_json::Value;
use serde_json::value::RawValue;

use self::natives::{Kind, Shared};
use self::value::Val;
use crate::bounded::check_size;

/// Longest program, in bytes: the interpreter nests as deep as programs do.
pub const PROGRAM_MAX: usize = 8 << 10;
/// Most bytes of all outputs.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Chains of half a million links are dropped link within link; see [`meter`]. Only what is used takes memory.
pub const STACK: usize = 512 << 20;
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

/// A program, ready to run any number of times on any thread.
#[derive(Clone)]
pub struct Program {
    id: TermId,
    lut: Arc<Lut<Kind>>,
}

/// What a program gave.
#[derive(Debug)]
pub struct Outputs {
    /// The outputs, in order.
    pub values: Vec<Box<RawValue>>,
    /// Whether the limit ended the program.
    pub limited: bool,
}

impl Program {
    /// Reads a program that may use the variables `names`, each with its `$`.
    ///
    /// # Errors
    /// Where it cannot be read, or what it names that does not exist.
    pub fn compile(program: &str, names: &[String]) -> Result<Self, Fault> {
        check_size("program", program, PROGRAM_MAX)?;
        let filter = compiled(program, names)?;
        Ok(Self { id: filter.id, lut: Arc::new(filter.lut) })
    }

    /// Runs it on JSON texts: the input, and a value for each variable. Whole numbers keep all their digits.
    ///
    /// # Errors
    /// What a text, or the program itself, fails with; `too_large` or `timeout` when it uses up what it may.
    pub fn run(&self, input: &str, values: &[(&str, &str)], now_ms: UnixMs, limit: usize) -> Result<Outputs, Fault> {
        meter::begin();
        let values = values.iter().map(|(name, value)| text::read(value).map_err(|fault| fault.context(name)));
        let values = values.collect::<Result<_, _>>()?;
        let input = text::read(input).map_err(|fault| fault.context("input"))?;
        self.run_on(input, values, now_ms, limit)
    }

    /// Runs it on values, in the order of the variables' names.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_values(&self, input: &Value, values: &[&Value], now_ms: UnixMs, limit: usize) -> Result<Outputs, Fault> {
        meter::begin();
        let values = values.iter().map(|value| text::of_value(value)).collect();
        self.run_on(text::of_value(input), values, now_ms, limit)
    }

    fn run_on(&self, input: Val, values: Vec<Val>, now_ms: UnixMs, limit: usize) -> Result<Outputs, Fault> {
        let shared = Shared { lut: Arc::clone(&self.lut), now: now_ms as f64 / 1_000.0 };
        let ctx = Ctx::<Kind>::new(&shared, Vars::new(values));
        outputs(self.id.run((ctx, input)), limit)
    }
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

fn outputs<'a>(run: impl Iterator<Item = jaq_core::ValX<'a, Val>>, limit: usize) -> Result<Outputs, Fault> {
    let mut values = Vec::new();
    let mut bytes = 0;
    for output in run {
        if let Some(fault) = meter::refusal() {
            return Err(fault);
        }
        if values.len() == limit {
            return Ok(Outputs { values, limited: true });
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
        values.push(raw);
    }
    match meter::refusal() {
        Some(fault) => Err(fault),
        None => Ok(Outputs { values, limited: false }),
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
