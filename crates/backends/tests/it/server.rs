//! The tests' PostgreSQL: one server for all tests of a run, which ends with its last user, and servers that a test has for itself.
//!
//! On a build server one that is not installed fails its test; on a laptop the test is skipped, and says so.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::real::missing;

/// What the script ends with where PostgreSQL is not installed.
const NOT_INSTALLED: i32 = 3;

/// The URL of a new schema on the server that all tests share.
pub(crate) fn schema() -> Option<String> {
    /// Locked until this process ends: so long the server is needed.
    static USED: OnceLock<File> = OnceLock::new();
    let folder = shared();
    USED.get_or_init(|| used(&folder));
    script("schema", &folder)
}

#[expect(unsafe_code, reason = "whose process this is has no safe form in std")]
fn shared() -> PathBuf {
    // SAFETY: `geteuid` takes nothing, touches nothing and cannot fail.
    let user = unsafe { libc::geteuid() };
    std::env::temp_dir().join(format!("flotilla-tests-{user}-postgres"))
}

/// Says that a server's folder is in use, for as long as the answer lives.
fn used(folder: &Path) -> File {
    std::fs::create_dir_all(folder).unwrap();
    let file = File::options().create(true).truncate(false).write(true).open(folder.join("users")).unwrap();
    file.lock_shared().unwrap();
    file
}

/// What the script says. `None` where PostgreSQL is not installed.
fn script(verb: &str, folder: &Path) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../backends/tests/postgres.sh");
    let ran = Command::new("sh").arg(script).arg(verb).arg(folder).stdin(Stdio::null()).output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.code() == Some(NOT_INSTALLED) {
        missing(&wrong);
        return None;
    }
    assert!(ran.status.success(), "{verb}: {wrong}");
    Some(said.trim().to_owned())
}

/// A server that one test has for itself, to kill it.
pub(crate) struct Own {
    folder: TempDir,
    _used: File,
}

impl Own {
    /// Starts one. The answer has its URL.
    pub(crate) fn start() -> Option<(Self, String)> {
        let folder = tempfile::tempdir().unwrap();
        let own = Self { _used: used(folder.path()), folder };
        let url = own.again()?;
        Some((own, url))
    }

    /// Starts it again.
    pub(crate) fn again(&self) -> Option<String> {
        script("start", self.folder.path())
    }

    /// Ends it without a word: `kill -9`.
    pub(crate) fn kill(&self) {
        let note = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap();
        let pid = note.lines().next().unwrap();
        let killed = Command::new("kill").args(["-9", pid]).status().unwrap();
        assert!(killed.success(), "kill -9 {pid}");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        script("stop", self.folder.path());
    }
}
