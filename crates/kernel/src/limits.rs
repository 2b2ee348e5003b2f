//! The limits every door and every loop obeys, and the bucket that meters calls.

use std::time::Duration;

use crate::Fault;

/// Largest request body a door reads, in bytes.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting of a JSON body.
pub const JSON_DEPTH_MAX: usize = 64;
/// Largest answer taken from an upstream, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long a tool may take unless it says otherwise.
pub const TOOL_TIME: Duration = Duration::from_secs(60);
/// How long a client may take to send a request's head.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's body.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// Most connections a door holds open at once.
pub const CONNECTIONS_MAX: usize = 4_096;

/// A token bucket: `per_second` calls on average, `burst` at once. Time is given by the caller, so tests move it by hand.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    at_ms: i64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: f64, burst: f64, now_ms: i64) -> Self {
        Self { per_second, burst, level: burst, at_ms: now_ms }
    }

    /// Takes one token, or says how many milliseconds until there is one.
    pub fn take(&mut self, now_ms: i64) -> Result<(), u64> {
        self.take_many(1, now_ms)
    }

    /// Takes so many tokens, or none and says how many milliseconds until there are enough.
    pub fn take_many(&mut self, tokens: u32, now_ms: i64) -> Result<(), u64> {
        let passed_ms = (now_ms - self.at_ms).max(0) as f64;
        self.at_ms = now_ms;
        self.level = (self.level + passed_ms * self.per_second / 1_000.0).min(self.burst);
        let tokens = f64::from(tokens);
        if self.level >= tokens {
            self.level -= tokens;
            return Ok(());
        }
        Err(((tokens - self.level) * 1_000.0 / self.per_second).ceil() as u64)
    }

    /// Takes as many whole tokens as there are, at most `most` and at least one; or says how many milliseconds until there is one.
    pub fn take_up_to(&mut self, most: u32, now_ms: i64) -> Result<u32, u64> {
        self.take_many(1, now_ms)?;
        let more = self.level.floor().min(f64::from(most.saturating_sub(1))).max(0.0);
        self.level -= more;
        Ok(1 + more as u32)
    }

    /// Holds no more tokens than that from now: who counts them on the other side says how many are left.
    pub fn hold_at_most(&mut self, tokens: f64) {
        self.level = self.level.min(tokens);
    }
}

impl Bucket {
    /// Whether it would be full by now, so that forgetting it changes nothing.
    pub fn is_full(&self, now_ms: i64) -> bool {
        let passed_ms = (now_ms - self.at_ms).max(0) as f64;
        self.level + passed_ms * self.per_second / 1_000.0 >= self.burst
    }
}

/// Refuses JSON nested deeper than `max`, before anything recursive reads it.
pub fn check_json_depth(body: &[u8], max: usize) -> Result<(), Fault> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return Err(Fault::invalid(format!("nested deeper than {max} levels")));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// The candidate most like `word`, if one is near enough to be a slip: for "did you mean".
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let near = candidates.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (near.0 <= 1 + word.len() / 4).then_some(near.1)
}

/// Levenshtein's distance, over characters: how many of them must be put in, taken out or changed.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let step = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = step.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_refills_with_time_and_says_when() {
        let mut bucket = Bucket::new(2.0, 2.0, 0);
        assert_eq!((bucket.take(0), bucket.take(0), bucket.take(0)), (Ok(()), Ok(()), Err(500)));
        assert_eq!(bucket.take(500), Ok(()));
        assert_eq!(bucket.take(400), Err(500), "time that steps back gives nothing");
        let mut bucket = Bucket::new(10.0, 100.0, 0);
        assert_eq!(
            (bucket.take_many(90, 0), bucket.take_many(20, 0), bucket.take_many(10, 0)),
            (Ok(()), Err(1_000), Ok(()))
        );
        assert_eq!(
            (bucket.take_up_to(7, 500), bucket.take_up_to(7, 500)),
            (Ok(5), Err(100)),
            "5 came back in half a second"
        );
        bucket.hold_at_most(-50.0);
        assert_eq!(bucket.take(500), Err(5_100), "the other side counted more than we did");
    }
}
