//! jq as a language of scripts: the engine that workflows and `query_json` have, which has no way to the outside and keeps its own limits on
//! steps, memory, depth and time.
//!
//! The input is what is given as `stdin`, as the JSON that it is or else as a text; `$args` has the arguments and `$env` the environment. What
//! it puts out is its output, a line each: texts as they are, all else as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::bounded::Gate;
use flow::jq::{Outputs, Program, STACK};
use kernel::jail::End;
use kernel::{Code, Fault, Tasks, UnixMs};
use serde_json::Value;

use super::work::{Outcome, STDOUT_BYTES_MAX, cleaned};

/// Most outputs.
const OUTPUTS_MAX: usize = 10_000;

/// A script and what it is given.
pub(super) struct Script {
    pub(super) code: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) stdin: String,
}

/// Runs a script to its end, which comes within `time`.
pub(super) async fn run(script: Script, tasks: &Tasks, now_ms: UnixMs, time: Duration) -> Result<Outcome, Fault> {
    let gate = Gate::new(tasks.clone(), 1, time);
    let ended = gate.run("script", STACK, move || outputs(&script, now_ms)).await;
    let outcome = |end, exit_code, stdout: &str, stderr: &str, result| Outcome {
        end,
        exit_code,
        stdout: cleaned(stdout),
        stderr: cleaned(stderr),
        result,
        memory_peak_bytes: None,
        version: None,
        kept_in: None,
    };
    match ended {
        Ok(outputs) => {
            let values: Vec<Value> =
                outputs.values.iter().filter_map(|value| serde_json::from_str(value.get()).ok()).collect();
            let mut said = String::new();
            for value in &values {
                match value {
                    Value::String(text) => said.push_str(text),
                    other => said.push_str(&other.to_string()),
                }
                said.push('\n');
            }
            if outputs.limited || said.len() > STDOUT_BYTES_MAX {
                said.truncate(said.floor_char_boundary(STDOUT_BYTES_MAX));
                return Ok(outcome(End::OutputLimit, None, &said, "", None));
            }
            let result = match <[Value; 1]>::try_from(values) {
                Ok([one]) => one,
                Err(many) => Value::Array(many),
            };
            Ok(outcome(End::Exited, Some(0), &said, "", Some(result)))
        }
        Err(fault) => match fault.code {
            Code::Timeout => Ok(outcome(End::TimeLimit, None, "", &format!("{fault}\n"), None)),
            Code::TooLarge => Ok(outcome(End::MemoryLimit, None, "", &format!("{fault}\n"), None)),
            Code::InvalidArgument => Ok(outcome(End::Exited, Some(1), "", &format!("{fault}\n"), None)),
            // Not the script's doing.
            _ => Err(fault),
        },
    }
}

fn outputs(script: &Script, now_ms: UnixMs) -> Result<Outputs, Fault> {
    let program = Program::compile(&script.code, &["$args".into(), "$env".into()])?;
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&script.stdin).is_ok();
    let input = match script.stdin.trim() {
        "" => "null".to_owned(),
        _ if is_json => script.stdin.clone(),
        _ => Value::String(script.stdin.clone()).to_string(),
    };
    let (args, env) =
        (serde_json::json!(script.arguments).to_string(), serde_json::json!(script.environment).to_string());
    program.run(&input, &[("$args", &args), ("$env", &env)], now_ms, OUTPUTS_MAX)
}
