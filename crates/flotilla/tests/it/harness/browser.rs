//! A real browser, Debian's Chromium, driven as a person would: pages, clicks, keys, and what stands there then.
//!
//! It speaks WebDriver (W3C) to Chromium's own driver: JSON over HTTP, of which a walk needs ten commands. The crates that wrap it bring some forty
//! others, whose features have the whole workspace compiled anew. Nothing sleeps: whatever is looked for is waited for, generously, because a
//! browser beside a fleet on a busy machine takes its time.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::daemon::Daemon;
use super::{http, tools, wait_for};

/// How long anything on a page may take to stand there, and a command to be carried out.
const LIMIT: Duration = Duration::from_secs(60);
/// What WebDriver calls an element in its answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// A screen on a desk.
pub(crate) const DESK: (u32, u32) = (1400, 1000);
/// As narrow as phones are.
pub(crate) const PHONE: (u32, u32) = (390, 844);
/// Keys that are no characters, as WebDriver writes them.
pub(crate) const ENTER: &str = "\u{E007}";
/// The key that leaves things.
pub(crate) const ESCAPE: &str = "\u{E00C}";

/// The browser.
pub(crate) struct Browser {
    session: String,
    /// Where screenshots go.
    shots: PathBuf,
    /// Ended with the browser that it started.
    _driver: Daemon,
    _folder: TempDir,
}

impl Browser {
    /// Starts one, with scripts or without; nothing where there is none to start.
    pub(crate) fn start(name: &str, scripts: bool) -> Option<Self> {
        let (program, chromium) = (tools::installed("chromedriver")?, tools::installed("chromium")?);
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.arg("--port=0").env("HOME", folder.path());
        let mut driver = Daemon::start(&mut command, &folder.path().join("driver.log"));
        let port =
            |log: &str| log.split("started successfully on port ").nth(1)?.split('.').next()?.parse::<u16>().ok();
        let port = driver.says(LIMIT, port).unwrap_or_else(|| panic!("the driver ended: {}", driver.log()));
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        // Tests run as root on build servers, where Chromium's own sandbox does not start.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-crash-reporter",
            "--disable-gpu",
            profile.as_str(),
        ];
        // 1 allows scripts, 2 forbids them.
        let prefs = json!({ "profile.managed_default_content_settings.javascript": if scripts { 1 } else { 2 } });
        let options = json!({ "binary": chromium, "args": args, "prefs": prefs });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let base = format!("http://127.0.0.1:{port}/session");
        let made = command_of("POST", &base, &wanted).unwrap_or_else(|error| panic!("no browser: {error}"));
        let shots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("dashboard").join(name);
        std::fs::create_dir_all(&shots).unwrap();
        let session = format!("{base}/{}", made["sessionId"].as_str().unwrap());
        let browser = Self { session, shots, _driver: driver, _folder: folder };
        browser.size(DESK);
        Some(browser)
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        command_of("GET", &format!("{}/{path}", self.session), &Value::Null)
    }

    fn tell(&self, path: &str, what: &Value) -> Result<Value, String> {
        command_of("POST", &format!("{}/{path}", self.session), what)
    }

    /// Looks as from a screen of this size; below a desk's width as a phone does.
    pub(crate) fn size(&self, (width, height): (u32, u32)) {
        // A window cannot be made as narrow as a phone.
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < DESK.0 });
        let set = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": screen });
        self.tell("goog/cdp/execute", &set).unwrap();
    }

    /// Goes to a page.
    #[track_caller]
    pub(crate) fn goto(&self, url: &str) {
        self.tell("url", &json!({ "url": url })).unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.ask("url").unwrap().as_str().unwrap().to_owned()
    }

    fn elements(&self, css: &str) -> Result<Vec<String>, String> {
        let found = self.tell("elements", &json!({ "using": "css selector", "value": css }))?;
        Ok(found.as_array().into_iter().flatten().filter_map(|one| Some(one[ELEMENT].as_str()?.to_owned())).collect())
    }

    /// Waits until an element is there whose text has `text` in it; gives its whole text.
    #[track_caller]
    pub(crate) fn sees(&self, css: &str, text: &str) -> String {
        wait_for(&format!("`{text}` in {css} at {}", self.url()), LIMIT, || {
            // What is replaced while it is looked at is looked at again.
            let texts =
                self.elements(css).ok()?.into_iter().filter_map(|id| self.ask(&format!("element/{id}/text")).ok());
            texts.filter_map(|found| Some(found.as_str()?.to_owned())).find(|found| found.contains(text))
        })
    }

    /// How many elements there are.
    pub(crate) fn count(&self, css: &str) -> usize {
        self.elements(css).unwrap().len()
    }

    /// Does something to an element, as soon as it is there and lets it be done.
    #[track_caller]
    fn on(&self, css: &str, commands: &[(&str, Value)]) {
        let mut last = "it is not there".to_owned();
        let done = |id: &str| {
            commands.iter().try_for_each(|(what, with)| self.tell(&format!("element/{id}/{what}"), with).map(drop))
        };
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.elements(css).map(|all| all.into_iter().next()) {
                Ok(Some(id)) => match done(&id) {
                    Ok(()) => return,
                    Err(error) => last = error,
                },
                Ok(None) => {}
                Err(error) => last = error,
            }
            assert!(Instant::now() < deadline, "{css} at {}: {last}", self.url());
        }
    }

    /// Clicks an element.
    #[track_caller]
    pub(crate) fn click(&self, css: &str) {
        self.on(css, &[("click", json!({}))]);
    }

    /// Types into a field, in place of what it has.
    #[track_caller]
    pub(crate) fn fill(&self, css: &str, text: &str) {
        self.on(css, &[("clear", json!({})), ("value", json!({ "text": text }))]);
    }

    /// Presses keys wherever the focus is.
    pub(crate) fn press(&self, keys: &str) {
        let presses = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() })));
        let source = json!({ "type": "key", "id": "keyboard", "actions": presses.collect::<Vec<_>>() });
        self.tell("actions", &json!({ "actions": [source] })).unwrap();
    }

    /// What a piece of script gives.
    #[track_caller]
    pub(crate) fn eval(&self, script: &str) -> Value {
        self.tell("execute/sync", &json!({ "script": script, "args": [] }))
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Keeps what it shows now.
    pub(crate) fn shoot(&self, name: &str) {
        let picture = self.ask("screenshot").unwrap();
        let bytes = STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::write(self.shots.join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser; one that ended by itself needs no goodbye.
        command_of("DELETE", &self.session, &Value::Null).ok();
    }
}

/// One command: what it gives, or the error in WebDriver's words.
fn command_of(method: &str, url: &str, what: &Value) -> Result<Value, String> {
    let body = if what.is_null() { String::new() } else { what.to_string() };
    let headers = [("content-type", "application/json; charset=utf-8")];
    let answer = http::open_within(LIMIT, method, url, &headers, body.as_bytes()).and_then(http::Open::finish);
    let answer = answer.map_err(|error| error.to_string())?;
    let mut value = serde_json::from_str::<Value>(&answer.body).map_err(|error| format!("{error}: {}", answer.body))?;
    if answer.status == 200 {
        Ok(value["value"].take())
    } else {
        Err(format!("{}: {}", value["value"]["error"], value["value"]["message"]))
    }
}
