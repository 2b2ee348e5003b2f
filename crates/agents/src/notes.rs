//! What an agent must know again after a restart, or by its next copy: a few small values, by name.
//!
//! The copy that leads writes them; a copy that has lost the lead without knowing is refused, because it wrote over what it had not read.

use std::sync::Arc;

use kernel::store::{Expect, Store, Write};
use kernel::{Fault, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where notes are kept in the store.
const SPACE: &str = "agent_notes";
/// Largest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 256 << 10;

/// An agent's notes. Cloning shares them.
#[derive(Clone)]
pub struct Notes {
    store: Arc<dyn Store>,
    agent: &'static str,
}

/// A note as it was read: what it says, and where it stood then.
#[derive(Debug, Clone)]
pub struct Note<T> {
    /// What it says.
    pub value: T,
    revision: Option<u64>,
}

impl Notes {
    pub(crate) fn new(store: Arc<dyn Store>, agent: &'static str) -> Self {
        Self { store, agent }
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.agent)
    }

    /// Reads a note; where there is none, the type's default.
    ///
    /// # Errors
    /// When the store does not answer, or the note is of another type.
    pub async fn read<T: DeserializeOwned + Default>(&self, name: &str) -> Result<Note<T>> {
        let Some(entry) = self.store.get(SPACE, &self.key(name)).await? else {
            return Ok(Note { value: T::default(), revision: None });
        };
        let value = serde_json::from_str(&entry.value)
            .map_err(|error| Fault::internal(format!("note {name} of {} is damaged: {error}", self.agent)))?;
        Ok(Note { value, revision: Some(entry.revision) })
    }

    /// Writes a note down, unless somebody else did since it was read.
    ///
    /// # Errors
    /// [`Code::Conflict`](kernel::Code::Conflict) when somebody else did; [`Code::TooLarge`](kernel::Code::TooLarge).
    pub async fn write<T: Serialize>(&self, name: &str, note: &mut Note<T>) -> Result<()> {
        let text = serde_json::to_string(&note.value).map_err(|error| Fault::internal(format!("note: {error}")))?;
        if text.len() > NOTE_BYTES_MAX {
            return Err(Fault::too_large(format!("note {name} of {} has {} bytes", self.agent, text.len())));
        }
        let expect = note.revision.map_or(Expect::Absent, Expect::Revision);
        let write = Write::put(SPACE, &self.key(name), text).expecting(expect);
        note.revision = Some(self.store.commit(vec![write]).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kernel::Code;
    use kernel::fake::World;

    use super::*;

    #[tokio::test]
    async fn a_note_is_read_again_and_not_written_over_unread() {
        let store: Arc<dyn Store> = World::default().ports().store;
        let (one, other) = (Notes::new(Arc::clone(&store), "a"), Notes::new(store, "a"));
        let mut mine = one.read::<Vec<u32>>("n").await.unwrap();
        let mut theirs = other.read::<Vec<u32>>("n").await.unwrap();
        mine.value.push(1);
        one.write("n", &mut mine).await.unwrap();
        mine.value.push(2);
        one.write("n", &mut mine).await.unwrap();
        assert_eq!(other.write("n", &mut theirs).await.unwrap_err().code, Code::Conflict);
        assert_eq!(other.read::<Vec<u32>>("n").await.unwrap().value, [1, 2]);
        assert!(other.read::<u32>("n").await.unwrap_err().message.contains("damaged"));
        let mut large = Note { value: "x".repeat(NOTE_BYTES_MAX), revision: None };
        assert_eq!(one.write("l", &mut large).await.unwrap_err().code, Code::TooLarge);
    }
}
