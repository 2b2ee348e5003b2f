//! API keys, on every store.

use kernel::keys::{Keys, SPACE};
use kernel::store::{LIST_MAX, Write};
use kernel::{Caller, Code, Role};

use crate::kit::{Kit, START_MS, on_every_backend, soon};

on_every_backend!(
    a_key_opens_and_only_it,
    a_key_made_elsewhere_works_at_once,
    a_revoked_key_stops_working_everywhere,
    a_key_expires_by_the_clock,
    keys_are_listed_with_their_last_use,
    names_are_checked_and_unique,
    more_keys_than_one_page,
    a_damaged_entry_locks_nobody_out,
);

fn both(kit: &Kit) -> (Keys, Keys) {
    let here = Keys::new(kit.store.clone(), kit.clock.clone());
    (here, Keys::new(kit.other.store.clone(), kit.clock.clone()))
}

async fn a_key_opens_and_only_it(kit: Kit) {
    let (here, _) = both(&kit);
    let key = here.create("claude", Role::Agent("build".into()), None).await.unwrap();
    let text = key.expose();
    assert!(text.starts_with("flt_") && text.len() == 47, "{text}");
    assert_eq!(here.verify(text).await.unwrap(), Caller::new("claude", Role::Agent("build".into())));
    let other = here.create("other", Role::Viewer, None).await.unwrap();
    assert_ne!(other.expose(), text);
    let truncated = &text[..46];
    let changed = format!("{truncated}{}", if text.ends_with('A') { 'B' } else { 'A' });
    let upper = text.to_uppercase();
    for wrong in ["", "flt_", truncated, &changed, &upper, &text[4..], &format!("{text} "), "claude", &"é".repeat(40)]
    {
        let fault = here.verify(wrong).await.unwrap_err();
        assert_eq!(fault.code, Code::Unauthenticated, "{wrong}");
        assert!(!fault.to_string().contains(text));
    }
    let kept = kit.store.get(SPACE, "claude").await.unwrap().unwrap().value;
    assert!(!kept.contains(&text[4..]), "only the hash is kept");
}

async fn a_key_made_elsewhere_works_at_once(kit: Kit) {
    let (here, there) = both(&kit);
    assert_eq!(there.caller_of(&format!("flt_{}", "A".repeat(43))).await.unwrap(), None);
    let key = here.create("cli", Role::Admin, None).await.unwrap();
    assert_eq!(there.verify(key.expose()).await.unwrap().role, Role::Admin);
}

async fn a_revoked_key_stops_working_everywhere(kit: Kit) {
    let (here, there) = both(&kit);
    let key = here.create("k", Role::Viewer, None).await.unwrap();
    here.verify(key.expose()).await.unwrap();
    there.verify(key.expose()).await.unwrap();
    here.revoke("k").await.unwrap();
    let revoked = std::time::Instant::now();
    assert_eq!(here.caller_of(key.expose()).await.unwrap(), None, "here at once");
    soon(async {
        while there.caller_of(key.expose()).await.unwrap().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(revoked.elapsed().as_secs() < 5, "well within a second; more only on a machine that has none to spare");
    assert_eq!(here.revoke("k").await.unwrap_err().code, Code::NotFound);
    let again = here.create("k", Role::Viewer, None).await.unwrap();
    assert!(there.caller_of(again.expose()).await.unwrap().is_some());
    assert_eq!(there.caller_of(key.expose()).await.unwrap(), None);
}

async fn a_key_expires_by_the_clock(kit: Kit) {
    let (here, _) = both(&kit);
    let key = here.create("k", Role::Viewer, Some(START_MS + 100)).await.unwrap();
    kit.clock.advance_ms(99);
    here.verify(key.expose()).await.unwrap();
    kit.clock.advance_ms(1);
    assert_eq!(here.verify(key.expose()).await.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(here.list().await.unwrap(), []);
    let late = here.create("late", Role::Viewer, Some(START_MS + 100)).await.unwrap_err();
    assert_eq!(late.code, Code::InvalidArgument);
}

async fn keys_are_listed_with_their_last_use(kit: Kit) {
    let (here, there) = both(&kit);
    let key = here.create("b", Role::Operator, None).await.unwrap();
    here.create("a", Role::Viewer, Some(START_MS + 1_000_000)).await.unwrap();
    let listed = there.list().await.unwrap();
    let seen: Vec<_> = listed.iter().map(|key| (key.name.as_str(), key.last_used_ms, key.expires_ms)).collect();
    assert_eq!(seen, [("a", None, Some(START_MS + 1_000_000)), ("b", None, None)]);
    assert_eq!((&listed[1].role, listed[1].created_ms), (&Role::Operator, START_MS));
    let minute = START_MS - START_MS.rem_euclid(60_000);
    for (later_ms, used_ms) in [(0, minute), (30_000, minute), (60_000, minute + 60_000)] {
        kit.clock.advance_ms(START_MS + later_ms - kit.clock.now_ms());
        here.verify(key.expose()).await.unwrap();
        assert_eq!(there.list().await.unwrap()[1].last_used_ms, Some(used_ms), "{later_ms}");
    }
    here.revoke("b").await.unwrap();
    here.create("b", Role::Operator, None).await.unwrap();
    assert_eq!(here.list().await.unwrap()[1].last_used_ms, None, "another key of that name was never used");
}

async fn names_are_checked_and_unique(kit: Kit) {
    let (here, there) = both(&kit);
    here.create("a.b-c_9", Role::Viewer, None).await.unwrap();
    assert_eq!(there.create("a.b-c_9", Role::Admin, None).await.unwrap_err().code, Code::AlreadyExists);
    for bad in ["", "a b", "é", "a\0", &"n".repeat(65)] {
        assert_eq!(here.create(bad, Role::Viewer, None).await.unwrap_err().code, Code::InvalidArgument, "{bad}");
    }
}

async fn more_keys_than_one_page(kit: Kit) {
    let (here, there) = both(&kit);
    let fill = (0..LIST_MAX).map(|n| Write::put(SPACE, &format!("fill-{n}"), filler(n))).collect::<Vec<_>>();
    let first = here.create("first", Role::Viewer, None).await.unwrap();
    for writes in fill.chunks(kernel::store::COMMIT_MAX) {
        kit.store.commit(writes.to_vec()).await.unwrap();
    }
    let last = here.create("last", Role::Viewer, None).await.unwrap();
    there.verify(first.expose()).await.unwrap();
    there.verify(last.expose()).await.unwrap();
    assert_eq!(there.list().await.unwrap().len(), LIST_MAX + 2);
}

fn filler(n: usize) -> String {
    format!("{{\"sha256\":\"{n:064x}\",\"role\":\"viewer\",\"created_ms\":0,\"expires_ms\":null}}")
}

async fn a_damaged_entry_locks_nobody_out(kit: Kit) {
    let (here, there) = both(&kit);
    for (name, value) in
        [("x", "{}".to_owned()), ("y", filler(0).replace('0', "é")), ("z", filler(0).replace("00", "zz"))]
    {
        kit.store.commit(vec![Write::put(SPACE, name, value)]).await.unwrap();
    }
    let key = here.create("k", Role::Viewer, None).await.unwrap();
    there.verify(key.expose()).await.unwrap();
}
