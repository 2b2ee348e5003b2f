//! Store, bus, queue and audit trail in one PostgreSQL database, which the processes of several machines share.

mod schema;

use kernel::{Clock, Result};

use crate::Database;
use crate::db::Db;
use crate::db::postgres::{Opening, Server};
use crate::sqlite::Config;

/// Where the database is. Secrets: they are never shown.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// `postgres://user:password@host:port/database`, with the parameters that libpq knows (`sslmode`, `sslrootcert`, …).
    pub url: &'a str,
    /// The password, when the URL has none.
    pub password: Option<&'a str>,
}

impl Place<'_> {
    fn opening(&self, readers: u32) -> Opening<'_> {
        Opening { url: self.url, password: self.password, readers, schema: schema::VERSIONS, migrate: true }
    }

    /// Looks once whether the server lets us in; changes nothing. Answers where it is, without a secret.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn look(&self) -> Result<String> {
        Server::look(&self.opening(1)).await
    }
}

/// Connects to look at what is there, or to fill what is new when told to `migrate`.
pub(crate) async fn tables(place: Place<'_>, migrate: bool, clock: &Clock) -> Result<Db> {
    Ok(Server::open(&Opening { migrate, ..place.opening(1) }, clock).await?.into())
}

/// Connects, and makes the tables when they are not there. A server that is being started is waited for.
///
/// # Errors
/// [`Code::Unavailable`](kernel::Code::Unavailable) when the server is not there; [`Code::NotConfigured`](kernel::Code::NotConfigured) when it does not let us in;
/// [`Code::Unsupported`](kernel::Code::Unsupported) when a newer version of this program wrote the tables, or the server is too old.
pub async fn open(config: &Config, place: Place<'_>, clock: Clock) -> Result<Database> {
    config.check()?;
    let server = Server::open(&place.opening(config.readers), &clock).await?;
    let about = server.about().to_owned();
    Ok(Database::new(server.into(), &clock, config.queue_depth_max, &about))
}
