//! The rules that we can explain, and what each tool calls them.

use kernel::Result;
use kernel::limits::nearest;
use mcp::prelude::*;
use serde_json::{Value, json};

use super::secrets;
use crate::workshop::places::shown;

/// A rule.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// What it finds.
    finds: &'static str,
    /// Why that matters, and what to do.
    advice: &'static str,
    /// What tools call it: `tool:rule`.
    same: &'static [&'static str],
}

const fn rule(name: &'static str, finds: &'static str, advice: &'static str, same: &'static [&'static str]) -> Rule {
    Rule { name, finds, advice, same }
}

/// Those that several tools have, or that are our own.
const RULES: &[Rule] = &[
    rule(
        "reentrancy",
        "a call to outside before the state is written that the call may use again",
        "the called contract may come back and act on what is not written yet; write state first, call last, or guard the functions with a lock",
        &[
            "slither:reentrancy-eth",
            "slither:reentrancy-no-eth",
            "slither:reentrancy-balance",
            "solhint:reentrancy",
            "semgrep:flotilla-reentrancy",
        ],
    ),
    rule(
        "tx-origin",
        "permission given by tx.origin",
        "any contract that the owner calls can pass as the owner; compare msg.sender",
        &["slither:tx-origin", "solhint:avoid-tx-origin", "semgrep:flotilla-tx-origin"],
    ),
    rule(
        "unchecked-call",
        "a low-level call or send whose success nobody looks at",
        "what failed goes on as if it were done; require the returned boolean",
        &[
            "slither:unchecked-lowlevel",
            "slither:unchecked-send",
            "forge-lint:unchecked-call",
            "solhint:check-send-result",
        ],
    ),
    rule(
        "unchecked-transfer",
        "an ERC-20 transfer whose returned boolean nobody looks at",
        "some tokens return false instead of reverting; use a safe transfer that checks both",
        &["slither:unchecked-transfer", "forge-lint:erc20-unchecked-transfer"],
    ),
    rule(
        "controlled-delegatecall",
        "delegatecall to an address or with data that a caller chooses",
        "the called code acts with this contract's storage and funds; only delegate to code that is fixed",
        &["slither:controlled-delegatecall", "slither:delegatecall-loop", "semgrep:flotilla-delegatecall"],
    ),
    rule(
        "suicidal",
        "selfdestruct that anybody may reach",
        "anybody ends the contract and takes its ether; remove it, or guard it",
        &["slither:suicidal", "solhint:avoid-suicide", "semgrep:flotilla-selfdestruct"],
    ),
    rule(
        "arbitrary-send",
        "ether sent to an address that a caller chooses",
        "who may call it may empty the contract; fix the receiver or authorise the caller",
        &["slither:arbitrary-send-eth", "slither:arbitrary-send-erc20"],
    ),
    rule(
        "weak-randomness",
        "chance made of what block producers choose",
        "whoever makes the block, or calls in it, chooses the result; use a verifiable source or commit and reveal",
        &["slither:weak-prng"],
    ),
    rule(
        "block-timestamp",
        "a decision on the block's timestamp",
        "it can be moved by seconds; do not decide on it what seconds change",
        &["slither:timestamp", "solhint:not-rely-on-time", "forge-lint:block-timestamp"],
    ),
    rule(
        "divide-before-multiply",
        "a division whose result is multiplied",
        "integers lose the remainder first; multiply, then divide",
        &["slither:divide-before-multiply", "forge-lint:divide-before-multiply"],
    ),
    rule(
        "incorrect-shift",
        "a shift with its operands in the wrong order",
        "the value is not what is meant; swap the operands",
        &["slither:incorrect-shift", "forge-lint:incorrect-shift"],
    ),
    rule(
        "unsafe-typecast",
        "a cast that may cut digits off",
        "the value changes in silence; check its range first",
        &["forge-lint:unsafe-typecast"],
    ),
    rule(
        "uninitialized-state",
        "state that is read and never written",
        "it is zero for ever; set it, or remove it",
        &["slither:uninitialized-state", "slither:uninitialized-storage"],
    ),
    rule(
        "missing-zero-check",
        "an address that is kept or called and may be zero",
        "what goes to the zero address is lost; refuse it",
        &["slither:missing-zero-check"],
    ),
    rule(
        "low-level-call",
        "a low-level call",
        "types, existence and success are not checked for you; prefer an interface",
        &["slither:low-level-calls", "solhint:avoid-low-level-calls"],
    ),
    rule(
        "assembly",
        "inline assembly",
        "the compiler's checks do not hold in it; keep it small and tested",
        &["slither:assembly", "solhint:no-inline-assembly"],
    ),
    rule(
        "compiler-version",
        "a range of compiler versions that is too wide or too old",
        "what was tested is not what is deployed; fix one version",
        &["slither:solc-version", "slither:pragma", "solhint:compiler-version"],
    ),
    rule(
        "naming",
        "a name that is not written as the language's style has it",
        "readers are misled; rename it",
        &[
            "slither:naming-convention",
            "forge-lint:mixed-case-function",
            "forge-lint:mixed-case-variable",
            "forge-lint:pascal-case-struct",
            "forge-lint:screaming-snake-case-const",
            "solhint:func-name-mixedcase",
            "solhint:var-name-mixedcase",
            "solhint:const-name-snakecase",
        ],
    ),
    rule(
        "immutable-states",
        "state that is written by the constructor only",
        "each read costs gas; make it immutable or constant",
        &["slither:immutable-states", "slither:constable-states", "forge-lint:screaming-snake-case-immutable"],
    ),
    rule(
        "unused-import",
        "an import that nothing uses",
        "readers look for what is not there; remove it",
        &["ruff:F401", "forge-lint:unused-import", "solhint:no-unused-import"],
    ),
    rule(
        "eval",
        "text that is run as code",
        "who chooses the text runs what they like; parse it instead",
        &["ruff:S307", "ruff:S102", "eslint:no-eval", "semgrep:flotilla-python-eval", "semgrep:flotilla-js-eval"],
    ),
    rule(
        "shell-command",
        "a command that goes through a shell",
        "who chooses a part of it runs what they like; give the words as a list, without a shell",
        &["ruff:S602", "ruff:S604", "ruff:S605", "semgrep:flotilla-python-shell"],
    ),
    rule(
        "undefined-name",
        "a name that nothing defines",
        "it fails when it is reached; define or import it",
        &["ruff:F821", "eslint:no-undef"],
    ),
    rule(
        "complex-function",
        "a function with many ways through",
        "nobody tests them all; split it",
        &["clippy:cognitive_complexity", "ruff:C901", "solhint:code-complexity", "eslint:complexity"],
    ),
    rule(secrets::PRIVATE_KEY, "a private key of Ethereum's curve", SECRET_ADVICE, &[]),
    rule(secrets::PEM, "a private key in PEM", SECRET_ADVICE, &[]),
    rule(secrets::PHRASE, "a recovery phrase of a wallet", SECRET_ADVICE, &[]),
    rule(secrets::TOKEN, "a token of a known service, by its form", SECRET_ADVICE, &[]),
    rule(secrets::CREDENTIALS, "a password in a URL", SECRET_ADVICE, &[]),
    rule(
        secrets::ASSIGNED,
        "a value that looks random under a name of a secret",
        SECRET_ADVICE,
        &["ruff:S105", "ruff:S106", "ruff:S107"],
    ),
    rule(
        secrets::DEVELOPMENT,
        "a development key that everybody knows",
        "whatever is sent to it on a real chain is taken at once; use it on development chains only",
        &[],
    ),
];

const SECRET_ADVICE: &str = "whoever has read the repository has it, and its history keeps it: make a new one first, then take this one out, and read it from the environment or a file";

/// What [`EXPLAIN_RULE`](super::EXPLAIN_RULE) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRuleRequest {
    /// The rule, as a finding has it, or as a tool calls it: `tx-origin`, `slither:tx-origin`, `clippy:ptr_arg`.
    pub rule: String,
}

/// What [`EXPLAIN_RULE`](super::EXPLAIN_RULE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExplainRuleResponse {
    /// The rule's name in findings.
    pub rule: String,
    /// What it finds. Empty where only its tool knows.
    pub finds: String,
    /// Why that matters, and what to do.
    pub advice: String,
    /// What tools call it.
    pub same_as: Vec<String>,
    /// Where its tool explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation: Option<String>,
}

/// The name that findings have for a tool's rule.
pub(super) fn common(tool: &str, rule: &str) -> String {
    let said = format!("{tool}:{rule}");
    let found = RULES.iter().find(|one| one.same.contains(&said.as_str()) || (tool == "secrets" && one.name == rule));
    match found {
        Some(one) => one.name.to_owned(),
        None if tool == "secrets" => rule.to_owned(),
        None => said,
    }
}

/// Where a tool explains its rule.
fn documentation(said: &str) -> Option<String> {
    let (tool, rule) = said.split_once(':')?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@".contains(&byte);
    if rule.is_empty() || !rule.bytes().all(fits) {
        return None;
    }
    match tool {
        "clippy" => Some(format!("https://rust-lang.github.io/rust-clippy/stable/index.html#{rule}")),
        "rustc" => Some("https://doc.rust-lang.org/rustc/lints/index.html".into()),
        "slither" => Some(format!("https://github.com/crytic/slither/wiki/Detector-Documentation#{rule}")),
        "forge-lint" => Some(format!("https://book.getfoundry.sh/reference/forge/forge-lint#{rule}")),
        "solhint" => Some("https://github.com/protofire/solhint/blob/develop/docs/rules.md".into()),
        "ruff" => Some(format!("https://docs.astral.sh/ruff/rules/#{}", rule.to_lowercase())),
        "eslint" => Some(format!("https://eslint.org/docs/latest/rules/{rule}")),
        _ => None,
    }
}

/// A rule as SARIF describes it.
pub(super) fn sarif(name: &str) -> Value {
    let mut rule = json!({ "id": name });
    let known = RULES.iter().find(|one| one.name == name);
    if let Some(known) = known {
        rule["shortDescription"] = json!({ "text": known.finds });
        rule["help"] = json!({ "text": known.advice });
    }
    if let Some(link) = documentation(known.and_then(|known| known.same.first()).unwrap_or(&name)) {
        rule["helpUri"] = json!(link);
    }
    rule
}

impl super::Quality {
    pub(super) fn explain_rule(&self, request: &ExplainRuleRequest) -> Result<ExplainRuleResponse> {
        let asked = request.rule.as_str();
        let bare = asked.split_once(':').map_or(asked, |(_, rule)| rule);
        let known = RULES.iter().find(|one| {
            let calls = |said: &&&str| **said == asked || said.split_once(':').is_some_and(|(_, rule)| rule == bare);
            one.name == asked || one.same.iter().any(|said| calls(&said) && (asked == bare || *said == asked))
        });
        if let Some(known) = known {
            return Ok(ExplainRuleResponse {
                rule: known.name.to_owned(),
                finds: known.finds.to_owned(),
                advice: known.advice.to_owned(),
                same_as: known.same.iter().map(|said| (*said).to_owned()).collect(),
                documentation: documentation(known.same.first().unwrap_or(&asked)),
            });
        }
        if let Some(link) = documentation(asked) {
            return Ok(ExplainRuleResponse {
                rule: asked.to_owned(),
                finds: String::new(),
                advice: "its tool explains it; see documentation".into(),
                same_as: Vec::new(),
                documentation: Some(link),
            });
        }
        let names: Vec<&str> = RULES.iter().map(|one| one.name).collect();
        let hint = match nearest(asked, &names) {
            Some(near) => format!("did you mean {near}?"),
            None => "the rule of a finding, or tool:rule, like clippy:ptr_arg".into(),
        };
        Err(Fault::not_found(format!("no rule `{}`", shown(asked))).hint(hint))
    }
}
