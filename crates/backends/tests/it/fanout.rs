//! The contract of a fan-out.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kernel::fake::MemoryFanout;
use kernel::fanout::Fanout;

use crate::kit::{on_memory_and_redis, soon};
use crate::real::Real;
use crate::redis::open;

/// A fan-out as two processes see it.
struct Kit {
    here: Arc<dyn Fanout>,
    there: Arc<dyn Fanout>,
    _server: Option<Real>,
}

fn memory() -> Kit {
    let fanout = Arc::new(MemoryFanout::default());
    Kit { here: fanout.clone(), there: fanout, _server: None }
}

fn redis() -> Option<Kit> {
    let (server, url) = crate::real::redis()?;
    Some(Kit { here: Arc::new(open(&url, "fleet")), there: Arc::new(open(&url, "fleet")), _server: Some(server) })
}

on_memory_and_redis!(everybody_hears_everything_in_order, who_comes_later_hears_what_is_told_later);

/// The same on a RabbitMQ that has been started: starting one takes long.
pub(crate) async fn on_broker(url: &str) {
    let kit = |fleet: &str| Kit {
        here: Arc::new(crate::rabbitmq::open(url, fleet)),
        there: Arc::new(crate::rabbitmq::open(url, fleet)),
        _server: None,
    };
    everybody_hears_everything_in_order(kit("in order")).await;
    who_comes_later_hears_what_is_told_later(kit("later")).await;
}

async fn hear(heard: &mut BoxStream<'static, String>, count: usize) -> Vec<String> {
    soon(heard.take(count).collect()).await
}

async fn everybody_hears_everything_in_order(kit: Kit) {
    let mut listeners =
        [kit.here.listen().await.unwrap(), kit.there.listen().await.unwrap(), kit.there.listen().await.unwrap()];
    for number in 0..50 {
        kit.here.tell(&format!("here {number}")).await.unwrap();
        kit.there.tell(&format!("thère {number}\n")).await.unwrap();
    }
    for listener in &mut listeners {
        let heard = hear(listener, 100).await;
        let of = |start: &str| heard.iter().filter(|news| news.starts_with(start)).cloned().collect::<Vec<_>>();
        assert_eq!(of("here"), (0..50).map(|number| format!("here {number}")).collect::<Vec<_>>());
        assert_eq!(of("thère"), (0..50).map(|number| format!("thère {number}\n")).collect::<Vec<_>>());
    }
}

async fn who_comes_later_hears_what_is_told_later(kit: Kit) {
    kit.here.tell("nobody hears it").await.unwrap();
    let mut first = kit.there.listen().await.unwrap();
    kit.here.tell("one").await.unwrap();
    assert_eq!(hear(&mut first, 1).await, ["one"]);
    let mut second = kit.here.listen().await.unwrap();
    kit.there.tell("two").await.unwrap();
    assert_eq!((hear(&mut first, 1).await, hear(&mut second, 1).await), (vec!["two".into()], vec!["two".into()]));
    drop(first);
    kit.there.tell("three").await.unwrap();
    assert_eq!(hear(&mut second, 1).await, ["three"], "who leaves takes nobody along");
}
