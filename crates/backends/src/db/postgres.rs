//! PostgreSQL: connections, transactions and its errors in our words.
//!
//! Locks are the server's, by schema and part, and end with their transaction; a process that stands still in one loses it after
//! [`IDLE_IN_TRANSACTION_MS`]. No error says anything of the URL but its host, port and database.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use kernel::backoff::Backoff;
use kernel::{Clock, Code, Fault, Result};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::connections::Connections;
use super::reach::Reach;
use super::sql::{Answer, Statement};
use super::transaction::{Transaction, Used};
use super::{PARTS, Part, Tx};

/// How long a free connection is waited for.
const ACQUIRE_TIME: Duration = Duration::from_secs(5);
/// How long a statement may take, its turn among the writers included.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// How long the server lets a process stand still in a transaction, in milliseconds.
const IDLE_IN_TRANSACTION_MS: &str = "15000";
/// Connections that write, at most. Each part writes alone, so more would only wait.
const WRITERS: u32 = 4;
/// Connections that nobody needs are closed after this.
const IDLE: Duration = Duration::from_secs(60);
/// A connection that has rested this long is tried before it is used: the server may have gone and come back meanwhile.
const RESTED: Duration = Duration::from_secs(1);
/// How long a server that is not there yet is waited for at the start.
const START_TIME: Duration = Duration::from_secs(10);
/// Waits between looks at the start.
const START_BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };
/// The oldest server whose SQL is known to do, as it counts its versions.
const OLDEST: i64 = 130_000;

/// Which database, and how.
pub(crate) struct Opening<'a> {
    /// `postgres://user:password@host:port/database`, with the parameters that libpq knows.
    pub(crate) url: &'a str,
    /// The password, when the URL has none.
    pub(crate) password: Option<&'a str>,
    /// Connections that read, at most.
    pub(crate) readers: u32,
    /// The schema's versions, oldest first. What stands there never changes; a change is a new version.
    pub(crate) schema: &'static [&'static str],
    /// Whether to bring the schema up to date; otherwise one that is not is refused.
    pub(crate) migrate: bool,
}

/// An open database.
pub(crate) struct Server {
    writers: Arc<Connections<PgConnection>>,
    readers: Arc<Connections<PgConnection>>,
    /// Whose turn it is in this process, by part: who would wait on the server for another of ours waits here, and takes no connection for it.
    turns: [Arc<Mutex<()>>; PARTS],
    reach: Arc<Reach>,
    version: String,
}

impl Server {
    /// Connects, and brings the schema up to date.
    pub(crate) async fn open(opening: &Opening<'_>, clock: &Clock) -> Result<Self> {
        let options = options(opening)?;
        let reach = Arc::new(Reach::new(options.clone(), place(&options)));
        until_there(&reach).await?;
        let connections = |most| Connections::new(options.clone(), most);
        let (writers, readers) = (connections(WRITERS), connections(opening.readers));
        let mut server = Self { writers, readers, turns: Default::default(), reach, version: String::new() };
        server.prepare(opening, clock).await.map_err(|fault| fault.context("cannot use PostgreSQL"))?;
        Ok(server)
    }

    /// Looks once whether the server lets us in, and says where it is.
    pub(crate) async fn look(opening: &Opening<'_>) -> Result<String> {
        let options = options(opening)?;
        let place = place(&options);
        Reach::new(options, place.clone()).look().await.map(|()| place)
    }

    async fn prepare(&mut self, opening: &Opening<'_>, clock: &Clock) -> Result<()> {
        let schema = opening.schema;
        let facts = super::sql(
            "SELECT CAST(current_setting('server_version_num') AS BIGINT), current_setting('server_version'),
             current_setting('server_encoding'), to_regclass('schema_versions') IS NOT NULL",
        );
        let facts = self.read(facts).await?;
        let row = facts.rows.first().ok_or_else(|| Fault::internal("PostgreSQL does not say what it is"))?;
        let (number, name, encoding): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let version = name.split(' ').next().unwrap_or_default();
        if number < OLDEST {
            return Err(Fault::unsupported(format!("it is version {version}")).hint("13 or later"));
        }
        if encoding != "UTF8" {
            return Err(Fault::unsupported(format!("the database's encoding is {encoding}"))
                .hint("CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"));
        }
        self.version = format!("PostgreSQL {version} at {}", self.reach.place());
        // A schema that is as it should be, as most are, is opened without waiting for whoever changes one.
        if row.get::<bool>(3)? {
            let had = self.read(super::sql("SELECT MAX(version) FROM schema_versions")).await?;
            let had = had.rows.first().map(|row| row.get::<Option<i64>>(0)).transpose()?.flatten();
            if had.and_then(|had| usize::try_from(had).ok()) == Some(schema.len()) {
                return Ok(());
            }
        }
        if !opening.migrate {
            return Err(Fault::unsupported(format!("{} has no fleet's tables of this version", self.reach.place()))
                .hint("use the flotilla that runs on it"));
        }
        let tx = Tx::Postgres(self.begin(Part::Schema).await?);
        super::migrate(tx, schema, clock, "another database").await
    }

    /// What it is and where, for people.
    pub(crate) fn about(&self) -> &str {
        &self.version
    }

    /// Begins a transaction that holds the lock of `part`.
    pub(super) async fn begin(&self, part: Part) -> Result<Transaction> {
        let turn = &self.turns[part as usize];
        let begun = async {
            let turn = Arc::clone(turn).lock_owned().await;
            let mut used = self.take(&self.writers).await?;
            used.begin(part).await?;
            Ok((used, turn))
        };
        let (used, turn) = self.answered(begun).await?;
        Ok(Transaction::new(used, Some(turn), Arc::clone(&self.reach)))
    }

    /// Begins a transaction that sees what there is now, and writes nothing.
    pub(super) async fn snapshot(&self) -> Result<Transaction> {
        let begun = async {
            let mut used = self.take(&self.readers).await?;
            used.begin_snapshot().await?;
            Ok(used)
        };
        let used = self.answered(begun).await?;
        Ok(Transaction::new(used, None, Arc::clone(&self.reach)))
    }

    /// Runs what only reads.
    pub(super) async fn read(&self, statement: Statement<'_>) -> Result<Answer> {
        self.answered(async { self.take(&self.readers).await?.run(statement).await }).await
    }

    /// A connection that is known to work, or new. Others go when somebody takes one.
    async fn take(&self, from: &Arc<Connections<PgConnection>>) -> sqlx::Result<Used> {
        [&self.writers, &self.readers].into_iter().for_each(|connections| connections.forget(IDLE));
        let taking = async {
            loop {
                let mut used = Used::from(from.take(ACQUIRE_TIME).await?);
                let lent = used.lent();
                let rested = lent.rested().is_some_and(|rested| rested > RESTED);
                // One that does not answer is closed, so there are no more to try than there may be connections.
                if !(rested || self.reach.has_gone_since(lent.age())) || used.ping().await.is_ok() {
                    return Ok(used);
                }
            }
        };
        timeout(ACQUIRE_TIME, taking).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }

    /// Does `work` unless the server is away.
    async fn answered<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        self.reach.check().await?;
        in_time(&self.reach, work).await
    }
}

/// Does `work`, and notes when the server turns out to be away.
pub(super) async fn in_time<T>(reach: &Reach, work: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    let done = timeout(ANSWER_TIME, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    done.map_err(|error| {
        if away(&error) {
            reach.lost(&error);
        }
        fault(reach.place(), &error)
    })
}

fn options(opening: &Opening<'_>) -> Result<PgConnectOptions> {
    let url = opening.url;
    let wrong =
        |why: &str| Fault::invalid(format!("DATABASE_URL {why}")).hint("postgres://user:password@host:5432/database");
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest =
        rest.ok_or_else(|| wrong("is not PostgreSQL's: it begins with neither postgres:// nor postgresql://"))?;
    // The error has no part of the URL in it, but for a parameter's value.
    let mut options = PgConnectOptions::from_str(url).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let login = rest.split(['/', '?']).next().and_then(|authority| authority.rsplit_once('@')).map(|(login, _)| login);
    if let Some(password) = opening.password.filter(|_| login.is_none_or(|login| !login.contains(':'))) {
        options = options.password(password);
    }
    if options.get_application_name().is_none() {
        options = options.application_name("flotilla");
    }
    Ok(options
        .options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS)])
        // Statements would be logged into the log store.
        .disable_statement_logging())
}

/// Host, port and database, for people.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

/// Waits for a server that is being started.
async fn until_there(reach: &Reach) -> Result<()> {
    let (began, mut failures) = (Instant::now(), 0);
    loop {
        match reach.look().await {
            Err(fault) if fault.code == Code::Unavailable && began.elapsed() < START_TIME => {
                failures += 1;
                if failures == 1 {
                    tracing::warn!(%fault, "waiting for PostgreSQL");
                }
                tokio::time::sleep(START_BACKOFF.wait(failures)).await;
            }
            looked => return looked,
        }
    }
}

/// Whether this says that the server is away, and not that it answers no.
pub(super) fn away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
        }
        _ => false,
    }
}

/// A database error in our words.
pub(super) fn fault(place: &str, error: &sqlx::Error) -> Fault {
    if let Some(fault) = super::said_by_trigger(error) {
        return fault;
    }
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
    let at = |what: &str| format!("PostgreSQL at {place} {what}: {error}");
    match (error, code.as_bytes()) {
        (sqlx::Error::PoolClosed, _) => Fault::unavailable("the database is closed").hint("the process is stopping"),
        (sqlx::Error::PoolTimedOut, _) => Fault::unavailable(format!("PostgreSQL at {place} did not answer in time"))
            .hint("it is away, or another process holds it; try again"),
        (_, [b'2', b'8', ..]) => Fault::new(Code::NotConfigured, at("refuses the login"))
            .hint("look at the user in DATABASE_URL, and at its password or POSTGRES_PASSWORD"),
        (_, b"3D000") => Fault::new(Code::NotConfigured, at("has no such database"))
            .hint("CREATE DATABASE it, or name another in DATABASE_URL"),
        (_, b"42501") => Fault::new(Code::NotConfigured, at("does not allow it"))
            .hint("let the user of DATABASE_URL own its database"),
        (_, b"22021") => Fault::invalid("a text holds a NUL character").hint("text without U+0000"),
        (_, b"25006") => {
            Fault::unavailable(at("only reads")).hint("it is a stand-by: name the primary in DATABASE_URL")
        }
        (_, b"53100") => Fault::unavailable(at("has no room")).hint("free space on its disk"),
        (_, b"53300") => Fault::unavailable(at("has no connection left"))
            .hint("raise its max_connections, or lower store.readers: a process takes up to 4 more than that"),
        (_, [b'5', b'3', ..] | [b'4', b'0', ..] | b"25P03") => Fault::unavailable(at("gave it up")).hint("try again"),
        _ if away(error) => Fault::unavailable(at("cannot be reached"))
            .hint("it is looked for; what was written before is there when it is back"),
        _ => Fault::internal(format!("database: {error}")),
    }
}
