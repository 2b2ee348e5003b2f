//! The queue's statements, the same for both databases: what SQLite calls `json_each`, PostgreSQL's schema has as a function of that name.
//!
//! Many rows of one statement come as one JSON array, so that a call is one statement whatever it carries.

use std::sync::Arc;

use kernel::queue::TYPES_MAX;

/// A task's columns, in the order `row::task` reads them.
macro_rules! columns {
    () => {
        "seq, queue, type, state, priority, attempts, attempts_max, attempts_each, cancelling, submitted_ms, run_at_ms, started_ms, \
         ended_ms, lease_until_ms, caller, worker, dedup_key, parent, trace_id, progress, failure, result, payload, turn, role"
    };
}
pub(super) use columns;

/// $1 the tasks, $2 now, $3 how many may wait in a queue. Nothing is inserted when one would hold more. A turn is one after the newest of its
/// caller, or after the newest that was handed out, whichever is later: whoever submits little is not behind whoever submits much. What is
/// there already takes none.
pub(super) const SUBMIT: &str =
    "INSERT INTO tasks (queue, type, state, priority, turn, attempts, attempts_max, attempts_each, cancelling, submitted_ms, run_at_ms,
         caller, dedup_key, parent, trace_id, payload, role)
     SELECT n.queue, n.type, n.state, n.priority,
         CASE n.state WHEN 0 THEN 0 ELSE
             CASE WHEN COALESCE(own.turn, 0) > COALESCE(given.turn, 0) THEN own.turn ELSE COALESCE(given.turn, 0) END
             + ROW_NUMBER() OVER (PARTITION BY n.queue, n.priority, n.caller, n.state ORDER BY n.place) END,
         0, COALESCE(n.attempts, k.attempts_max, $4), COALESCE(n.attempts, k.attempts_max, $4), 0, $2, n.run_at_ms,
         n.caller, n.dedup_key, n.parent, n.trace_id, n.payload, n.role
     FROM (SELECT CAST(e.value ->> 0 AS BIGINT) AS place, e.value ->> 1 AS queue, e.value ->> 2 AS type,
               CAST(e.value ->> 3 AS BIGINT) AS state, CAST(e.value ->> 4 AS BIGINT) AS priority,
               CAST(e.value ->> 5 AS BIGINT) AS attempts, CAST(e.value ->> 6 AS BIGINT) AS run_at_ms, e.value ->> 7 AS caller,
               e.value ->> 8 AS dedup_key, CAST(e.value ->> 9 AS BIGINT) AS parent, e.value ->> 10 AS trace_id,
               e.value ->> 11 AS payload, e.value ->> 12 AS role
           FROM json_each($1) AS e) AS n
     LEFT JOIN task_turns AS own ON own.queue = n.queue AND own.priority = n.priority AND own.caller = n.caller
     LEFT JOIN task_turns AS given ON given.queue = n.queue AND given.priority = n.priority AND given.caller = ''
     LEFT JOIN task_types AS k ON k.queue = n.queue AND k.type = n.type
     WHERE NOT EXISTS (
         SELECT 1 FROM (SELECT e.value ->> 1 AS queue, COUNT(*) AS more FROM json_each($1) AS e GROUP BY e.value ->> 1) AS b
         WHERE b.more + (SELECT COALESCE(SUM(t.delayed + t.queued), 0) FROM task_types AS t WHERE t.queue = b.queue) > $3)
     AND NOT EXISTS (SELECT 1 FROM tasks AS had WHERE had.queue = n.queue AND had.dedup_key = n.dedup_key)
     ORDER BY n.place
     ON CONFLICT (queue, dedup_key) WHERE dedup_key IS NOT NULL DO NOTHING
     RETURNING seq, dedup_key";

/// $1 now, $2 at most.
pub(super) const LAPSED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tasks WHERE state = 2 AND lease_until_ms <= $1 ORDER BY lease_until_ms, seq LIMIT $2 + 0"
);

/// $1 now, $2 at most. One that had a turn before keeps it.
pub(super) const PROMOTE: &str =
    "UPDATE tasks SET state = 1, turn = due.turn FROM (
         SELECT t.seq AS seq, CASE WHEN t.turn > 0 THEN t.turn ELSE
             CASE WHEN COALESCE(own.turn, 0) > COALESCE(given.turn, 0) THEN own.turn ELSE COALESCE(given.turn, 0) END
             + ROW_NUMBER() OVER (PARTITION BY t.queue, t.priority, t.caller, t.turn > 0 ORDER BY t.run_at_ms, t.seq) END AS turn
         FROM (SELECT seq, queue, priority, caller, turn, run_at_ms FROM tasks
               WHERE state = 0 AND run_at_ms <= $1 ORDER BY run_at_ms, seq LIMIT $2 + 0) AS t
         LEFT JOIN task_turns AS own ON own.queue = t.queue AND own.priority = t.priority AND own.caller = t.caller
         LEFT JOIN task_turns AS given ON given.queue = t.queue AND given.priority = t.priority AND given.caller = ''
     ) AS due WHERE tasks.seq = due.seq";

/// When something becomes free by itself.
pub(super) const NEXT: &str = "SELECT (SELECT MIN(run_at_ms) FROM tasks WHERE state = 0),
     (SELECT MIN(lease_until_ms) FROM tasks WHERE state = 2)";

/// $1 endings as `[seq, attempt, result]`, $2 now.
pub(super) const DONE: &str =
    "UPDATE tasks SET state = 3, result = e.result, ended_ms = $2, lease_until_ms = NULL, cancelling = 0
     FROM (SELECT CAST(value ->> 0 AS BIGINT) AS seq, CAST(value ->> 1 AS BIGINT) AS attempt, value ->> 2 AS result
           FROM json_each($1)) AS e
     WHERE tasks.seq = e.seq AND tasks.attempts = e.attempt AND tasks.state = 2 RETURNING tasks.seq, tasks.attempts";

/// The same for one: $1 its place, $2 the attempt, $3 the result, $4 now.
pub(super) const DONE_ONE: &str =
    "UPDATE tasks SET state = 3, result = $3, ended_ms = $4, lease_until_ms = NULL, cancelling = 0
     WHERE seq = $1 AND attempts = $2 AND state = 2 RETURNING seq, attempts";

/// $1 renewals as `[seq, attempt, progress]`, $2 the new end.
pub(super) const RENEW: &str = "UPDATE tasks SET lease_until_ms = $2, progress = COALESCE(e.progress, tasks.progress)
     FROM (SELECT CAST(value ->> 0 AS BIGINT) AS seq, CAST(value ->> 1 AS BIGINT) AS attempt, value ->> 2 AS progress
           FROM json_each($1)) AS e
     WHERE tasks.seq = e.seq AND tasks.attempts = e.attempt AND tasks.state = 2 RETURNING tasks.seq, tasks.attempts, tasks.cancelling";

/// What a step may change of a task. Its turn stays, but that it gets one when it may begin for the first time.
pub(super) const WRITE: &str =
    "UPDATE tasks SET state = $2, attempts_max = $3, cancelling = $4, run_at_ms = $5, ended_ms = $6,
     lease_until_ms = $7, failure = $8, result = $9,
     turn = CASE WHEN $2 = 1 AND turn = 0 THEN 1 + COALESCE(
         (SELECT MAX(u.turn) FROM task_turns AS u WHERE u.queue = tasks.queue AND u.priority = tasks.priority
          AND u.caller IN ('', tasks.caller)), 0) ELSE turn END
     WHERE seq = $1";

/// $1 of tasks.
pub(super) const ONE: &str = concat!("SELECT ", columns!(), " FROM tasks WHERE seq = $1");

/// $1 keys as `[queue, key]`.
pub(super) const KEYED: &str = "SELECT t.seq, t.queue, t.dedup_key, t.type, t.payload FROM json_each($1) AS e
     JOIN tasks AS t ON t.queue = e.value ->> 0 AND t.dedup_key = e.value ->> 1";

/// How a type's tasks are treated, and how they stand.
pub(super) const COUNTS: &str =
    "SELECT k.queue, k.type, delayed, queued, running, done, dead, cancelled, minute, ended, ended_before,
         k.attempts_max, backoff_first_ms, backoff_max_ms, running_max,
         (SELECT submitted_ms FROM tasks WHERE seq =
             (SELECT MIN(t.seq) FROM tasks AS t WHERE t.queue = k.queue AND t.type = k.type AND t.state = 1))
     FROM task_types AS k ORDER BY k.queue, k.type";

/// $1 queue, $2 type.
pub(super) const POLICY: &str =
    "SELECT attempts_max, backoff_first_ms, backoff_max_ms, running_max FROM task_types WHERE queue = $1 AND type = $2";

/// The policy of a type.
pub(super) const SET_POLICY: &str =
    "INSERT INTO task_types (queue, type, attempts_max, backoff_first_ms, backoff_max_ms, running_max)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (queue, type) DO UPDATE SET attempts_max = excluded.attempts_max, backoff_first_ms = excluded.backoff_first_ms,
         backoff_max_ms = excluded.backoff_max_ms, running_max = excluded.running_max";

/// Callers whose newest turn is behind what was handed out: forgetting them changes nothing.
pub(super) const FORGET_TURNS: &str = "DELETE FROM task_turns WHERE caller <> '' AND turn <= (
     SELECT given.turn FROM task_turns AS given
     WHERE given.queue = task_turns.queue AND given.priority = task_turns.priority AND given.caller = '')";

/// Types of which nothing is kept and that are treated as usual: forgetting them changes nothing.
pub(super) const FORGET_TYPES: &str = "DELETE FROM task_types WHERE attempts_max IS NULL
     AND delayed = 0 AND queued = 0 AND running = 0 AND done = 0 AND dead = 0 AND cancelled = 0";

/// The claims of one type, of two, and so on. $1 queue, $2 now, $3 the lease's end, $4 worker, $5 at most, $6 as many may run as nothing else
/// is said, then the types.
pub(super) fn claims() -> Vec<Arc<str>> {
    let head = |columns: &str, place: usize| {
        format!(
            "SELECT {columns} FROM tasks WHERE queue = $1 AND type = ${place} AND state = 1
             ORDER BY priority DESC, turn, seq LIMIT COALESCE((SELECT
                 CASE WHEN running >= COALESCE(running_max, $6) THEN 0
                 WHEN COALESCE(running_max, $6) - running < $5 THEN COALESCE(running_max, $6) - running ELSE $5 END
                 FROM task_types WHERE queue = $1 AND type = ${place}), 0)"
        )
    };
    let all = |types: usize| {
        let part = |place: usize| format!("SELECT * FROM ({}) AS h{place}", head("seq, priority, turn", place));
        let parts: Vec<String> = (7..7 + types).map(part).collect();
        format!(
            "SELECT h.seq FROM ({}) AS h ORDER BY h.priority DESC, h.turn, h.seq LIMIT $5 + 0",
            parts.join(" UNION ALL ")
        )
    };
    let claim = |types: usize| {
        format!(
            "UPDATE tasks SET state = 2, attempts = attempts + 1, started_ms = $2, lease_until_ms = $3, worker = $4, progress = NULL
             WHERE seq IN ({}) RETURNING {}",
            // Of one type the heads are what is taken, without looking at them once more.
            if types == 1 { head("seq", 7) } else { all(types) },
            columns!()
        )
    };
    (1..=TYPES_MAX).map(|types| claim(types).into()).collect()
}
