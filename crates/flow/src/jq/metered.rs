//! Programs as they are written, with counting put in: a step at the beginning of every definition and of every turn of a loop, a look at
//! every stage of a pipe. Whatever runs on and on runs through one of these.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::{Part, Path};

use super::natives::{LOOK, STEP};

/// A definition that counts.
pub(super) fn definition(def: Def<&str>) -> Def<&str> {
    Def { name: def.name, args: def.args, body: after(STEP, term(def.body)) }
}

/// `what | term`.
fn after<'s>(what: &'s str, term: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(Term::Call(what, Vec::new())), BinaryOp::Pipe(None), Box::new(term))
}

/// The same inside a box, which is used again.
fn boxed(mut inner: Box<Term<&str>>) -> Box<Term<&str>> {
    *inner = term(std::mem::take(&mut *inner));
    inner
}

/// A term that counts.
pub(super) fn term(whole: Term<&str>) -> Term<&str> {
    match whole {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) | Term::Arr(None) => whole,
        Term::Str(format, parts) => Term::Str(format, parts.into_iter().map(part).collect()),
        Term::Arr(Some(inner)) => Term::Arr(Some(boxed(inner))),
        Term::Obj(fields) => Term::Obj(fields.into_iter().map(|(key, value)| (term(key), value.map(term))).collect()),
        Term::Neg(inner) => Term::Neg(boxed(inner)),
        Term::BinOp(left, BinaryOp::Pipe(variables), right) => {
            let variables = variables.map(pattern);
            Term::BinOp(boxed(left), BinaryOp::Pipe(variables), Box::new(after(LOOK, term(*right))))
        }
        Term::BinOp(left, operation, right) => Term::BinOp(boxed(left), operation, boxed(right)),
        Term::Label(name, inner) => Term::Label(name, boxed(inner)),
        Term::Fold(kind, from, variables, parts) => {
            let mut parts = parts.into_iter();
            let start = parts.next().map(term);
            let turns = parts.map(|turn| after(STEP, term(turn)));
            Term::Fold(kind, boxed(from), pattern(variables), start.into_iter().chain(turns).collect())
        }
        Term::TryCatch(inner, handler) => Term::TryCatch(boxed(inner), handler.map(boxed)),
        Term::IfThenElse(branches, otherwise) => {
            let branches = branches.into_iter().map(|(condition, then)| (term(condition), term(then)));
            Term::IfThenElse(branches.collect(), otherwise.map(boxed))
        }
        Term::Def(definitions, inner) => Term::Def(definitions.into_iter().map(definition).collect(), boxed(inner)),
        Term::Call(name, arguments) => Term::Call(name, arguments.into_iter().map(term).collect()),
        Term::Path(inner, Path(parts)) => {
            let parts = parts.into_iter().map(|(part, optional)| (path_part(part), optional));
            Term::Path(boxed(inner), Path(parts.collect()))
        }
    }
}

fn part<'s>(part: StrPart<&'s str, Term<&'s str>>) -> StrPart<&'s str, Term<&'s str>> {
    match part {
        StrPart::Term(inner) => StrPart::Term(term(inner)),
        other => other,
    }
}

fn path_part(part: Part<Term<&str>>) -> Part<Term<&str>> {
    match part {
        Part::Index(index) => Part::Index(term(index)),
        Part::Range(from, to) => Part::Range(from.map(term), to.map(term)),
    }
}

fn pattern(whole: Pattern<&str>) -> Pattern<&str> {
    match whole {
        Pattern::Var(name) => Pattern::Var(name),
        Pattern::Arr(parts) => Pattern::Arr(parts.into_iter().map(pattern).collect()),
        Pattern::Obj(fields) => {
            Pattern::Obj(fields.into_iter().map(|(key, part)| (term(key), pattern(part))).collect())
        }
    }
}
