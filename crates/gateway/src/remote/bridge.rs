//! Clients of older revisions in front of servers of the current one: what the server asks in its answer is asked on the way, and the
//! request is sent again with what the client said. In one process the same tool asks on the way by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use mcp::ctx::Question;
use mcp::reply::ResultType;
use mcp::wire::{Params, Request};
use mcp::{Ctx, LinkError, Reply, Revision, RpcError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Remote;
use crate::splice;

/// Most rounds of questions one request may have.
const ROUNDS_MAX: usize = 32;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    input_requests: BTreeMap<String, Question>,
    #[serde(default)]
    request_state: Option<String>,
}

impl Remote {
    /// Sends a request until its answer asks nothing more, where the client's revision cannot carry questions in answers.
    pub(super) async fn bridged(
        &self,
        mut request: Request,
        ctx: &Ctx,
        again: bool,
        time: Duration,
    ) -> Result<Reply, LinkError> {
        if ctx.revision.is_modern() {
            return self.send(&request, ctx, again, time).await;
        }
        // The server sees a client of the current revision with what this one can do.
        let there = Ctx { revision: Revision::CURRENT, ..ctx.clone() };
        for _ in 0..ROUNDS_MAX {
            let reply = self.send(&request, &there, again, time).await?;
            if reply.kind != ResultType::InputRequired {
                return Ok(reply);
            }
            request.params = next_round(&request.params, &reply, ctx).await?;
        }
        Err(RpcError::internal(format!("still asking after {ROUNDS_MAX} rounds")).into())
    }
}

/// The parameters of the next round.
async fn next_round(params: &Params, reply: &Reply, ctx: &Ctx) -> Result<Params, RpcError> {
    let bad = |error: serde_json::Error| RpcError::internal(format!("questions that cannot be read: {error}"));
    let asked: Asked = serde_json::from_str(reply.body.get()).map_err(bad)?;
    let mut answers = BTreeMap::new();
    for (key, question) in asked.input_requests {
        let answer = ctx.peer.request(&question.method, &question.params).await?;
        answers.insert(key, answer);
    }
    let answers = mcp::wire::raw(&answers);
    let state = asked.request_state.map(|state| Value::from(state).to_string());
    let mut fields = vec![("inputResponses", answers.get())];
    fields.extend(state.as_deref().map(|state| ("requestState", state)));
    let raw = params.raw.as_deref().map_or("{}", RawValue::get);
    let raw = RawValue::from_string(splice::set(raw, &fields)?).map_err(bad)?;
    Params::parse(Some(&raw))
}
