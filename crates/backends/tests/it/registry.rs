//! The registry, on everything that keeps entries.

use std::time::Duration;

use kernel::Code;
use kernel::fake::FakeFleet;
use kernel::fleet::Instance;
use kernel::health::Status;
use kernel::registry::{REMEMBERED, Registry};

use crate::kit::{EntriesKit as Kit, START_MS, on_everything_that_keeps_entries, soon};

on_everything_that_keeps_entries!(
    others_see_what_is_registered,
    what_is_lost_is_remembered_until_it_is_back_or_forgotten,
    a_lease_ends_by_the_clock_unless_renewed,
    a_lease_that_ended_begins_anew,
    two_under_one_id_notice,
    a_damaged_entry_hides_nobody,
);

const TTL: Duration = Duration::from_millis(1_000);

fn both(kit: &Kit) -> (Registry, Registry) {
    let here = Registry::new(kit.store.clone(), kit.clock.clone());
    (here, Registry::new(kit.other.store.clone(), kit.clock.clone()))
}

fn instance(service: &str) -> Instance {
    FakeFleet::server(service, "http://127.0.0.1:4017", START_MS)
}

async fn ids(registry: &Registry) -> Vec<String> {
    let live = registry.list().await.unwrap().into_iter().filter(|instance| instance.lost_ms.is_none());
    live.map(|instance| instance.id).collect()
}

async fn others_see_what_is_registered(kit: Kit) {
    let (here, there) = both(&kit);
    here.register(instance("b"), TTL).await.unwrap();
    there.register(instance("a"), TTL).await.unwrap();
    assert_eq!(here.list().await.unwrap(), [instance("a"), instance("b")]);
    assert_eq!(there.list().await.unwrap(), [instance("a"), instance("b")]);
    let changed = there.changed();
    here.remove(&instance("b")).await.unwrap();
    here.remove(&instance("never")).await.unwrap();
    soon(changed).await;
    assert_eq!(there.list().await.unwrap(), [instance("a")], "who says that it leaves is not missed");
}

async fn what_is_lost_is_remembered_until_it_is_back_or_forgotten(kit: Kit) {
    let (here, there) = both(&kit);
    here.register(instance("a"), TTL).await.unwrap();
    here.register(instance("b"), TTL).await.unwrap();
    kit.clock.advance_ms(500);
    here.register(Instance { id: "a-2".into(), ..instance("a") }, TTL).await.unwrap();
    kit.clock.advance_ms(600);
    let shown = async || {
        let all = there.list().await.unwrap();
        let show = |one: &Instance| format!("{} {:?} {:?}", one.id, one.status, one.lost_ms.map(|ms| ms - START_MS));
        all.iter().map(show).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(shown().await, "a-2 Healthy None, b-1 Down Some(0)", "another copy of a lives");
    let lost = there.list().await.unwrap().remove(1);
    assert_eq!(
        lost.last_error.as_deref(),
        Some(&*format!("no sign of life since {}", kernel::clock::timestamp(START_MS)))
    );
    here.register(Instance { id: "b-2".into(), ..instance("b") }, TTL).await.unwrap();
    assert_eq!(shown().await, "a-2 Healthy None, b-2 Healthy None", "it is back");
    kit.clock.advance_ms(5_000);
    assert_eq!(shown().await, "a-2 Down Some(500), b-2 Down Some(1100)");
    there.forget_lost().await.unwrap();
    assert_eq!(shown().await, "");
    here.register(instance("c"), TTL).await.unwrap();
    kit.clock.advance_ms(i64::try_from(REMEMBERED.as_millis()).unwrap());
    assert_eq!(shown().await, "", "forgotten in the end");
}

async fn a_lease_ends_by_the_clock_unless_renewed(kit: Kit) {
    let (here, there) = both(&kit);
    let mut kept = here.register(instance("kept"), TTL).await.unwrap();
    here.register(instance("dead"), TTL).await.unwrap();
    kit.clock.advance_ms(600);
    kept.instance.status = Status::Degraded;
    here.renew(&mut kept).await.unwrap();
    assert_eq!(there.list().await.unwrap()[1].status, Status::Degraded, "a renewal tells how it stands");
    kit.clock.advance_ms(600);
    // An end that nobody writes down is a change too.
    soon(async {
        while ids(&there).await.len() > 1 {
            there.changed().await;
        }
    })
    .await;
    assert_eq!(ids(&there).await, ["kept-1"]);
}

async fn a_lease_that_ended_begins_anew(kit: Kit) {
    let (here, there) = both(&kit);
    let mut lease = here.register(instance("a"), TTL).await.unwrap();
    kit.clock.advance_ms(5_000);
    assert_eq!(ids(&there).await, [""; 0]);
    here.renew(&mut lease).await.unwrap();
    here.renew(&mut lease).await.unwrap();
    assert_eq!(ids(&there).await, ["a-1"]);
}

async fn two_under_one_id_notice(kit: Kit) {
    let (here, there) = both(&kit);
    let mut first = here.register(instance("a"), TTL).await.unwrap();
    let mut second = there.register(instance("a"), TTL).await.unwrap();
    assert_eq!(here.renew(&mut first).await.unwrap_err().code, Code::Conflict);
    there.renew(&mut second).await.unwrap();
}

async fn a_damaged_entry_hides_nobody(kit: Kit) {
    let (here, _) = both(&kit);
    here.register(instance("a"), TTL).await.unwrap();
    kit.store.commit(vec![kernel::store::Write::put(kernel::registry::SPACE, "z", "{}")]).await.unwrap();
    assert_eq!(ids(&here).await, ["a-1"]);
}
