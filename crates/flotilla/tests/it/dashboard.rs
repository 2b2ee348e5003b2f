//! The dashboard: what it shows is so, what it does is done by tools under whoever sent the form, and it cannot be made to do anything else.

mod views;
mod walk;

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::http::{self, Answer};
use crate::harness::{Fleet, Home};

fn url_of(fleet: &Fleet) -> String {
    fleet.process.screen["dashboard"].as_str().unwrap().to_owned()
}

/// A browser without a window: it keeps cookies and sends forms.
struct Visitor {
    base: String,
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    fn new(base: &str) -> Self {
        Self { base: base.to_owned(), cookies: BTreeMap::new() }
    }

    fn send(&mut self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![("accept", "text/html"), ("cookie", cookies.as_str())];
        headers.extend(more);
        let answer = http::send(method, &format!("{}{path}", self.base), &headers, body.as_bytes());
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            if set.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// The token of a page's forms.
    fn token(&mut self, path: &str) -> String {
        let page = self.get(path).body;
        let after = page.split("name=\"token\" value=\"").nth(1).unwrap_or_else(|| panic!("no form in {page}"));
        after.split('"').next().unwrap().to_owned()
    }

    /// Sends a form of the page at `path`.
    fn post(&mut self, path: &str, to: &str, fields: &str) -> Answer {
        let token = self.token(path);
        self.send("POST", to, &[], &format!("token={token}&{fields}"))
    }

    fn sign_in(&mut self, key: &str) {
        let answer = self.post("/ui/sign-in", "/ui/sign-in", &format!("key={key}&next=/ui/services"));
        assert_eq!((answer.status, answer.header("location")), (303, "/ui/services"), "{answer:?}");
    }
}

/// The form that restarts a service.
fn restart(service: &str) -> String {
    format!(
        "server=master-coordinator&tool=restart_service&arg.service={service}&arg.kind=server&arg.reason=a+test\
         &done=it+runs+again&back=/ui/services/{service}"
    )
}

#[test]
fn the_first_page_shows_every_service_and_runs_nothing_but_our_own() {
    let fleet = Fleet::plain();
    let page = http::send("GET", &url_of(&fleet), &[], b"");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    let policy = page.header("content-security-policy");
    for directive in
        ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(directive), "{directive} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for row in fleet.process.screen["services"].as_array().unwrap() {
        assert!(page.body.contains(row["service"].as_str().unwrap()), "{row}");
    }
    assert!(page.body.contains("<h2>Agents</h2>"), "{}", page.body);
    let lower = page.body.to_lowercase();
    for active in [
        "<script>",
        "javascript:",
        " onload=",
        " onerror=",
        " onclick=",
        "<iframe",
        "<style",
        " style=",
        "http-equiv=\"refresh\" content=\"0",
    ] {
        assert!(!lower.contains(active), "{active} in {lower}");
    }
    let script = page.body.split("<script src=\"").nth(1).unwrap().split('"').next().unwrap();
    let script = http::send("GET", &format!("{}{script}", url_of(&fleet)), &[], b"");
    assert!(script.status == 200 && script.header("cache-control").contains("immutable"), "{script:?}");
    assert_eq!(http::send("GET", &format!("{}/health/live", url_of(&fleet)), &[], b"").body, "alive");
    assert_eq!(
        http::send("GET", &format!("{}/ui/nowhere", url_of(&fleet)), &[], b"").problem(),
        (404, "not_found".into())
    );
    assert_eq!(http::send("GET", &format!("{}/ui/services/nobody", url_of(&fleet)), &[], b"").problem().0, 404);
}

#[test]
fn it_refuses_foreign_names_and_wrong_keys() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], "");
    let url = url_of(&fleet);
    assert_eq!(http::send("GET", &url, &[("host", "evil.example")], b"").problem().0, 403);
    assert_eq!(http::send("GET", &url, &[("authorization", "Bearer flt_wrong")], b"").problem().0, 401);
    let mut visitor = Visitor::new(&url);
    let refused = visitor.post("/ui/sign-in", "/ui/sign-in", "key=flt_wrong");
    assert!(refused.status == 401 && refused.body.contains("unknown key"), "{refused:?}");
    let led = visitor.post("/ui/sign-in", "/ui/sign-in", &format!("key={}&next=//evil.example", fleet.home.key()));
    assert_eq!((led.status, led.header("location")), (303, "/"), "{led:?}");
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

#[test]
fn what_is_done_is_done_as_whoever_signed_in_and_only_from_their_own_page() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "minimal"], "");
    let url = url_of(&fleet);
    let restarts = || fleet.cli(&["status", "utilities", "--json"]).json()["restarts"].as_u64().unwrap();
    let key = |name: &str, role: &str| {
        let made = fleet.cli(&["token", "create", name, "--role", role, "--json"]).json();
        made["token"].as_str().unwrap().to_owned()
    };

    // Who did not sign in looks, and sees what would be needed.
    let mut nobody = Visitor::new(&url);
    let page = nobody.get("/ui/services/utilities");
    assert!(page.body.contains("local") && page.body.contains("needs another role than viewer"), "{}", page.body);

    let mut viewer = Visitor::new(&url);
    viewer.sign_in(&key("vera", "viewer"));
    let page = viewer.get("/ui/services/utilities").body;
    assert!(
        page.contains("vera") && page.contains("needs another role than viewer") && !page.contains("arg.reason"),
        "{page}"
    );
    // A form that she was never given is refused by the tool itself.
    let sent = viewer.post("/ui/services/utilities", "/ui/act", &restart("utilities"));
    assert_eq!((sent.status, sent.header("location")), (303, "/ui/services/utilities"), "{sent:?}");
    let told = viewer.get("/ui/services/utilities").body;
    assert!(told.contains("permission_denied"), "{told}");
    assert!(!viewer.get("/ui/services/utilities").body.contains("permission_denied"), "it is told once");
    assert_eq!(restarts(), 0);

    let mut operator = Visitor::new(&url);
    operator.sign_in(&key("otto", "operator"));
    let token = operator.token("/ui/services/utilities");
    let stolen = operator.send("POST", "/ui/act", &[], &restart("utilities"));
    assert_eq!(stolen.status, 403, "without a token: {stolen:?}");
    let body = format!("token={}&{}", viewer.token("/"), restart("utilities"));
    assert_eq!(operator.send("POST", "/ui/act", &[], &body).status, 403, "with another's token");
    let body = format!("token={token}&{}", restart("utilities"));
    for elsewhere in [("origin", "http://evil.example"), ("sec-fetch-site", "same-site"), ("host", "evil.example")] {
        assert_eq!(operator.send("POST", "/ui/act", &[elsewhere], &body).status, 403, "{elsewhere:?}");
    }
    assert_eq!(restarts(), 0);
    assert_eq!(operator.send("POST", "/ui/act", &[], &body).status, 303);
    assert!(operator.get("/ui/services/utilities").body.contains("it runs again"));
    assert_eq!(restarts(), 1);

    let audit = fleet.cli(&["audit", "list", "--json"]).ok();
    assert!(audit.contains("sign_in") && audit.contains("restart_service") && audit.contains("otto"), "{audit}");
    assert!(!audit.contains("system_status"), "what open pages look at is not what somebody did: {audit}");

    // A key that is revoked ends its sessions.
    fleet.cli(&["token", "revoke", "otto"]).ok();
    let gone = crate::harness::wait_for("the session ends", crate::harness::LIMIT, || {
        Some(operator.get("/ui/services")).filter(|answer| answer.status == 303)
    });
    assert!(gone.header("location").starts_with("/ui/sign-in?next=%2Fui%2Fservices"), "{gone:?}");
    let out = viewer.post("/", "/ui/sign-out", "");
    assert_eq!(out.status, 303);
    assert!(viewer.get("/").body.contains("local"));
}

#[test]
fn a_link_from_the_command_line_signs_in_once() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], "");
    let link = fleet.cli(&["open", "--json"]).json();
    let path = link["path"].as_str().unwrap();
    assert_eq!(link["url"], json!(format!("{}{path}", url_of(&fleet))));
    let code = path.split_once("code=").unwrap().1;
    let mut first = Visitor::new(&url_of(&fleet));
    // To load it is not to use it.
    assert_eq!((first.get(path).status, first.get(path).status), (200, 200));
    let entered = first.post(path, "/ui/sign-in/link", &format!("code={code}"));
    assert_eq!((entered.status, entered.header("location")), (303, "/"), "{entered:?}");
    assert!(first.get("/").body.contains("<b>cli</b>"));
    let mut second = Visitor::new(&url_of(&fleet));
    let refused = second.post(path, "/ui/sign-in/link", &format!("code={code}"));
    assert!(refused.status == 401 && refused.body.contains("used already"), "{refused:?}");
    let nobody = http::send("POST", &format!("{}/sign-in-links", fleet.url()), &[], b"");
    assert_eq!(nobody.problem().0, 401);
}

/// A text as it stands in a query.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
