//! Requests that upstreams send to their clients, in revisions that have such.

use serde_json::value::RawValue;

use crate::error::{RpcError, codes};
use crate::peer::Peer;
use crate::wire::{self, Id, Request};

/// Answers an upstream's request: a ping at once, a question by the client behind `peer`, if there is one that can be asked.
///
/// A client of the current revision cannot be asked in the middle of its request: that way of bridging would begin here. The other
/// one, a server of the current revision that asks an older client, is in `rounds`.
pub(super) async fn answered(request: &Request, peer: Option<&Peer>) -> Result<Box<RawValue>, RpcError> {
    match (request.method.as_str(), peer.filter(|peer| peer.takes_requests())) {
        ("ping", _) => Ok(wire::raw(&serde_json::json!({}))),
        ("elicitation/create" | "sampling/createMessage" | "roots/list", Some(peer)) => {
            let empty = RawValue::from_string("{}".into()).map_err(|error| RpcError::internal(error.to_string()))?;
            let params = request.params.raw.as_deref().unwrap_or(&empty);
            peer.request(&request.method, &params).await
        }
        ("elicitation/create" | "sampling/createMessage" | "roots/list", None) => Err(RpcError::new(
            codes::METHOD_NOT_FOUND,
            format!(
                "{}: the client speaks another revision, and questions are not carried across revisions yet",
                request.method
            ),
        )),
        (method, _) => Err(RpcError::method_not_found(method)),
    }
}

/// The message that answers it.
pub(super) fn answer_text(id: &Id, outcome: &Result<Box<RawValue>, RpcError>) -> String {
    match outcome {
        Ok(result) => wire::result_text(id, result),
        Err(error) => wire::error_text(Some(id), error),
    }
}
