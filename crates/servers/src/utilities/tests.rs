use expect_test::expect;
use serde_json::json;

use super::*;
use crate::testing::{Bench, admin, viewer};

#[tokio::test]
async fn uuids_are_random_and_counted() {
    let bench = Bench::new::<Utilities>();
    let made = bench.call(&viewer("ann"), UUID, UuidRequest { count: 1_000 }).await.unwrap().uuids;
    let mut distinct = made.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 1_000);
    assert!(made.iter().all(|uuid| uuid.len() == 36 && &uuid[14..15] == "4" && "89ab".contains(&uuid[19..20])));
    bench.check("uuid", json!({ "count": 0 }), expect!["invalid_argument: count is 0 (1 to 1,000)"]).await;
    bench.check_as(&admin(), "uid", json!({}), expect!["unknown tool: uid; did you mean `uuid`? (-32602)"]).await;
}
