//! The same things in every era.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel::Code;
use kernel::logs::Level;
use mcp::client::http::HttpServer;
use mcp::client::{AboutUs, User};
use mcp::ctx::Session;
use mcp::reply::ResultType;
use mcp::{Change, Ctx, Link, LinkError, Revision};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

use crate::shop::{Bench, Era, answering, call, calling, ctx, listening, until};

async fn link(bench: &Bench) -> Arc<dyn Link> {
    let server = bench.probe().await;
    match server.modern() {
        Some(link) => link,
        None => server.session(User::default()).await.unwrap(),
    }
}

async fn heard(changes: &mut Receiver<Change>, wanted: Change) {
    until(&format!("{wanted:?}"), async || changes.try_recv().is_ok_and(|change| change == wanted)).await;
}

#[tokio::test]
async fn every_era_is_found_and_works() {
    for (era, revision) in [
        (Era::All, Revision::CURRENT),
        (Era::Current, Revision::CURRENT),
        (Era::Sessions, Revision::NEWEST_LEGACY),
        (Era::Old, Revision::V2024_11_05),
    ] {
        let bench = Bench::new(era).await;
        let link = link(&bench).await;
        assert_eq!((link.revision(), link.identity().name.as_str()), (revision, "shop"), "{era:?}");
        assert_eq!(call(&*link, "say", json!({ "text": "hi" }), &ctx()).await, "hi", "{era:?}");
        assert!(call(&*link, "nothing", json!({}), &ctx()).await.contains("unknown tool"), "{era:?}");

        let (mut counting, mut messages) = listening();
        counting.log_level = Some(Level::Info);
        assert_eq!(call(&*link, "count", json!({}), &counting).await, "three");
        for n in 1..=3 {
            let message = messages.recv().await.unwrap();
            assert!(message.contains(r#""progressToken":"mine""#), "{era:?}: {message}");
            assert!(message.contains(&format!(r#""progress":{n}"#)), "{era:?}: {message}");
        }
        assert_eq!(call(&*link, "log", json!({}), &counting).await, "logged");
        let message = messages.recv().await.unwrap();
        assert!(message.contains(r#""level":"warning""#), "{era:?}: {message}");
        assert!(messages.try_recv().is_err(), "{era:?}: what was not wanted was not sent");
        link.close().await;
        assert!(
            matches!(link.request(&calling("say", json!({})), &ctx()).await, Err(LinkError::Fault(fault)) if fault.code == Code::Unavailable)
        );
        bench.tasks.stop_because("test over");
    }
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_work_along() {
    for era in [Era::All, Era::Sessions, Era::Old] {
        let bench = Bench::new(era).await;
        let link = link(&bench).await;
        let (hanging, mut messages) = listening();
        let request = calling("hang", json!({}));
        tokio::select! {
            done = link.request(&request, &hanging) => panic!("{era:?}: {done:?}"),
            message = messages.recv() => assert!(message.is_some()),
        }
        until("the server stopped", async || bench.cancelled.load(Ordering::SeqCst)).await;
        bench.cancelled.store(false, Ordering::SeqCst);
        hanging.cancel.cancel();
        let taken_back = link.request(&request, &hanging).await;
        assert!(matches!(taken_back, Err(LinkError::Fault(fault)) if fault.code == Code::Cancelled), "{era:?}");
        bench.tasks.stop_because("test over");
    }
}

#[tokio::test]
async fn changes_are_heard() {
    for era in [Era::All, Era::Sessions, Era::Old] {
        let bench = Bench::new(era).await;
        let link = link(&bench).await;
        let mut changes = link.changes();
        let watch = link.watch("memo://1", &ctx()).await.unwrap();
        // Streams open in their own time; what is announced before is what clients of any server may miss.
        until("the list is heard of", async || {
            bench.service.announce(Change::Prompts);
            changes.try_recv().is_ok_and(|change| change == Change::Prompts)
        })
        .await;
        bench.service.announce(Change::Resource("memo://2".into()));
        bench.service.announce(Change::Resource("memo://1".into()));
        heard(&mut changes, Change::Resource("memo://1".into())).await;
        drop(watch);
        bench.tasks.stop_because("test over");
    }
}

#[tokio::test]
async fn arguments_are_mirrored_once_the_schema_is_known() {
    let bench = Bench::new(Era::All).await;
    let link = link(&bench).await;
    assert_eq!(call(&*link, "where", json!({ "region": "Köln" }), &ctx()).await, "Köln");
    let calls: Vec<String> = bench.seen().into_iter().filter(|line| line.contains("tools/")).collect();
    assert_eq!(calls, ["POST tools/call -", "POST tools/list -", "POST tools/call =?base64?S8O2bG4=?="]);
    assert_eq!(call(&*link, "where", json!({ "region": null }), &ctx()).await, "nowhere");
    assert_eq!(call(&*link, "where", json!({ "region": "de" }), &ctx()).await, "de");
    assert_eq!(bench.seen().last().unwrap(), "POST tools/call de");
    bench.tasks.stop_because("test over");
}

#[tokio::test]
async fn a_server_of_the_current_revision_asks_clients_of_both_eras() {
    let bench = Bench::new(Era::All).await;
    let link = link(&bench).await;
    // A current client gets the questions themselves.
    let (peer, client) = answering(&bench.tasks);
    let current = Ctx { client: Arc::clone(&client), ..ctx() };
    let reply = link.request(&calling("ask", json!({})), &current).await.unwrap();
    assert!(reply.kind == ResultType::InputRequired && reply.body.get().contains("elicitation/create"));
    // An older one is asked in its own way, as often as it takes.
    let old = Ctx { client, peer, revision: Revision::V2025_06_18, ..ctx() };
    assert_eq!(call(&*link, "ask", json!({}), &old).await, r#""name" "age""#);
    // One that cannot be asked is told so.
    let deaf = Ctx { revision: Revision::V2025_06_18, ..ctx() };
    assert!(call(&*link, "ask", json!({}), &deaf).await.contains("does not support elicitation"));
    bench.tasks.stop_because("test over");
}

fn session(id: &str) -> Session {
    Session { id: id.into(), ended: CancellationToken::new(), peer: mcp::peer::Peer::none() }
}

#[tokio::test]
async fn a_session_asks_its_own_client_and_a_shared_one_nobody() {
    for era in [Era::Sessions, Era::All] {
        let bench = Bench::new(era).await;
        let server = bench.probe().await;
        assert!(server.may_have_sessions());
        let (peer, client) = answering(&bench.tasks);
        let revision = Revision::V2025_06_18;
        let user = User { client: Some(Arc::clone(&client)), revision: Some(revision), session: Some(session("s")) };
        let own = server.session(user).await.unwrap();
        assert_eq!(own.revision(), revision, "the client's own revision is spoken");
        let ctx = Ctx { client, peer, revision, session: Some(session("s")), ..ctx() };
        assert_eq!(call(&*own, "ask", json!({}), &ctx).await, r#""name" "age""#);
        let shared = server.session(User::default()).await.unwrap();
        assert!(call(&*shared, "ask", json!({}), &ctx).await.contains("does not support elicitation"));
        bench.tasks.stop_because("test over");
    }
}

#[tokio::test]
async fn a_forgotten_session_is_begun_again_unseen() {
    let bench = Bench::new(Era::Sessions).await;
    let link = link(&bench).await;
    let _watch = link.watch("memo://1", &ctx()).await.unwrap();
    assert_eq!(call(&*link, "say", json!({ "text": "before" }), &ctx()).await, "before");
    let mut changes = link.changes();
    bench.forget();
    assert_eq!(call(&*link, "say", json!({ "text": "after" }), &ctx()).await, "after");
    heard(&mut changes, Change::Tools).await;
    // What was watched is watched again.
    until("the resource is heard of", async || {
        bench.service.announce(Change::Resource("memo://1".into()));
        changes.try_recv().is_ok_and(|change| change == Change::Resource("memo://1".into()))
    })
    .await;
    bench.tasks.stop_because("test over");
}

#[tokio::test]
async fn an_answer_is_fetched_after_its_connection_was_let_go() {
    let bench = Bench::new(Era::Sessions).await;
    let link = link(&bench).await;
    let (resting, _messages) = listening();
    assert_eq!(call(&*link, "rest", json!({}), &resting).await, "rested");
    assert!(bench.seen().iter().filter(|line| line.starts_with("GET")).count() >= 2, "{:?}", bench.seen());
    bench.tasks.stop_because("test over");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let bench = Bench::new(Era::All).await;
    let tasks = kernel::Tasks::new();
    let server = HttpServer::probe(&bench.target(), AboutUs::new("test"), tasks.clone()).await.unwrap();
    let link = server.modern().unwrap();
    assert_eq!(call(&*link, "say", json!({ "text": "before" }), &ctx()).await, "before");
    let address = bench.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap().to_owned();
    bench.close().await;
    let gone = link.request(&calling("say", json!({})), &ctx()).await;
    assert!(matches!(gone, Err(LinkError::Fault(fault)) if fault.code == Code::Unavailable));
    let bench = Bench::at(&address, Era::All).await;
    assert_eq!(call(&*link, "say", json!({ "text": "after" }), &ctx()).await, "after");
    tasks.stop_because("test over");
    bench.tasks.stop_because("test over");
}

#[tokio::test]
async fn no_private_address_is_reached_unless_it_may_be() {
    let bench = Bench::new(Era::All).await;
    let port = bench.url.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let mut target = crate::shop::target(&format!("http://{host}:{port}"));
        target.allow_private = false;
        let error = HttpServer::probe(&target, AboutUs::new("test"), bench.tasks.child()).await.err().unwrap();
        let LinkError::Fault(fault) = error else { panic!("{host}: {error}") };
        assert_eq!(fault.code, Code::PermissionDenied, "{host}: {fault}");
        assert!(fault.hint.unwrap().contains("allow_private"));
    }
    assert!(bench.seen().is_empty());
    bench.tasks.stop_because("test over");
}
