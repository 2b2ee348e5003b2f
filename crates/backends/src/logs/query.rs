//! Searching and counting in one day's file.

use std::collections::BTreeMap;

use kernel::logs::{Level, Line, LogQuery, Term, words};
use kernel::{Result, UnixMs};
use serde_json::Value;

use super::{MINUTE_MS, level};
use crate::db::{Db, limit as bound_limit, signed, sql, unsigned};

/// A time beyond all times that lines bear, in milliseconds, with room to calculate.
const TIME_MAX: UnixMs = 1 << 56;

/// The full-text condition of a query; `None` when it has none. What anybody types stands in quotes, which it cannot end, so none of it
/// can be read as an operator.
pub(super) fn matching(query: &LogQuery, terms: &[Term]) -> Option<String> {
    let mut conditions = Vec::new();
    if !terms.is_empty() {
        let terms: Vec<String> = terms.iter().map(|term| quoted(&term.text, term.prefix)).collect();
        conditions.push(format!("{{message fields}} : ({})", terms.join(" AND ")));
    }
    for (column, value) in [("service", &query.service), ("trace_id", &query.trace_id)] {
        // What holds no word is not in the index; the comparison with the line's own value finds it.
        if let Some(value) = value.as_deref().filter(|value| words(value).next().is_some()) {
            conditions.push(format!("{{{column}}} : {}", quoted(value, false)));
        }
    }
    match query.level {
        Some(Level::Error) => conditions.push("{level} : \"error\"".into()),
        Some(Level::Warn) => conditions.push("{level} : (\"warn\" OR \"error\")".into()),
        // Lesser levels are most of the lines; looking at each is cheaper.
        _ => {}
    }
    (!conditions.is_empty()).then(|| conditions.join(" AND "))
}

fn quoted(text: &str, prefix: bool) -> String {
    // A NUL would end the whole condition, a quote the quoted text.
    format!("\"{}\"{}", text.replace(['"', '\0'], " "), if prefix { " *" } else { "" })
}

type Row = (i64, UnixMs, i64, String, String, Option<String>, Option<String>);

fn line((seq, at_ms, rank, service, message, trace_id, fields): Row) -> Line {
    let fields = fields.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
    Line { seq: unsigned(seq), at_ms, level: level(rank), service, message, trace_id, fields }
}

/// The four forms of a search: with or without full text, newest or oldest first.
macro_rules! search_sql {
    ($from:literal, $order:literal) => {
        concat!(
            "SELECT seq, at_ms, lines.level, lines.service, lines.message, lines.trace_id, lines.fields FROM ",
            $from,
            " BETWEEN $1 AND $2 AND ($3 IS NULL OR lines.service = $3) AND lines.level >= $4
             AND ($5 IS NULL OR lines.trace_id = $5) AND at_ms >= $6 AND at_ms < $7 ORDER BY ",
            $order,
            " LIMIT $8 + 0"
        )
    };
}

/// Adds the day's lines, as many as there is room for.
pub(super) async fn search(db: &Db, query: &LogQuery, matching: Option<&str>, lines: &mut Vec<Line>) -> Result<()> {
    let Some((first, last)) = bounds(db, query).await? else { return Ok(()) };
    let text = match (matching, query.after_seq) {
        (None, None) => search_sql!("lines WHERE seq", "seq DESC"),
        (None, Some(_)) => search_sql!("lines WHERE seq", "seq"),
        // CROSS JOIN makes SQLite go through the matches in their order, and stop when it has enough.
        (Some(_), None) => {
            search_sql!(
                "words CROSS JOIN lines ON seq = words.rowid WHERE words MATCH $9 AND words.rowid",
                "words.rowid DESC"
            )
        }
        (Some(_), Some(_)) => {
            search_sql!(
                "words CROSS JOIN lines ON seq = words.rowid WHERE words MATCH $9 AND words.rowid",
                "words.rowid"
            )
        }
    };
    let mut rows = sql(text)
        .bind(first)
        .bind(last)
        .bind(&query.service)
        .bind(query.level.map_or(0, Level::rank))
        .bind(&query.trace_id)
        .bind(query.from_ms.unwrap_or(UnixMs::MIN))
        .bind(query.until_ms.unwrap_or(UnixMs::MAX))
        .bind(bound_limit(query.limit - lines.len()));
    if let Some(matching) = matching {
        rows = rows.bind(matching);
    }
    let rows: Vec<Row> = rows.all(db.readers()).await?;
    lines.extend(rows.into_iter().map(line));
    Ok(())
}

/// Between which places the lines of the wanted time lie, if there are any.
async fn bounds(db: &Db, query: &LogQuery) -> Result<Option<(i64, i64)>> {
    let after = query.after_seq.map_or(i64::MIN, |after| signed(after).saturating_add(1));
    let before = query.before_seq.map_or(i64::MAX, |before| signed(before).saturating_sub(1));
    if query.from_ms.is_none() && query.until_ms.is_none() {
        return Ok(Some((after, before)));
    }
    let minute = |at_ms: UnixMs| at_ms.div_euclid(MINUTE_MS);
    let (first, last): (Option<i64>, Option<i64>) =
        sql("SELECT MIN(first_seq), MAX(last_seq) FROM minutes WHERE minute BETWEEN $1 AND $2")
            .bind(minute(query.from_ms.unwrap_or(UnixMs::MIN)))
            .bind(minute(query.until_ms.unwrap_or(UnixMs::MAX)))
            .one(db.readers())
            .await?;
    Ok(first.zip(last).map(|(first, last)| (first.max(after), last.min(before))))
}

/// Lines and the newest's time, by service and level's rank.
pub(super) type Counts = BTreeMap<(String, i64), (i64, UnixMs)>;

/// Adds the day's counts of `from_ms <= at_ms < until_ms`: whole minutes from their sums, what is left at the ends line by line.
pub(super) async fn count(db: &Db, from_ms: UnixMs, until_ms: UnixMs, counts: &mut Counts) -> Result<()> {
    let (from_ms, until_ms) = (from_ms.clamp(-TIME_MAX, TIME_MAX), until_ms.clamp(-TIME_MAX, TIME_MAX));
    let (inner_from, inner_until) = (whole_minutes_from(from_ms), until_ms.div_euclid(MINUTE_MS));
    if inner_from > inner_until {
        return count_lines(db, from_ms, until_ms, counts).await;
    }
    count_lines(db, from_ms, inner_from * MINUTE_MS, counts).await?;
    let rows = sql("SELECT service, level, SUM(lines), MAX(last_ms) FROM minutes WHERE minute >= $1 AND minute < $2
         GROUP BY service, level");
    let rows = rows.bind(inner_from).bind(inner_until).all(db.readers()).await?;
    add(counts, rows);
    count_lines(db, inner_until * MINUTE_MS, until_ms, counts).await
}

fn whole_minutes_from(from_ms: UnixMs) -> i64 {
    from_ms.div_euclid(MINUTE_MS) + i64::from(from_ms.rem_euclid(MINUTE_MS) > 0)
}

/// Counts within one minute.
async fn count_lines(db: &Db, from_ms: UnixMs, until_ms: UnixMs, counts: &mut Counts) -> Result<()> {
    if from_ms >= until_ms {
        return Ok(());
    }
    let rows = sql(
        "SELECT service, level, COUNT(*), MAX(at_ms) FROM lines
         WHERE seq BETWEEN (SELECT MIN(first_seq) FROM minutes WHERE minute = $1)
         AND (SELECT MAX(last_seq) FROM minutes WHERE minute = $1) AND at_ms >= $2 AND at_ms < $3 GROUP BY service, level",
    );
    let rows = rows.bind(from_ms.div_euclid(MINUTE_MS)).bind(from_ms).bind(until_ms);
    add(counts, rows.all(db.readers()).await?);
    Ok(())
}

fn add(counts: &mut Counts, rows: Vec<(String, i64, i64, UnixMs)>) {
    for (service, rank, lines, last_ms) in rows {
        let sum = counts.entry((service, rank)).or_insert((0, last_ms));
        sum.0 += lines;
        sum.1 = sum.1.max(last_ms);
    }
}
