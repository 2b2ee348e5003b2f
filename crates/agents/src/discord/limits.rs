//! Discord's rate limits, as its answers tell of them: a bucket per route and channel, some shared between routes, and one for everything.
//!
//! Nothing is sent into a bucket that is known to be empty, so that a refusal stays the exception.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// Most buckets that are remembered; what is empty no more is forgotten first.
const BUCKETS_MAX: usize = 512;
/// Longest that an answer may have us wait, in seconds.
const SECONDS_MAX: f64 = 3_600.0;

/// A bucket as the last answer told of it.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// How many requests fit in yet.
    left: u32,
    /// When it is full again.
    until: Instant,
}

/// What is known of all limits.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Nothing at all before this.
    all_until: Option<Instant>,
    /// Which bucket a route's requests go into, by the route.
    names: HashMap<&'static str, String>,
    /// By bucket and what the route is about (a channel, a webhook).
    buckets: HashMap<(String, String), Bucket>,
}

impl Limits {
    /// Takes a place for a request, or says how long to wait before asking again.
    pub(super) fn take(&mut self, route: &'static str, about: &str, now: Instant) -> Result<(), Duration> {
        if let Some(until) = self.all_until.filter(|until| *until > now) {
            return Err(until - now);
        }
        let key = self.key(route, about);
        match self.buckets.get_mut(&key) {
            Some(bucket) if bucket.until <= now => {
                self.buckets.remove(&key);
                Ok(())
            }
            Some(bucket) if bucket.left == 0 => Err(bucket.until - now),
            Some(bucket) => {
                bucket.left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes note of what an answer says.
    pub(super) fn learn(&mut self, route: &'static str, about: &str, headers: &HeaderMap, now: Instant) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(name) = text("x-ratelimit-bucket").filter(|name| name.len() <= 128) {
            self.names.insert(route, name.to_owned());
        }
        let left = text("x-ratelimit-remaining").and_then(|left| left.parse::<u32>().ok());
        if let (Some(left), Some(after)) = (left, text("x-ratelimit-reset-after").and_then(seconds)) {
            self.put(route, about, Bucket { left, until: now + after }, now);
        }
    }

    /// Takes note of a refusal: nothing of the bucket, or nothing at all, for so long.
    pub(super) fn refused(&mut self, route: &'static str, about: &str, wait: Duration, global: bool, now: Instant) {
        if global {
            self.all_until = Some(now + wait);
        } else {
            self.put(route, about, Bucket { left: 0, until: now + wait }, now);
        }
    }

    fn put(&mut self, route: &'static str, about: &str, bucket: Bucket, now: Instant) {
        if self.buckets.len() >= BUCKETS_MAX {
            self.buckets.retain(|_, bucket| bucket.until > now);
        }
        if self.buckets.len() < BUCKETS_MAX {
            let key = self.key(route, about);
            self.buckets.insert(key, bucket);
        }
    }

    fn key(&self, route: &'static str, about: &str) -> (String, String) {
        (self.names.get(route).cloned().unwrap_or_else(|| route.to_owned()), about.to_owned())
    }
}

/// A number of seconds, with a fraction or without.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(bucket: &str, left: &str, after: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let rows =
            [("x-ratelimit-bucket", bucket), ("x-ratelimit-remaining", left), ("x-ratelimit-reset-after", after)];
        for (name, value) in rows {
            headers.insert(http::HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_bucket_is_a_route_and_a_channel_and_two_routes_may_share_one() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        limits.take("post", "1", now).unwrap();
        limits.learn("post", "1", &headers("b", "1", "2.5"), now);
        limits.take("post", "1", now).unwrap();
        assert_eq!(limits.take("post", "1", now), Err(Duration::from_millis(2_500)));
        limits.take("post", "2", now).unwrap();
        limits.take("patch", "1", now).unwrap();
        limits.learn("patch", "1", &headers("b", "0", "1"), now);
        assert_eq!(limits.take("post", "1", now), Err(Duration::from_secs(1)), "shared");
        limits.take("post", "1", now + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn a_refusal_of_everything_holds_for_everything() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        limits.refused("post", "1", Duration::from_secs(1), false, now);
        limits.take("get", "1", now).unwrap();
        limits.refused("post", "1", Duration::from_secs(3), true, now);
        assert_eq!(limits.take("get", "9", now), Err(Duration::from_secs(3)));
        limits.take("get", "9", now + Duration::from_secs(3)).unwrap();
    }

    #[test]
    fn nonsense_is_no_limit_and_memory_is_bounded() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        for bad in ["-1", "NaN", "inf", "soon", ""] {
            limits.learn("post", "1", &headers("b", "0", bad), now);
            assert!(limits.take("post", "1", now).is_ok(), "{bad}");
        }
        assert_eq!(seconds("1e300"), Some(Duration::from_secs(3_600)));
        for channel in 0..2_000 {
            limits.refused("post", &channel.to_string(), Duration::from_secs(9), false, now);
        }
        assert_eq!(limits.buckets.len(), BUCKETS_MAX);
    }
}
