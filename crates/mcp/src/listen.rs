//! `subscriptions/listen`: what a client of the current revision asked to hear of, and how it is told.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::ctx::Ctx;
use crate::error::{RpcError, codes};
use crate::handler::{Change, Handler, Watch};
use crate::wire::{self, Id, Request};

/// The tasks extension.
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// Resources and tasks one subscription may name.
const NAMED_MAX: usize = 1_000;

/// What is to be heard of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(skip_serializing_if = "is_false")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "is_false")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "is_false")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    resource_subscriptions: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    task_ids: BTreeSet<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this form")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    id: Id,
    caller: String,
    filter: Filter,
    /// Held for as long as the client listens.
    _watches: Vec<Watch>,
}

impl Subscription {
    /// Reads a `subscriptions/listen` request, and leaves out what the server does not announce.
    ///
    /// # Errors
    /// When the filter is malformed, too long, or names tasks without declaring their extension.
    pub async fn open(request: &Request, ctx: &Ctx, handler: &dyn Handler) -> Result<Self, RpcError> {
        #[derive(Deserialize)]
        struct Listen {
            notifications: Filter,
        }
        let Listen { notifications: mut filter } = request.params.read()?;
        if filter.resource_subscriptions.len() + filter.task_ids.len() > NAMED_MAX {
            return Err(RpcError::invalid_params(format!("more than {NAMED_MAX} resources and tasks")));
        }
        if !filter.task_ids.is_empty() && !ctx.client.has_extension(TASKS_EXTENSION) {
            return Err(needs_tasks_extension());
        }
        let identity = handler.identity();
        let can = |path: &str| identity.capabilities.pointer(path).is_some_and(|value| *value != json!(false));
        filter.tools_list_changed &= can("/tools/listChanged");
        filter.prompts_list_changed &= can("/prompts/listChanged");
        filter.resources_list_changed &= can("/resources/listChanged");
        if identity.capabilities.get("extensions").and_then(|all| all.get(TASKS_EXTENSION)).is_none() {
            filter.task_ids.clear();
        }
        let asked = std::mem::take(&mut filter.resource_subscriptions);
        let mut watches = Vec::new();
        for uri in asked.into_iter().filter(|_| can("/resources/subscribe")) {
            // What cannot be watched is left out of what is acknowledged.
            if let Ok(watch) = handler.watch(&uri, ctx).await {
                watches.push(watch);
                filter.resource_subscriptions.insert(uri);
            }
        }
        Ok(Self { id: request.id.clone(), caller: ctx.caller.name.clone(), filter, _watches: watches })
    }

    /// The first message: what will be heard of.
    pub fn acknowledgement(&self) -> String {
        let params = json!({ "_meta": self.meta(), "notifications": self.filter });
        wire::notification_text("notifications/subscriptions/acknowledged", Some(&wire::raw(&params)))
    }

    /// The message that tells of `change`, if it was asked for.
    pub fn news(&self, change: &Change) -> Option<String> {
        let filter = &self.filter;
        let plain = || json!({ "_meta": self.meta() });
        let (method, params) = match change {
            Change::Tools if filter.tools_list_changed => ("notifications/tools/list_changed", plain()),
            Change::Prompts if filter.prompts_list_changed => ("notifications/prompts/list_changed", plain()),
            Change::Resources if filter.resources_list_changed => ("notifications/resources/list_changed", plain()),
            Change::Resource(uri) if filter.resource_subscriptions.contains(uri) => {
                ("notifications/resources/updated", json!({ "_meta": self.meta(), "uri": uri }))
            }
            Change::Task { id, owner, body } if *owner == self.caller && filter.task_ids.contains(id) => {
                return self.tagged("notifications/tasks", body);
            }
            _ => return None,
        };
        Some(wire::notification_text(method, Some(&wire::raw(&params))))
    }

    /// The messages for a client that missed some changes: everything it listens to may be different.
    pub fn missed(&self) -> Vec<String> {
        let resources = self.filter.resource_subscriptions.iter().map(|uri| Change::Resource(uri.clone()));
        let all = [Change::Tools, Change::Prompts, Change::Resources].into_iter().chain(resources);
        all.filter_map(|change| self.news(&change)).collect()
    }

    /// The answer that ends the subscription in good order.
    pub fn closing(&self) -> String {
        let result = json!({ "resultType": "complete", "_meta": self.meta() });
        wire::result_text(&self.id, &wire::raw(&result))
    }

    /// Which request opened it.
    pub fn id(&self) -> &Id {
        &self.id
    }

    fn meta(&self) -> serde_json::Value {
        json!({ "io.modelcontextprotocol/subscriptionId": self.id })
    }

    /// A notification whose parameters are JSON already, with the subscription's id put in.
    fn tagged(&self, method: &str, body: &str) -> Option<String> {
        let rest = body.trim_start().strip_prefix('{')?.trim_start();
        let comma = if rest.starts_with('}') { "" } else { "," };
        let params = RawValue::from_string(format!(r#"{{"_meta":{}{comma}{rest}"#, self.meta())).ok()?;
        Some(wire::notification_text(method, Some(&params)))
    }
}

/// A subscription while it lasts: its messages, first to last.
pub(crate) struct Listener {
    subscription: Subscription,
    changes: Receiver<Change>,
    stopping: CancellationToken,
    ready: VecDeque<String>,
    ended: bool,
}

impl Listener {
    /// Begins with the acknowledgement; ends in good order when `stopping` is cancelled.
    pub(crate) fn new(subscription: Subscription, changes: Receiver<Change>, stopping: CancellationToken) -> Self {
        let ready = [subscription.acknowledgement()].into();
        Self { subscription, changes, stopping, ready, ended: false }
    }

    /// The next message; `None` after the last. Nothing is lost when this is dropped half-way.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            if self.ended {
                return None;
            }
            let change = tokio::select! {
                change = self.changes.recv() => change,
                () = self.stopping.cancelled() => Err(RecvError::Closed),
            };
            match change {
                Ok(change) => self.ready.extend(self.subscription.news(&change)),
                Err(RecvError::Lagged(_)) => self.ready.extend(self.subscription.missed()),
                Err(RecvError::Closed) => {
                    self.ended = true;
                    self.ready.push_back(self.subscription.closing());
                }
            }
        }
    }
}

/// The refusal of a request about tasks from a client that did not declare their extension.
pub fn needs_tasks_extension() -> RpcError {
    let data = json!({ "requiredCapabilities": { "extensions": { TASKS_EXTENSION: {} } } });
    RpcError::new(codes::MISSING_CAPABILITY, "the client did not declare the tasks extension, which this request needs")
        .data(data)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use std::sync::Arc;

    use async_trait::async_trait;
    use kernel::{Caller, Role, Trace};

    use super::*;
    use crate::ctx::Client;
    use crate::handler::Identity;
    use crate::reply::Reply;
    use crate::wire::Params;

    struct Shop;

    #[async_trait]
    impl Handler for Shop {
        fn identity(&self) -> Arc<Identity> {
            let capabilities = json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true },
                "extensions": { TASKS_EXTENSION: {} } });
            let (name, title, version) = ("shop".into(), "Shop".into(), "1".into());
            Arc::new(Identity { name, title, version, instructions: None, capabilities })
        }

        async fn handle(&self, request: Request, _ctx: Ctx) -> Result<Reply, RpcError> {
            Err(RpcError::method_not_found(&request.method))
        }

        fn changes(&self) -> Receiver<Change> {
            tokio::sync::broadcast::channel(1).1
        }
    }

    async fn open(notifications: serde_json::Value, capabilities: serde_json::Value) -> Result<Subscription, RpcError> {
        let mut ctx = Ctx::internal(Caller::new("ann", Role::Viewer), Trace::root());
        ctx.client = Arc::new(Client { capabilities, info: json!({}) });
        let params = Params::of(&json!({ "notifications": notifications })).unwrap();
        let request = Request { id: Id::Number(7), method: "subscriptions/listen".into(), params };
        Subscription::open(&request, &ctx, &Shop).await
    }

    #[tokio::test]
    async fn only_what_was_asked_for_and_exists_is_told() {
        let asked = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["a://1"] });
        let subscription = open(asked, json!({})).await.unwrap();
        expect![[r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a://1"]}}}"#]]
            .assert_eq(&subscription.acknowledgement());
        assert!(subscription.news(&Change::Tools).is_some());
        assert!(subscription.news(&Change::Prompts).is_none(), "the server announces none");
        assert!(subscription.news(&Change::Resources).is_none());
        assert!(subscription.news(&Change::Resource("a://2".into())).is_none());
        assert_eq!(subscription.missed().len(), 2);
    }

    #[tokio::test]
    async fn tasks_are_told_to_their_owner_alone() {
        assert_eq!(open(json!({ "taskIds": ["t"] }), json!({})).await.unwrap_err().code, codes::MISSING_CAPABILITY);
        let subscription =
            open(json!({ "taskIds": ["t"] }), json!({ "extensions": { TASKS_EXTENSION: {} } })).await.unwrap();
        let task = |owner: &str| Change::Task { id: "t".into(), owner: owner.into(), body: r#"{"taskId":"t"}"#.into() };
        assert!(subscription.news(&task("bob")).is_none());
        expect![[r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"taskId":"t"}}"#]]
            .assert_eq(&subscription.news(&task("ann")).unwrap());
    }
}
