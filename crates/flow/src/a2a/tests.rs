//! The methods on a world of fakes, in the words that travel.

use expect_test::{Expect, expect};
use kernel::Role;
use kernel::fake::World;
use kernel::offers::TaskType;
use kernel::queue::{Claim, Ending, Failure, Holding, Outcome};

use super::*;

/// A world with an agent of two skills, of which one takes text.
async fn desk() -> (World, Desk) {
    let world = World::default();
    let offers = Offers::new(world.store.clone(), world.clock.clone());
    let types = vec![
        TaskType { text: Some("goal".into()), ..TaskType::named("plan") },
        TaskType { access: Access::Trade, about: "Trades.".into(), ..TaskType::named("trade") },
    ];
    offers.put("doer", types).await.unwrap();
    let desk = Desk::new("doer", &world.ports());
    (world, desk)
}

fn ann() -> Caller {
    Caller::new("ann", Role::Operator)
}

/// A message that is not waited for.
fn message(id: &str, parts: Value, metadata: Value) -> Value {
    json!({
        "message": { "messageId": id, "role": "ROLE_USER", "parts": parts, "metadata": metadata },
        "configuration": { "returnImmediately": true, "historyLength": 0 },
    })
}

async fn asked(desk: &Desk, method: &str, params: Value, caller: &Caller) -> String {
    match desk.call(method, params, caller).await {
        Ok(Answer::Whole(result)) => result.to_string(),
        Ok(Answer::Follow(task)) => format!("follow {}", task.id),
        Err(refusal) => format!("{} {}", refusal.code, refusal.fault),
    }
}

/// What became of a message: its task's type and payload, or the refusal.
async fn wished(parts: Value, metadata: Value, expect: Expect) {
    let (world, desk) = desk().await;
    let told = asked(&desk, "SendMessage", message("m", parts, metadata), &ann()).await;
    let tasks = world.queue.list(&Filter::default(), None, 10).await.unwrap();
    let task = tasks.first().map(|task| format!("{} {}", task.task_type, task.payload));
    expect.assert_eq(&task.unwrap_or(told));
}

#[tokio::test]
async fn a_message_says_which_skill_and_with_what() {
    let plan = || json!({ "skill": "plan" });
    let text = |text: &str| json!([{ "text": text }]);
    wished(json!([{ "data": { "goal": "x" } }]), plan(), expect![[r#"plan {"goal":"x"}"#]]).await;
    wished(text("get rich"), plan(), expect![[r#"plan {"goal":"get rich"}"#]]).await;
    wished(text("plan get rich"), Value::Null, expect![[r#"plan {"goal":"get rich"}"#]]).await;
    wished(text("plan {\"goal\": 1}"), Value::Null, expect![[r#"plan {"goal":1}"#]]).await;
    wished(text("plan"), Value::Null, expect!["plan {}"]).await;
    wished(json!([{ "text": "get" }, { "text": "rich" }]), plan(), expect![[r#"plan {"goal":"get\nrich"}"#]]).await;
    wished(json!([{ "data": { "a": 1 } }, { "text": "x" }]), plan(), expect![[r#"plan {"a":1,"goal":"x"}"#]]).await;
    wished(
        json!([{ "data": { "goal": 1 } }, { "text": "x" }]),
        plan(),
        expect!["-32602 invalid_argument: both a text and data for plan, which takes no text (one of them)"],
    )
    .await;
    wished(
        json!([{ "data": 1 }, { "data": 2 }]),
        plan(),
        expect!["-32602 invalid_argument: message.parts: two data parts (one)"],
    )
    .await;
    wished(
        json!([{ "url": "https://x/y" }]),
        plan(),
        expect!["-32005 unsupported: message.parts: a file (text, or one data part)"],
    )
    .await;
    wished(json!([]), plan(), expect!["-32602 invalid_argument: message.parts has 0 (1 to 16)"]).await;
    wished(
        text("plan {"),
        Value::Null,
        expect!["-32602 invalid_argument: the text is no JSON object: EOF while parsing an object at line 1 column 1"],
    )
    .await;
    wished(text("get rich"), Value::Null, expect![[r#"-32602 invalid_argument: the message names none of the skills of agent doer (metadata: {"skill": …}, or the skill as the first word; it has plan, trade)"#]]).await;
    wished(
        text("x"),
        json!({ "skill": "plann" }),
        expect!["-32602 not_found: agent doer has no skill `plann` (did you mean `plan`? it has plan, trade)"],
    )
    .await;
    wished(text("trade"), Value::Null, expect!["-32000 permission_denied: role operator may not use agent:doer.trade (needs a key with role trader: `flotilla token create NAME --role trader`)"]).await;
}

/// Has the newest task that waits ended.
async fn end(world: &World, outcome: Outcome) {
    let types = vec!["plan".into()];
    let claim = Claim { queue: "doer".into(), types, limit: 1, lease_ms: 60_000, worker: "w".into() };
    let task = world.queue.claim(&claim).await.unwrap().tasks.remove(0);
    let holding = Holding { id: task.id, attempt: task.attempts };
    world.queue.finish(vec![Ending { holding, outcome }]).await.unwrap()[0].as_ref().unwrap();
}

#[tokio::test]
async fn the_same_message_is_the_same_task_and_its_end_is_told() {
    let (world, desk) = desk().await;
    let send = || message("m-1", json!([{ "text": "plan a" }]), Value::Null);
    let first = asked(&desk, "SendMessage", send(), &ann()).await;
    let told: Value = serde_json::from_str(&first).unwrap();
    let task = &told["task"];
    assert_eq!((&task["id"], &task["status"]["state"]), (&json!("task_1"), &json!("TASK_STATE_SUBMITTED")), "{told}");
    assert_eq!(task["status"]["timestamp"], "2026-11-15T08:00:00Z");
    assert!(task["contextId"].as_str().unwrap().starts_with("ctx-"), "{told}");
    assert!(task["history"].is_null(), "none was asked for: {told}");
    assert_eq!(ordered(&asked(&desk, "SendMessage", send(), &ann()).await), ordered(&first));
    let other = asked(&desk, "SendMessage", message("m-1", json!([{ "text": "plan b" }]), Value::Null), &ann()).await;
    assert!(other.starts_with("-32602 conflict: "), "{other}");
    // Another's message of this name is another's.
    let bobs = asked(&desk, "SendMessage", send(), &Caller::new("bob", Role::Operator)).await;
    assert!(bobs.contains("task_2"), "{bobs}");

    end(&world, Outcome::Done { result: json!({ "ok": 1 }), then: Vec::new() }).await;
    let got = asked(&desk, "GetTask", json!({ "id": "task_1" }), &ann()).await;
    let got: Value = serde_json::from_str(&got).unwrap();
    assert_eq!(got["status"]["state"], "TASK_STATE_COMPLETED");
    assert_eq!(got["artifacts"][0]["parts"], json!([{ "data": { "ok": 1 } }]));
    assert_eq!(got["history"][0]["parts"], json!([{ "data": { "goal": "a" } }]));
    assert_eq!((&got["history"][0]["messageId"], &got["history"][0]["role"]), (&json!("m-1"), &json!("ROLE_USER")));
    let failure = Failure { code: Code::InvalidArgument, message: "no".into() };
    end(&world, Outcome::Failed { failure, retry: false }).await;
    let got: Value = serde_json::from_str(&asked(&desk, "GetTask", json!({ "id": "task_2" }), &ann()).await).unwrap();
    assert_eq!(got["status"]["state"], "TASK_STATE_FAILED");
    assert_eq!(got["status"]["message"]["parts"], json!([{ "text": "invalid_argument: no" }]));
}

/// JSON with what stands in no order ordered.
fn ordered(text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    let metadata = &mut value["task"]["metadata"];
    *metadata = json!({ "skill": metadata["skill"], "attempts": metadata["attempts"] });
    value.to_string()
}

#[tokio::test]
async fn who_may_not_operate_sees_its_own_tasks_only() {
    let (_, desk) = desk().await;
    let trader = Caller::new("tess", Role::Trader);
    let trade = message("m-1", json!([{ "text": "trade" }]), Value::Null);
    let told = asked(&desk, "SendMessage", trade, &trader).await;
    assert!(told.contains("task_1"), "{told}");
    asked(&desk, "SendMessage", message("m-2", json!([{ "text": "plan a" }]), Value::Null), &ann()).await;
    let total = |told: String| serde_json::from_str::<Value>(&told).unwrap()["totalSize"].clone();
    assert_eq!(total(asked(&desk, "ListTasks", json!({}), &trader).await), 1);
    assert_eq!(total(asked(&desk, "ListTasks", json!({}), &ann()).await), 2);
    let operator = ann();
    let page = |params| asked(&desk, "ListTasks", params, &operator);
    let first: Value = serde_json::from_str(&page(json!({ "pageSize": 1 })).await).unwrap();
    assert_eq!(
        (&first["tasks"][0]["id"], &first["nextPageToken"], &first["totalSize"]),
        (&json!("task_2"), &json!("task_2"), &json!(2))
    );
    let second: Value = serde_json::from_str(&page(json!({ "pageSize": 1, "pageToken": "task_2" })).await).unwrap();
    assert_eq!((&second["tasks"][0]["id"], &second["nextPageToken"]), (&json!("task_1"), &json!("")));
    let canceled: Value = serde_json::from_str(&page(json!({ "status": "TASK_STATE_CANCELED" })).await).unwrap();
    assert_eq!(canceled["totalSize"], 0);
    let hidden = "-32001 not_found: agent doer has no task `task_2` of yours (it never was, it is another's, or it ended and was purged)";
    for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
        assert_eq!(asked(&desk, method, json!({ "id": "task_2" }), &trader).await, hidden, "{method}");
    }
    let hook = json!({ "taskId": "task_2", "url": "https://x" });
    assert_eq!(asked(&desk, "CreateTaskPushNotificationConfig", hook, &trader).await, hidden);
    let cancelled = asked(&desk, "CancelTask", json!({ "id": "task_1" }), &trader).await;
    assert!(cancelled.contains("TASK_STATE_CANCELED"), "{cancelled}");
    assert!(asked(&desk, "CancelTask", json!({ "id": "task_1" }), &trader).await.starts_with("-32002 conflict: "));
    assert!(
        asked(&desk, "SubscribeToTask", json!({ "id": "task_1" }), &trader).await.starts_with("-32004 unsupported: ")
    );
    assert_eq!(asked(&desk, "SubscribeToTask", json!({ "id": "task_2" }), &ann()).await, "follow task_2");
}

#[tokio::test]
async fn hooks_are_kept_and_their_secrets_are_not_shown() {
    let (_, desk) = desk().await;
    asked(&desk, "SendMessage", message("m", json!([{ "text": "plan a" }]), Value::Null), &ann()).await;
    let call = |method: &'static str, params: Value| {
        let desk = desk.clone();
        async move { asked(&desk, method, params, &ann()).await }
    };
    let hook = json!({
        "taskId": "task_1", "id": "h1", "url": "https://example.com/hook", "token": "sesame",
        "authentication": { "scheme": "Bearer", "credentials": "open" },
    });
    let shown =
        r#"{"url":"https://example.com/hook","id":"h1","taskId":"task_1","authentication":{"scheme":"Bearer"}}"#;
    let named = json!({ "taskId": "task_1", "id": "h1" });
    assert_eq!(call("CreateTaskPushNotificationConfig", hook).await, shown);
    assert_eq!(call("GetTaskPushNotificationConfig", named.clone()).await, shown);
    assert_eq!(
        call("ListTaskPushNotificationConfigs", json!({ "taskId": "task_1" })).await,
        format!(r#"{{"configs":[{shown}]}}"#)
    );
    assert_eq!(call("DeleteTaskPushNotificationConfig", named.clone()).await, "{}");
    assert!(call("GetTaskPushNotificationConfig", named).await.starts_with("-32602 not_found: "));
    for url in ["", "ftp://x", "http://", "https://u:p@x", "x"] {
        let told = call("CreateTaskPushNotificationConfig", json!({ "taskId": "task_1", "url": url })).await;
        assert!(told.starts_with("-32602 invalid_argument: url"), "{url}: {told}");
    }
    for n in 0..push::CONFIGS_MAX {
        let hook = json!({ "taskId": "task_1", "id": format!("h{n}"), "url": "https://x" });
        assert!(call("CreateTaskPushNotificationConfig", hook).await.contains("taskId"), "{n}");
    }
    let more = json!({ "taskId": "task_1", "url": "https://x" });
    assert!(call("CreateTaskPushNotificationConfig", more).await.starts_with("-32602 too_large: "));
    assert_eq!(call("GetExtendedAgentCard", json!({})).await.split(' ').next(), Some("-32007"));
    assert_eq!(call("tasks/get", json!({})).await.split(' ').next(), Some("-32601"));
}

#[tokio::test]
async fn the_card_has_each_type_of_task_as_a_skill() {
    let (_, desk) = desk().await;
    let card = desk.card("http://127.0.0.1:5001/a2a", "1.2.3", "does things").await.unwrap();
    assert_eq!(card["supportedInterfaces"][0]["url"], "http://127.0.0.1:5001/a2a");
    assert_eq!(card["supportedInterfaces"][0]["protocolBinding"], "JSONRPC");
    assert_eq!(card["supportedInterfaces"][0]["protocolVersion"], "1.0");
    assert_eq!(card["securityRequirements"], json!([{ "schemes": { "key": { "list": [] } } }]));
    let ids: Vec<&str> = card["skills"].as_array().unwrap().iter().map(|skill| skill["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["plan", "trade"]);
    assert_eq!(card["skills"][1]["tags"], json!(["access:trade"]));
    assert_eq!(
        card["capabilities"],
        json!({ "streaming": true, "pushNotifications": true, "extendedAgentCard": false })
    );
}
