//! Where the inside of a jail is put together, and the folders of the machine that go into it.
//!
//! Who runs a program as nobody gives it folders that nobody may not even pass through to. So root puts them in place first ([`STAGE`]), in a view of
//! the files of its own, and gives up its rights then; who is not root has only folders it may read anyway.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use kernel::jail::Mount;
use tempfile::TempDir;
use tokio::process::Command;

use super::{NOBODY, is_root};

const STAGE: &str = include_str!("stage.sh");

/// The place, gone when it is dropped.
pub(super) struct Stage {
    mounts: Vec<Mount>,
    folder: Option<TempDir>,
}

impl Stage {
    /// A place for a jail with these folders; one without needs none.
    pub(super) fn of(mounts: &[Mount]) -> io::Result<Self> {
        if mounts.is_empty() {
            return Ok(Self { mounts: Vec::new(), folder: None });
        }
        let folder = tempfile::Builder::new().prefix("flotilla-jail-").tempdir_in("/tmp")?;
        for name in std::iter::once("root".to_owned()).chain((0..mounts.len()).map(|number| number.to_string())) {
            std::fs::create_dir(folder.path().join(&name))?;
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        for mount in mounts.iter().filter(|mount| mount.write && is_root()) {
            chown(&mount.from, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(Self { mounts: mounts.to_vec(), folder: Some(folder) })
    }

    /// The command that begins with `program`, after what must be done before it.
    pub(super) fn command(&self, program: &str) -> Command {
        if self.mounts.is_empty() || !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", STAGE, "sh", program]);
        command
    }

    /// Tells what is where.
    pub(super) fn tell(&self, command: &mut Command) {
        let path = self.folder.as_ref().map_or_else(|| PathBuf::from("/tmp"), |folder| folder.path().join("root"));
        command.env("JAIL_ROOT", path);
        command.env("JAIL_STAGE", self.folder.as_ref().map_or_else(|| Path::new(""), |folder| folder.path()));
        let numbers: Vec<String> = (0..self.mounts.len()).map(|number| number.to_string()).collect();
        command.env("JAIL_MOUNTS", numbers.join(" "));
        for (number, Mount { from, name, write }) in self.mounts.iter().enumerate() {
            command.env(format!("JAIL_FROM_{number}"), from).env(format!("JAIL_AT_{number}"), name);
            command.env(format!("JAIL_WRITE_{number}"), if *write { "yes" } else { "no" });
        }
    }
}
