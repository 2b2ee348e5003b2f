//! What PostgreSQL keeps, as the file that a backup has: the same that a fleet without PostgreSQL has in its data folder, so a backup of one
//! kind of fleet is put back as either.

use std::path::Path;

use kernel::{Clock, Result};

use crate::db::{Db, transfer};
use crate::postgres::{self, Place};
use crate::sqlite;

/// Puts what the server keeps, as it is at one moment, into a new file; whoever writes it meanwhile waits for nothing.
pub(super) async fn save(place: Place<'_>, file: &Path, clock: &Clock) -> Result<()> {
    let (from, to) = (postgres::tables(place, false, clock).await?, sqlite::tables(file, clock).await?);
    let done = transfer::into_file(&from, &to).await;
    close(from, to).await;
    done
}

/// Puts what the file keeps into the server's database, all of it or nothing.
pub(super) async fn load(file: &Path, place: Place<'_>, clock: &Clock) -> Result<()> {
    let from = sqlite::tables(file, clock).await?;
    let to = postgres::tables(place, true, clock).await?;
    let done = transfer::into_server(&from, &to).await;
    close(from, to).await;
    done
}

async fn close(one: Db, other: Db) {
    one.close().await;
    other.close().await;
}
