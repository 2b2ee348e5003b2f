//! The tables of `flotilla.db`, version by version. PostgreSQL has the same in `postgres/schema.rs`.

/// Oldest first. What stands here never changes; a change is a new version.
pub(super) const VERSIONS: &[&str] = &[
    "
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
",
    // Tasks. Their states are numbers: 0 delayed, 1 queued, 2 running, 3 done, 4 dead, 5 cancelled; the indices of what waits, runs and has
    // ended are partial, so that what is done costs nothing to what is to do.
    "
    CREATE TABLE tasks (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        type TEXT NOT NULL,
        state BIGINT NOT NULL,
        priority BIGINT NOT NULL,
        -- Its place among the tasks of its queue and priority; 0 until it may begin for the first time.
        turn BIGINT NOT NULL,
        attempts BIGINT NOT NULL,
        attempts_max BIGINT NOT NULL,
        attempts_each BIGINT NOT NULL,
        cancelling BIGINT NOT NULL,
        submitted_ms BIGINT NOT NULL,
        run_at_ms BIGINT NOT NULL,
        started_ms BIGINT,
        ended_ms BIGINT,
        lease_until_ms BIGINT,
        caller TEXT NOT NULL,
        worker TEXT,
        dedup_key TEXT,
        parent BIGINT,
        trace_id TEXT,
        progress TEXT,
        failure TEXT,
        result TEXT,
        payload TEXT NOT NULL
    );
    CREATE INDEX tasks_by_queue ON tasks (queue, seq);
    CREATE UNIQUE INDEX tasks_by_key ON tasks (queue, dedup_key) WHERE dedup_key IS NOT NULL;
    CREATE INDEX tasks_delayed ON tasks (run_at_ms, seq) WHERE state = 0;
    CREATE INDEX tasks_queued ON tasks (queue, type, priority DESC, turn, seq) WHERE state = 1;
    CREATE INDEX tasks_running ON tasks (lease_until_ms, seq) WHERE state = 2;
    CREATE INDEX tasks_lost ON tasks (state, seq) WHERE state >= 4;
    CREATE INDEX tasks_ended ON tasks (ended_ms, seq) WHERE state >= 3;

    -- How tasks of a type are treated, and how many stand where; kept right by the triggers below.
    CREATE TABLE task_types (
        queue TEXT NOT NULL,
        type TEXT NOT NULL,
        attempts_max BIGINT,
        backoff_first_ms BIGINT,
        backoff_max_ms BIGINT,
        running_max BIGINT,
        delayed BIGINT NOT NULL DEFAULT 0,
        queued BIGINT NOT NULL DEFAULT 0,
        running BIGINT NOT NULL DEFAULT 0,
        done BIGINT NOT NULL DEFAULT 0,
        dead BIGINT NOT NULL DEFAULT 0,
        cancelled BIGINT NOT NULL DEFAULT 0,
        -- The newest minute in which one ended, how many did in it, and how many in the minute before it.
        minute BIGINT NOT NULL DEFAULT 0,
        ended BIGINT NOT NULL DEFAULT 0,
        ended_before BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (queue, type)
    );

    -- The newest turn taken by each caller of a queue and priority; without a caller, the newest that was handed out.
    CREATE TABLE task_turns (
        queue TEXT NOT NULL,
        priority BIGINT NOT NULL,
        caller TEXT NOT NULL,
        turn BIGINT NOT NULL,
        PRIMARY KEY (queue, priority, caller)
    );
    INSERT INTO counters (name, value) VALUES ('claimable', 0);

    CREATE TRIGGER task_submitted AFTER INSERT ON tasks BEGIN
        INSERT INTO task_types (queue, type, delayed, queued) VALUES (NEW.queue, NEW.type, NEW.state = 0, NEW.state = 1)
            ON CONFLICT (queue, type) DO UPDATE SET delayed = delayed + excluded.delayed, queued = queued + excluded.queued;
    END;
    CREATE TRIGGER task_stamped AFTER INSERT ON tasks WHEN NEW.state = 1 BEGIN
        INSERT INTO task_turns (queue, priority, caller, turn) VALUES (NEW.queue, NEW.priority, NEW.caller, NEW.turn)
            ON CONFLICT (queue, priority, caller) DO UPDATE SET turn = excluded.turn WHERE excluded.turn > task_turns.turn;
        UPDATE counters SET value = value + 1 WHERE name = 'claimable';
    END;
    CREATE TRIGGER task_freed AFTER UPDATE OF state ON tasks WHEN NEW.state = 1 BEGIN
        INSERT INTO task_turns (queue, priority, caller, turn) VALUES (NEW.queue, NEW.priority, NEW.caller, NEW.turn)
            ON CONFLICT (queue, priority, caller) DO UPDATE SET turn = excluded.turn WHERE excluded.turn > task_turns.turn;
        UPDATE counters SET value = value + 1 WHERE name = 'claimable';
    END;
    CREATE TRIGGER task_begun AFTER UPDATE OF state ON tasks WHEN NEW.state = 2 AND OLD.state <> 2 BEGIN
        INSERT INTO task_turns (queue, priority, caller, turn) VALUES (NEW.queue, NEW.priority, '', NEW.turn)
            ON CONFLICT (queue, priority, caller) DO UPDATE SET turn = excluded.turn WHERE excluded.turn > task_turns.turn;
    END;
    CREATE TRIGGER task_moved AFTER UPDATE OF state ON tasks WHEN NEW.state <> OLD.state AND (NEW.state < 3 OR OLD.state >= 3) BEGIN
        UPDATE task_types SET
            delayed = delayed + (NEW.state = 0) - (OLD.state = 0),
            queued = queued + (NEW.state = 1) - (OLD.state = 1),
            running = running + (NEW.state = 2) - (OLD.state = 2),
            dead = dead - (OLD.state = 4),
            cancelled = cancelled - (OLD.state = 5)
        WHERE queue = NEW.queue AND type = NEW.type;
    END;
    CREATE TRIGGER task_ended AFTER UPDATE OF state ON tasks WHEN NEW.state >= 3 AND OLD.state < 3 BEGIN
        UPDATE task_types SET
            delayed = delayed - (OLD.state = 0),
            queued = queued - (OLD.state = 1),
            running = running - (OLD.state = 2),
            done = done + (NEW.state = 3),
            dead = dead + (NEW.state = 4),
            cancelled = cancelled + (NEW.state = 5),
            ended_before = CASE NEW.ended_ms / 60000 - minute WHEN 0 THEN ended_before WHEN 1 THEN ended ELSE 0 END,
            ended = CASE NEW.ended_ms / 60000 - minute WHEN 0 THEN ended + 1 ELSE 1 END,
            minute = NEW.ended_ms / 60000
        WHERE queue = NEW.queue AND type = NEW.type;
    END;
    CREATE TRIGGER task_purged AFTER DELETE ON tasks BEGIN
        UPDATE task_types SET done = done - (OLD.state = 3), dead = dead - (OLD.state = 4), cancelled = cancelled - (OLD.state = 5)
        WHERE queue = OLD.queue AND type = OLD.type;
    END;
",
    // Whose rights a task is done with, and at most 256 types to a queue: `kernel::queue::QUEUE_TYPES_MAX`.
    "
    ALTER TABLE tasks ADD COLUMN role TEXT NOT NULL DEFAULT 'viewer';
    CREATE TRIGGER task_type_new BEFORE INSERT ON task_types
    WHEN NOT EXISTS (SELECT 1 FROM task_types WHERE queue = NEW.queue AND type = NEW.type)
        AND (SELECT COUNT(*) FROM task_types WHERE queue = NEW.queue) >= 256
    BEGIN
        SELECT RAISE(ABORT, 'too many types of task');
    END;
",
    // What follows from an event and from an entry, so that publishing and committing are one statement each.
    "
    DELETE FROM counters WHERE name = 'published';
    CREATE TRIGGER event_published BEFORE INSERT ON events BEGIN
        INSERT INTO topics (name, last_seq, last_at_ms) VALUES (NEW.topic, NEW.seq, NEW.at_ms)
            ON CONFLICT (name) DO UPDATE SET last_seq = excluded.last_seq, last_at_ms = excluded.last_at_ms;
    END;
    CREATE TRIGGER entry_made AFTER INSERT ON entries BEGIN
        UPDATE counters SET value = NEW.revision WHERE name = 'revision' AND value < NEW.revision;
    END;
    CREATE TRIGGER entry_changed AFTER UPDATE OF revision ON entries BEGIN
        UPDATE counters SET value = NEW.revision WHERE name = 'revision' AND value < NEW.revision;
    END;
",
];
