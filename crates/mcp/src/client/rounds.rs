//! Requests of several rounds for a client that can be asked directly: a client of an older revision on a server of the current one.
//!
//! The server answers with questions instead of a result; they are put to the client one by one, and the request is sent again with
//! the answers. A client of the current revision sees the questions itself.

use std::collections::BTreeMap;

use kernel::{Code, Fault};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{LinkError, ask};
use crate::ctx::Ctx;
use crate::reply::{Reply, ResultType};
use crate::splice::{Edit, edited};
use crate::wire::{self, Id, Params, Request};

/// Rounds of one request.
const ROUNDS_MAX: usize = 16;
/// Questions of one round.
const QUESTIONS_MAX: usize = 32;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Questions {
    #[serde(default)]
    input_requests: BTreeMap<String, Question>,
    #[serde(default)]
    request_state: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Question {
    method: String,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

/// The rounds of one request.
#[derive(Debug, Default)]
pub(super) struct Rounds(usize);

impl Rounds {
    /// What to send next; nothing when `reply` is the answer.
    ///
    /// # Errors
    /// When the client cannot be asked, or is asked too much.
    pub(super) async fn next(
        &mut self,
        request: &Request,
        reply: &Reply,
        ctx: &Ctx,
    ) -> Result<Option<Request>, LinkError> {
        if reply.kind != ResultType::InputRequired || ctx.revision.is_modern() {
            return Ok(None);
        }
        self.0 += 1;
        if self.0 > ROUNDS_MAX {
            return Err(Fault::upstream(format!("it still asks after {ROUNDS_MAX} rounds")).into());
        }
        let params = answered(&request.params, reply, ctx).await?;
        Ok(Some(Request { params, ..request.clone() }))
    }
}

/// The request's parameters with the answers to what `reply` asks.
async fn answered(params: &Params, reply: &Reply, ctx: &Ctx) -> Result<Params, LinkError> {
    let questions: Questions = serde_json::from_str(reply.body.get())
        .map_err(|error| Fault::upstream(format!("its questions cannot be read: {error}")))?;
    if questions.input_requests.len() > QUESTIONS_MAX {
        return Err(Fault::upstream(format!("it asks {} questions at once", questions.input_requests.len())).into());
    }
    if !ctx.peer.takes_requests() {
        return Err(Fault::new(Code::Unsupported, "it asks the user something, and this client cannot be asked").into());
    }
    let mut answers: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
    for (key, question) in &questions.input_requests {
        let params = Params::parse(question.params.as_deref())?;
        let asked = Request { id: Id::Number(0), method: question.method.clone(), params };
        answers.insert(key, ask::answered(&asked, Some(&ctx.peer)).await?);
    }
    let answers = wire::raw(&answers);
    let state = questions.request_state.as_deref().map_or(Edit::Remove, |state| Edit::Set(state.get()));
    let edits = [("inputResponses", Edit::Set(answers.get())), ("requestState", state)];
    let text = edited(params.raw.as_deref(), &edits).and_then(RawValue::from_string);
    let raw = text.map_err(|error| Fault::internal(error.to_string()))?;
    Ok(Params::parse(Some(&raw))?)
}
