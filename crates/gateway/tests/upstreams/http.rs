//! Upstreams over HTTP, reached by clients of every era through the gateway's own door.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway::upstream::{State, Upstream};
use mcp::client::http::HttpServer;
use mcp::client::{AboutUs, User};
use mcp::ctx::{Client, Session};
use mcp::peer::Peer;
use mcp::{Change, Ctx, Handler, Link, Revision};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, admin};
use crate::shop::{self, ANY, Era, answering, call, calling, listening, serve, target};

async fn add(bench: &Bench, shop: &shop::Bench) -> Arc<Upstream> {
    let spec = json!({ "name": "shop", "url": shop.url, "allow_private": true, "timeout_seconds": 5 });
    let up = bench.upstreams.add(serde_json::from_value(spec).unwrap(), &admin()).await.unwrap();
    let status = up.settled(Duration::from_secs(10)).await;
    assert_eq!(status.state, State::Ready, "{status:?}");
    up
}

/// A client of the gateway that shook hands, as a program of 2025-06-18 does, and can be asked.
struct Old {
    link: Arc<dyn Link>,
    ctx: Ctx,
}

impl Old {
    async fn come(bench: &Bench, up: &Arc<Upstream>) -> Self {
        let tasks = bench.world.tasks.child();
        let (url, _) = serve(ANY, Arc::clone(up) as Arc<dyn Handler>, Era::All, &tasks).await;
        let server = HttpServer::probe(&target(&url), AboutUs::new("old client"), tasks.clone()).await.unwrap();
        let (peer, client) = answering(&tasks);
        Self::with(&server, peer, client).await
    }

    async fn with(server: &HttpServer, peer: Peer, client: Arc<Client>) -> Self {
        let revision = Revision::V2025_06_18;
        let session = Session { id: "old".into(), ended: CancellationToken::new(), peer: peer.clone() };
        let user = User { client: Some(Arc::clone(&client)), revision: Some(revision), session: Some(session.clone()) };
        let link = server.session(user).await.unwrap();
        let ctx = Ctx { client, peer, revision, session: Some(session), ..shop::ctx() };
        Self { link, ctx }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_client_on_a_server_of_any_era() {
    for era in [Era::Current, Era::All, Era::Sessions, Era::Old] {
        let (bench, shop) = (Bench::new().await, shop::Bench::new(era).await);
        let up = add(&bench, &shop).await;
        let old = Old::come(&bench, &up).await;
        assert_eq!(call(&*old.link, "say", json!({ "text": "hi" }), &old.ctx).await, "hi", "{era:?}");
        assert_eq!(
            up.status().sessions,
            u32::from(era != Era::Current),
            "{era:?}: a session of its own, where there are such"
        );
        assert_eq!(call(&*old.link, "where", json!({ "region": "Köln" }), &old.ctx).await, "Köln", "{era:?}");

        let (counting, mut messages) = listening();
        let counting = Ctx { revision: old.ctx.revision, session: old.ctx.session.clone(), ..counting };
        assert_eq!(call(&*old.link, "count", json!({}), &counting).await, "three");
        for n in 1..=3 {
            assert!(messages.recv().await.unwrap().contains(&format!(r#""progress":{n}"#)), "{era:?}");
        }
        let hang = calling("hang", json!({}));
        tokio::select! {
            done = old.link.request(&hang, &counting) => panic!("{era:?}: {done:?}"),
            message = messages.recv() => assert!(message.is_some()),
        }
        crate::bench::until("the server stopped", async || shop.cancelled.load(Ordering::SeqCst)).await;

        let mut changes = old.link.changes();
        let _watch = old.link.watch("memo://1", &old.ctx).await.unwrap();
        for change in [Change::Prompts, Change::Resource("memo://1".into())] {
            crate::bench::until(&format!("{era:?}: {change:?}"), async || {
                shop.service.announce(change.clone());
                tokio::time::sleep(Duration::from_millis(5)).await;
                std::iter::from_fn(|| changes.try_recv().ok()).any(|heard| heard == change)
            })
            .await;
        }
        // Elicitation came after the oldest transport.
        if era != Era::Old {
            assert_eq!(call(&*old.link, "ask", json!({}), &old.ctx).await, r#""name" "age""#, "{era:?}");
        }
        old.link.close().await;
        crate::bench::until("the session there ended too", async || up.status().sessions == 0).await;
        shop.tasks.stop_because("test over");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_two_clients_never_mix() {
    let (bench, shop) = (Bench::new().await, shop::Bench::new(Era::Sessions).await);
    let up = add(&bench, &shop).await;
    let tasks = bench.world.tasks.child();
    let (url, _) = serve(ANY, Arc::clone(&up) as Arc<dyn Handler>, Era::All, &tasks).await;
    let server = HttpServer::probe(&target(&url), AboutUs::new("old client"), tasks.clone()).await.unwrap();
    let (peer, client) = answering(&tasks);
    let ann = Old::with(&server, peer, client).await;
    // The second can be asked nothing: were it to share the first one's session, the question would go astray.
    let nobody = Arc::new(Client { capabilities: json!({}), info: json!({ "name": "n", "version": "1" }) });
    let bob = Old::with(&server, Peer::none(), nobody).await;
    let (asked, refused) =
        tokio::join!(call(&*ann.link, "ask", json!({}), &ann.ctx), call(&*bob.link, "ask", json!({}), &bob.ctx),);
    assert_eq!(asked, r#""name" "age""#);
    assert!(refused.contains("does not support elicitation"), "{refused}");
    assert_eq!(up.status().sessions, 2);
    shop.tasks.stop_because("test over");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_goes_away_and_comes_back_is_found_again() {
    let (bench, shop) = (Bench::new().await, shop::Bench::new(Era::All).await);
    let up = add(&bench, &shop).await;
    assert_eq!(crate::bench::call(&*up, "say", json!({ "text": "hi" }), crate::bench::ctx()).await, "hi");
    let address = shop.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap().to_owned();
    shop.close().await;
    assert_eq!(crate::bench::call(&*up, "say", json!({}), crate::bench::ctx()).await, "refused: unavailable");
    crate::bench::until("it is known to be gone", async || !up.status().state.serves()).await;
    let back = shop::Bench::at(&address, Era::All).await;
    crate::bench::until("it is back", async || up.status().state.serves()).await;
    assert_eq!(crate::bench::call(&*up, "say", json!({ "text": "again" }), crate::bench::ctx()).await, "again");
    back.tasks.stop_because("test over");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_come_and_go_and_leave_nothing_open() {
    let (bench, shop) = (Bench::new().await, shop::Bench::new(Era::Sessions).await);
    let up = add(&bench, &shop).await;
    let tasks = bench.world.tasks.child();
    let (url, _) = serve(ANY, Arc::clone(&up) as Arc<dyn Handler>, Era::All, &tasks).await;
    let once = async || {
        let server = HttpServer::probe(&target(&url), AboutUs::new("old client"), tasks.child()).await.unwrap();
        let nobody = Arc::new(Client { capabilities: json!({}), info: json!({}) });
        let client = Old::with(&server, Peer::none(), nobody).await;
        assert_eq!(call(&*client.link, "say", json!({ "text": "x" }), &client.ctx).await, "x");
        client.link.close().await;
    };
    futures_util::future::join_all((0..10).map(|_| once())).await;
    crate::bench::until("all ended", async || up.status().sessions == 0).await;
    let files = crate::bench::open_files();
    for _ in 0..100 {
        futures_util::future::join_all((0..10).map(|_| once())).await;
    }
    crate::bench::until("all ended", async || up.status().sessions == 0).await;
    crate::bench::until("no connection is left open", async || crate::bench::open_files() <= files).await;
    shop.tasks.stop_because("test over");
    bench.stop().await;
}
