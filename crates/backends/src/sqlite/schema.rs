//! The tables of `flotilla.db`, version by version. This and `db.rs` are the only places that know which database it is.
//!
//! For PostgreSQL the same tables need `BIGINT` for `INTEGER PRIMARY KEY`, and `COLLATE "C"` on `entries.key`, whose order is by bytes.

/// Oldest first. What stands here never changes; a change is a new version.
pub(super) const VERSIONS: &[&str] = &["
    -- The store. A row without a value remembers a deletion.
    CREATE TABLE entries (
        space TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT,
        revision BIGINT NOT NULL,
        updated_ms BIGINT NOT NULL,
        expires_ms BIGINT,
        PRIMARY KEY (space, key)
    );
    CREATE INDEX entries_by_revision ON entries (space, revision);
    CREATE INDEX entries_by_expiry ON entries (expires_ms) WHERE expires_ms IS NOT NULL;
    CREATE INDEX entries_deleted ON entries (updated_ms) WHERE value IS NULL;

    -- What only grows: the store's revision, the number of events ever published.
    CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
    INSERT INTO counters (name, value) VALUES ('revision', 0), ('published', 0);

    -- The bus.
    CREATE TABLE topics (name TEXT PRIMARY KEY, last_seq BIGINT NOT NULL, last_at_ms BIGINT NOT NULL);
    CREATE TABLE events (
        topic TEXT NOT NULL REFERENCES topics (name),
        seq BIGINT NOT NULL,
        kind TEXT NOT NULL,
        source TEXT NOT NULL,
        at_ms BIGINT NOT NULL,
        trace_id TEXT,
        data TEXT NOT NULL,
        PRIMARY KEY (topic, seq)
    );
    CREATE INDEX events_by_time ON events (at_ms);

    -- The audit trail. Its head stands apart, so that a cut tail shows. Only what is rare is indexed: rows come by the thousand.
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        at_ms BIGINT NOT NULL,
        caller TEXT NOT NULL,
        role TEXT NOT NULL,
        server TEXT NOT NULL,
        action TEXT NOT NULL,
        arguments TEXT NOT NULL,
        outcome TEXT NOT NULL,
        result_sha256 TEXT NOT NULL,
        took_us BIGINT NOT NULL,
        trace_id TEXT NOT NULL,
        hash TEXT NOT NULL
    );
    CREATE INDEX audit_failures ON audit (outcome, seq) WHERE outcome <> 'ok';
    CREATE TABLE audit_head (id BIGINT PRIMARY KEY, seq BIGINT NOT NULL, hash TEXT NOT NULL);
    INSERT INTO audit_head (id, seq, hash)
        VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
"];
