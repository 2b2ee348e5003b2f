//! The audit trail's contract.

use kernel::audit::{AuditQuery, GENESIS, LIST_MAX, Record};
use kernel::{Code, OnEnd};

use crate::kit::{Kit, START_MS, on_every_backend};

on_every_backend!(
    rows_are_chained_in_order,
    contended_appending_keeps_the_chain,
    lists_newest_first_by_what_is_given,
    what_no_text_may_hold_stops_no_trail,
    oversized_pages_are_refused,
);

pub(crate) fn record(n: u64) -> Record {
    Record {
        at_ms: START_MS + n as i64,
        caller: format!("caller-{}", n % 3),
        role: "operator".into(),
        server: format!("server-{}", n % 2),
        action: "convert_units".into(),
        arguments: format!("{{\"n\":{n},\"odd\":\"'é\\u0000\"}}"),
        outcome: if n.is_multiple_of(10) { "not_found".into() } else { "ok".into() },
        result_sha256: String::new(),
        took_us: n,
        trace_id: format!("{n:032x}"),
    }
}

async fn rows_are_chained_in_order(kit: Kit) {
    let empty = kit.audit.verify().await.unwrap();
    assert_eq!((empty.rows, empty.broken_at, empty.head.as_str()), (0, None, GENESIS));
    kit.audit.append(&[]).await.unwrap();
    // Sizes around those of the prepared statements.
    for batch in [1, 2, 7, 8, 9, 31, 33, 128, 300] {
        kit.audit.append(&records(0..batch)).await.unwrap();
    }
    let verdict = kit.other.audit.verify().await.unwrap();
    assert_eq!((verdict.rows, verdict.broken_at), (519, None), "{verdict:?}");
    let rows = kit.audit.list(AuditQuery { limit: LIST_MAX, ..AuditQuery::default() }).await.unwrap();
    assert!(rows.iter().map(|row| row.seq).eq((1..=519).rev()));
    assert_eq!(rows[0].hash, verdict.head);
    assert_eq!(rows[0].record, record(299));
}

async fn contended_appending_keeps_the_chain(kit: Kit) {
    for task in 0..6 {
        let audit = if task % 2 == 0 { kit.audit.clone() } else { kit.other.audit.clone() };
        kit.tasks.spawn("appender", OnEnd::Done, async move {
            for n in 0..15 {
                audit.append(&records(0..n % 4 + 1)).await.unwrap();
            }
        });
    }
    assert_eq!(kit.tasks.drain(std::time::Duration::from_secs(30)).await, 0);
    let verdict = kit.audit.verify().await.unwrap();
    let each: u64 = (0..15).map(|n| n % 4 + 1).sum();
    assert_eq!((verdict.rows, verdict.broken_at), (6 * each, None), "{verdict:?}");
}

async fn lists_newest_first_by_what_is_given(kit: Kit) {
    kit.audit.append(&records(1..61)).await.unwrap();
    let list = async |query: AuditQuery| {
        let rows = kit.audit.list(AuditQuery { limit: 3, ..query }).await.unwrap();
        rows.into_iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(list(AuditQuery::default()).await, [60, 59, 58]);
    assert_eq!(list(AuditQuery { before_seq: Some(3), ..AuditQuery::default() }).await, [2, 1]);
    assert_eq!(list(AuditQuery { caller: some("caller-0"), ..AuditQuery::default() }).await, [60, 57, 54]);
    assert_eq!(list(AuditQuery { outcome: some("not_found"), ..AuditQuery::default() }).await, [60, 50, 40]);
    assert_eq!(list(AuditQuery { outcome: some("ok"), ..AuditQuery::default() }).await, [59, 58, 57]);
    assert_eq!(list(AuditQuery { trace_id: some(&format!("{:032x}", 7)), ..AuditQuery::default() }).await, [7]);
    let both = AuditQuery { server: some("server-1"), caller: some("caller-0"), ..AuditQuery::default() };
    assert_eq!(list(both).await, [57, 51, 45]);
    assert_eq!(list(AuditQuery { server: some("' OR 1=1 --"), ..AuditQuery::default() }).await, [0; 0]);
}

async fn what_no_text_may_hold_stops_no_trail(kit: Kit) {
    let odd = Record { action: "a\0b".into(), caller: "\0".into(), ..record(1) };
    kit.audit.append(&[record(1), odd, record(2)]).await.unwrap();
    let rows = kit.other.audit.list(AuditQuery { limit: 3, ..AuditQuery::default() }).await.unwrap();
    assert!(rows.iter().map(|row| row.seq).eq([3, 2, 1]) && rows[1].record.action.starts_with('a'), "{rows:?}");
    let verdict = kit.audit.verify().await.unwrap();
    assert_eq!((verdict.rows, verdict.broken_at), (3, None), "{verdict:?}");
}

async fn oversized_pages_are_refused(kit: Kit) {
    let query = AuditQuery { limit: LIST_MAX + 1, ..AuditQuery::default() };
    assert_eq!(kit.audit.list(query).await.unwrap_err().code, Code::TooLarge);
}

fn records(numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers.map(record).collect()
}
