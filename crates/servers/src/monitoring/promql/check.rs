//! Says, before anything is computed, what of an expression cannot be computed here.

use kernel::Fault;
use promql_parser::parser::token::*;
use promql_parser::parser::{Expr, VectorMatchFillValues};

use super::{call, window};

/// Deepest tree that is evaluated.
const DEPTH_MAX: usize = 64;

/// The aggregations that are computed here.
pub const SUPPORTED_AGGREGATIONS: &[&str] =
    &["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "count_values", "quantile"];

/// The functions that are computed here, by name.
pub fn supported_functions() -> Vec<&'static str> {
    let mut names: Vec<&str> = window::NAMES.iter().chain(call::NAMES).copied().collect();
    names.sort_unstable();
    names
}

/// Refuses brackets nested too deeply, before anything recursive sees them.
pub(super) fn check_nesting(text: &str) -> Result<(), Fault> {
    let (mut depth, mut quote, mut escaped) = (0usize, None, false);
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            // Backquoted text knows no escapes.
            Some(open) if c == '\\' && open != '`' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' | '`' => quote = Some(c),
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
    }
    Ok(())
}

fn too_deep() -> Fault {
    Fault::too_large(format!("an expression nested deeper than {DEPTH_MAX} levels"))
        .hint("split it into several queries")
}

/// Refuses what is not computed here, by name.
pub(super) fn check(expr: &Expr) -> Result<(), Fault> {
    walk(expr, 0)
}

fn walk(expr: &Expr, depth: usize) -> Result<(), Fault> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    let next = depth + 1;
    match expr {
        Expr::Aggregate(aggregate) => {
            let name = aggregate.op.to_string();
            if !SUPPORTED_AGGREGATIONS.contains(&name.as_str()) {
                return Err(unsupported("aggregation", &name, SUPPORTED_AGGREGATIONS));
            }
            if let Some(param) = &aggregate.param {
                walk(param, next)?;
            }
            walk(&aggregate.expr, next)
        }
        Expr::Unary(unary) => walk(&unary.expr, next),
        Expr::Binary(binary) => {
            let filled = |values: &VectorMatchFillValues| values.lhs.is_some() || values.rhs.is_some();
            if binary.modifier.as_ref().is_some_and(|modifier| filled(&modifier.fill_values)) {
                return Err(unsupported("modifier", "fill", &["on", "ignoring", "group_left", "group_right", "bool"]));
            }
            if !is_operator(binary.op.id()) {
                return Err(unsupported("operator", &binary.op.to_string(), OPERATORS));
            }
            walk(&binary.lhs, next)?;
            walk(&binary.rhs, next)
        }
        Expr::Paren(paren) => walk(&paren.expr, next),
        Expr::Subquery(subquery) => walk(&subquery.expr, next),
        Expr::Call(call) => {
            let name = call.func.name;
            if !window::NAMES.contains(&name) && !call::NAMES.contains(&name) {
                return Err(unsupported("function", name, &supported_functions()));
            }
            call.args.args.iter().try_for_each(|argument| walk(argument, next))
        }
        Expr::Extension(_) => Err(unsupported("node", "extension", &[])),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::VectorSelector(_) | Expr::MatrixSelector(_) => Ok(()),
    }
}

const OPERATORS: &[&str] =
    &["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless"];

fn is_operator(id: TokenId) -> bool {
    matches!(
        id,
        T_ADD
            | T_SUB
            | T_MUL
            | T_DIV
            | T_MOD
            | T_POW
            | T_ATAN2
            | T_EQLC
            | T_NEQ
            | T_GTR
            | T_LSS
            | T_GTE
            | T_LTE
            | T_LAND
            | T_LOR
            | T_LUNLESS
    )
}

fn unsupported(what: &str, name: &str, known: &[&str]) -> Fault {
    Fault::unsupported(format!("the built-in recorder does not compute the {what} `{name}`"))
        .hint(format!("computed here: {}; a Prometheus set as prometheus_url computes everything", known.join(", ")))
}
