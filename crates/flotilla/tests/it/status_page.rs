//! The status page: it shows what is so, and it cannot be made to do anything.

use crate::harness::{Fleet, Home, http};

#[test]
fn the_page_shows_every_service_and_runs_nothing() {
    let fleet = Fleet::plain();
    let page = http::send("GET", fleet.process.screen["dashboard"].as_str().unwrap(), &[], b"");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    let policy = page.header("content-security-policy");
    for directive in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{directive} in {policy}");
    }
    for row in fleet.process.screen["services"].as_array().unwrap() {
        assert!(page.body.contains(row["service"].as_str().unwrap()), "{row}");
    }
    assert!(page.body.contains("<h2>Agents</h2>"), "{}", page.body);
    let lower = page.body.to_lowercase();
    for active in ["<script", "javascript:", " onload=", " onerror=", " onclick=", "<iframe", "<form", "src=", "href="]
    {
        assert!(!lower.contains(active), "{active} in {lower}");
    }
}

#[test]
fn the_page_refuses_foreign_names_and_wrong_keys() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], "");
    let url = fleet.process.screen["dashboard"].as_str().unwrap();
    assert_eq!(http::send("GET", url, &[("host", "evil.example")], b"").problem().0, 403);
    assert_eq!(http::send("GET", url, &[("authorization", "Bearer flt_wrong")], b"").problem().0, 401);
}

#[test]
fn every_page_says_when_callers_need_no_key() {
    let home = Home::new("[auth]\nanonymous_role = \"viewer\"");
    let process = home.start(&["up", "--no-sandbox", "--mode", "dev"]);
    assert_eq!(process.screen["anonymous"], "viewer");
    let page = http::send("GET", process.screen["dashboard"].as_str().unwrap(), &[], b"");
    assert!(page.body.contains("callers without a key are let in as viewer"), "{}", page.body);
    let status = http::send("GET", &format!("{}/status", process.screen["coordinator"].as_str().unwrap()), &[], b"");
    assert!(status.ok()["notice"].as_str().unwrap().contains("auth.anonymous_role"));
}
