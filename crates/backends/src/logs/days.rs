//! The files: which days there are, and their open connections.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kernel::{Clock, Result, clock};
use sqlx::sqlite::SqliteSynchronous;
use tokio::sync::Mutex;

use crate::db::Db;
use crate::db::sqlite::{File, Opening, io_fault};
use crate::sqlite::make_private_dir;

/// A day that nobody asked about for so long is closed when somebody asks about any.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of a page: lines come by the thousand.
const PAGE_BYTES: u32 = 4_096;
/// Connections that read one day.
const READERS: u32 = 2;

/// A day's tables, version by version. What stands here never changes; a change is a new version.
const VERSIONS: &[&str] = &["
    CREATE TABLE lines (
        seq INTEGER PRIMARY KEY,
        at_ms BIGINT NOT NULL,
        level BIGINT NOT NULL,
        service TEXT NOT NULL,
        message TEXT NOT NULL,
        trace_id TEXT,
        fields TEXT
    );
    -- Besides the text it indexes what else is searched for by equality: a table's index on a trace id would touch a page per line,
    -- this one grows by whole segments.
    CREATE VIRTUAL TABLE words USING fts5 (
        message, fields, service, trace_id, level,
        content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 0'
    );
    -- What the lines of a minute add up to, and where they lie: counts and time ranges need not look at lines outside of it.
    CREATE TABLE minutes (
        minute BIGINT NOT NULL,
        service TEXT NOT NULL,
        level BIGINT NOT NULL,
        lines BIGINT NOT NULL,
        first_ms BIGINT NOT NULL,
        last_ms BIGINT NOT NULL,
        first_seq BIGINT NOT NULL,
        last_seq BIGINT NOT NULL,
        PRIMARY KEY (minute, service, level)
    ) WITHOUT ROWID;
"];

/// Indexes the lines from `$1` on.
pub(super) const INDEX_FROM: &str = "INSERT INTO words (rowid, message, fields, service, trace_id, level)
     SELECT seq, message, fields, service, trace_id, CASE level WHEN 3 THEN 'warn' WHEN 4 THEN 'error' END
     FROM lines WHERE seq >= $1";

/// What becomes of a minute that is there already.
pub(super) const ADD_TO_MINUTE: &str = "ON CONFLICT (minute, service, level) DO UPDATE SET
     lines = minutes.lines + excluded.lines, last_seq = excluded.last_seq,
     first_ms = MIN(minutes.first_ms, excluded.first_ms), last_ms = MAX(minutes.last_ms, excluded.last_ms)";

/// The folder.
pub(super) struct Days {
    folder: PathBuf,
    clock: Clock,
    open: Mutex<BTreeMap<i64, Open>>,
}

struct Open {
    db: Db,
    used: Instant,
}

/// The day's file, if it is open. Closes those that nobody asks about; who still reads one does so to the end.
fn opened(open: &mut BTreeMap<i64, Open>, day: i64) -> Option<Db> {
    if let Some(open) = open.get_mut(&day) {
        open.used = Instant::now();
    }
    open.retain(|_, open| open.used.elapsed() < IDLE);
    open.get(&day).map(|open| open.db.clone())
}

impl Days {
    pub(super) fn open(folder: PathBuf, clock: Clock) -> Result<Self> {
        make_private_dir(&folder)?;
        Ok(Self { folder, clock, open: Mutex::default() })
    }

    fn path(&self, day: i64) -> PathBuf {
        self.folder.join(format!("{}.db", clock::date(day)))
    }

    /// Whether the day's file is there.
    pub(super) fn exists(&self, day: i64) -> bool {
        self.path(day).exists()
    }

    /// The days whose files are there, oldest first.
    pub(super) fn list(&self) -> Result<Vec<i64>> {
        let doing = format!("cannot list folder {}", self.folder.display());
        let entries = std::fs::read_dir(&self.folder).map_err(|error| io_fault(&error, &doing))?;
        let mut days = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| io_fault(&error, &doing))?.file_name();
            days.extend(name.to_str().and_then(|name| name.strip_suffix(".db")).and_then(clock::day_of_date));
        }
        days.sort_unstable();
        Ok(days)
    }

    /// The day's file, made if it is not there.
    pub(super) async fn to_write(&self, day: i64) -> Result<Db> {
        let mut open = self.open.lock().await;
        if let Some(db) = opened(&mut open, day).filter(|_| self.exists(day)) {
            return Ok(db);
        }
        // Nobody may still be writing to the day before once this one exists.
        let before = self.list()?.into_iter().rfind(|before| *before < day);
        let before = match before {
            Some(before) if !self.exists(day) => Some(self.connect(before, false).await?),
            _ => None,
        };
        let _held = match &before {
            Some(db) => Some(db.begin().await?),
            None => None,
        };
        let db = self.connect(day, true).await?;
        open.insert(day, Open { db: db.clone(), used: Instant::now() });
        Ok(db)
    }

    /// The day's file, unless it is gone.
    pub(super) async fn to_read(&self, day: i64) -> Result<Option<Db>> {
        let mut open = self.open.lock().await;
        if !self.exists(day) {
            open.remove(&day);
            return Ok(None);
        }
        if let Some(db) = opened(&mut open, day) {
            return Ok(Some(db));
        }
        match self.connect(day, false).await {
            Ok(db) => {
                open.insert(day, Open { db: db.clone(), used: Instant::now() });
                Ok(Some(db))
            }
            // Removed in the meantime.
            Err(_) if !self.exists(day) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn connect(&self, day: i64, create: bool) -> Result<Db> {
        let opening = Opening {
            path: &self.path(day),
            synchronous: SqliteSynchronous::Normal,
            readers: READERS,
            page_bytes: PAGE_BYTES,
            create,
            schema: VERSIONS,
        };
        File::open(&opening, &self.clock).await.map(Db::from)
    }

    /// Bytes of the day's file and its write-ahead log.
    pub(super) fn bytes(&self, day: i64) -> u64 {
        let sizes = self.files(day).map(|path| std::fs::metadata(path).map_or(0, |data| data.len()));
        sizes.into_iter().sum()
    }

    fn files(&self, day: i64) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|suffix| {
            let mut path = self.path(day).into_os_string();
            path.push(suffix);
            path.into()
        })
    }

    /// Removes the day's file. False when it was gone already.
    pub(super) async fn remove(&self, day: i64) -> Result<bool> {
        let open = self.open.lock().await.remove(&day);
        if let Some(Open { db, .. }) = open {
            db.close().await;
        }
        let mut removed = false;
        for (index, path) in self.files(day).iter().enumerate() {
            match std::fs::remove_file(path) {
                Ok(()) => removed |= index == 0,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(io_fault(&error, &format!("cannot remove {}", path.display()))),
            }
        }
        Ok(removed)
    }

    pub(super) async fn close(&self) {
        let open = std::mem::take(&mut *self.open.lock().await);
        for Open { db, .. } in open.into_values() {
            db.close().await;
        }
    }
}
