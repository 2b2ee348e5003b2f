//! The conformance fixture of `crates/mcp`: a server with one of each thing the protocol knows, built by our own stack.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::process::Group;
use crate::harness::tools;

/// The running fixture; ended when dropped.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// Its endpoint.
    pub(crate) url: String,
    child: Child,
    group: Option<Group>,
}

impl Fixture {
    /// Starts it on a free port; nothing where it was not built.
    pub(crate) fn start() -> Option<Self> {
        let mut command = Command::new(tools::example("conformance_fixture")?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let group = Some(Group::of(&child));
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Some(Self { url: url.trim().to_owned(), child, group })
    }

    /// `flotilla.toml` of a fleet that has it as the upstream `fixture`, open to callers without a key, as the suite is one.
    pub(crate) fn as_upstream(&self) -> String {
        let url = json!(self.url);
        format!("[auth]\nanonymous_role = \"admin\"\n[upstreams.fixture]\nurl = {url}\nallow_private = true\n")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.group = None;
        // It was killed above.
        self.child.wait().ok();
    }
}
