//! The built-in recorder: what the fleet's figures were over the last hours, in memory, bounded.
//!
//! Every target has a lane: the times at which it was scraped, and for each series only the scrapes at which its value changed. Most
//! series of a fleet stand still most of the time and cost nothing then. A series that is not in a scrape ends there ([`STALE`]).

use std::collections::{BTreeMap, HashMap, VecDeque};

use kernel::{Fault, UnixMs};
use promql_parser::parser::VectorSelector;

use super::exposition::{self, Line};
use super::promql::{Labels, STALE, Sample, Series, Source, is_stale, matches};

/// The recorder's limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How long samples are kept, in milliseconds.
    pub(super) retention_ms: i64,
    /// Most series of all targets together; new ones beyond it are not recorded.
    pub(super) series_max: usize,
    /// Most changes kept of all series together; the oldest time goes first.
    pub(super) changes_max: usize,
}

/// What is known of a metric beside its samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) kind: String,
    pub(super) help: String,
}

/// What a scrape brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scraped {
    /// Samples recorded.
    pub(super) samples: usize,
    /// Series that would have been new, but for which there is no room.
    pub(super) refused: usize,
}

/// Lanes by target.
pub(super) struct Recorder {
    limits: Limits,
    lanes: BTreeMap<String, Lane>,
    metas: BTreeMap<String, Meta>,
}

#[derive(Default)]
struct Lane {
    /// Number of the first time kept.
    first: u64,
    times: VecDeque<UnixMs>,
    series: HashMap<Box<str>, Track>,
}

struct Track {
    labels: Labels,
    /// Number of the scrape, and the value from then on.
    changes: VecDeque<(u64, f64)>,
    /// The last scrape it was in.
    seen: u64,
}

impl Track {
    fn push(&mut self, number: u64, value: f64) {
        self.seen = number;
        match self.changes.back_mut() {
            Some((_, last)) if last.to_bits() == value.to_bits() => {}
            // The same series twice in one scrape: the later one counts.
            Some((at, last)) if *at == number => *last = value,
            _ => self.changes.push_back((number, value)),
        }
    }

    fn end(&mut self, number: u64) {
        if self.changes.back().is_some_and(|(_, last)| !is_stale(*last)) {
            self.changes.push_back((number, STALE));
        }
    }
}

impl Recorder {
    /// An empty recorder.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, lanes: BTreeMap::new(), metas: BTreeMap::new() }
    }

    /// Records a scrape of `target` taken at `at_ms`; each sample gets `labels` where it does not have them itself. Tells `grew` of
    /// every series that changed since the target's last scrape and by how much, as if all were counters: one that is new was at zero
    /// before, one that fell was reset.
    ///
    /// # Errors
    /// When something in it is no sample: then nothing of it is kept.
    pub(super) fn record(
        &mut self,
        target: &str,
        at_ms: UnixMs,
        labels: &[(&str, &str)],
        text: &str,
        mut grew: impl FnMut(&Labels, f64),
    ) -> Result<Scraped, Fault> {
        let lines: Vec<Line<'_>> = exposition::lines(text).collect::<Result<_, _>>()?;
        self.check_clock(target, at_ms);
        let room = self.limits.series_max.saturating_sub(self.series_count());
        let mut scraped = Scraped::default();
        let known = self.lanes.get(target);
        let mut new: HashMap<&str, Labels> = HashMap::new();
        for line in &lines {
            let Line::Sample { series, .. } = line else { continue };
            if known.is_some_and(|lane| lane.series.contains_key(*series)) || new.contains_key(series) {
                continue;
            }
            if new.len() < room {
                new.insert(series, exposition::labels(series, labels)?);
            } else {
                scraped.refused += 1;
            }
        }
        let number = self.begin(target, at_ms);
        let lane = self.lanes.entry(target.to_owned()).or_default();
        // What was before the first look at a target is nobody's growth.
        let watched = lane.times.len() > 1;
        for line in lines {
            match line {
                Line::Sample { series, value } => {
                    if let Some(labels) = new.remove(series) {
                        lane.series.insert(series.into(), Track { labels, changes: VecDeque::new(), seen: number });
                    }
                    let Some(track) = lane.series.get_mut(series) else { continue };
                    let before =
                        track.changes.back().map_or(0.0, |(_, last)| if is_stale(*last) { 0.0 } else { *last });
                    if watched && before != value {
                        grew(&track.labels, if value > before { value - before } else { value });
                    }
                    track.push(number, value);
                    scraped.samples += 1;
                }
                Line::Type { family, kind } => kind.clone_into(&mut meta(&mut self.metas, family).kind),
                Line::Help { family, text } => text.clone_into(&mut meta(&mut self.metas, family).help),
            }
        }
        Ok(scraped)
    }

    /// Adds a sample of the recorder's own to the last scrape of `target`.
    pub(super) fn note(&mut self, target: &str, name: &str, labels: &[(&str, &str)], value: f64) {
        let Some(lane) = self.lanes.get_mut(target) else { return };
        let number = lane.first + lane.times.len() as u64 - 1;
        // No scraped series is written like this.
        let track = lane.series.entry(format!(" {name}").into()).or_insert_with(|| Track {
            labels: labels.iter().copied().chain([("__name__", name)]).collect(),
            changes: VecDeque::new(),
            seen: number,
        });
        track.push(number, value);
    }

    /// Begins a scrape that brought nothing, so that every series of `target` ends at it.
    pub(super) fn record_failure(&mut self, target: &str, at_ms: UnixMs) {
        self.begin(target, at_ms);
    }

    /// Ends the series that were not in the last scrape of `target`, and forgets what is too old or too much.
    pub(super) fn finish(&mut self, target: &str, now_ms: UnixMs) {
        if let Some(lane) = self.lanes.get_mut(target) {
            let number = lane.first + lane.times.len() as u64 - 1;
            lane.series.values_mut().filter(|track| track.seen != number).for_each(|track| track.end(number));
        }
        self.forget(now_ms);
    }

    /// Drops a lane whose last time lies far in the future: the clock was set to another time.
    fn check_clock(&mut self, target: &str, at_ms: UnixMs) {
        const STEP_MS: i64 = 60_000;
        let last_ms = self.lanes.get(target).and_then(|lane| lane.times.back());
        if last_ms.is_some_and(|last_ms| at_ms < last_ms - STEP_MS) {
            self.lanes.remove(target);
        }
    }

    /// A new time in the lane. Clocks that step back a little do not make time run backwards here.
    fn begin(&mut self, target: &str, at_ms: UnixMs) -> u64 {
        self.check_clock(target, at_ms);
        let lane = self.lanes.entry(target.to_owned()).or_default();
        let last_ms = lane.times.back().copied().unwrap_or(at_ms - 1);
        lane.times.push_back(at_ms.max(last_ms + 1));
        lane.first + lane.times.len() as u64 - 1
    }

    fn forget(&mut self, now_ms: UnixMs) {
        let keep_from_ms = now_ms - self.limits.retention_ms;
        for lane in self.lanes.values_mut() {
            let old = lane.times.partition_point(|time| *time < keep_from_ms);
            lane.forget(old);
        }
        while self.changes_count() > self.limits.changes_max {
            let before = self.changes_count();
            self.lanes.values_mut().for_each(|lane| lane.forget(lane.times.len().div_ceil(10)));
            if self.changes_count() == before {
                break;
            }
        }
        self.lanes.retain(|_, lane| !lane.times.is_empty());
    }

    fn series_count(&self) -> usize {
        self.lanes.values().map(|lane| lane.series.len()).sum()
    }

    fn changes_count(&self) -> usize {
        self.lanes.values().flat_map(|lane| lane.series.values()).map(|track| track.changes.len()).sum()
    }

    /// How many series and changes are kept, and since when.
    pub(super) fn usage(&self) -> (usize, usize, Option<UnixMs>) {
        let oldest = self.lanes.values().filter_map(|lane| lane.times.front()).min().copied();
        (self.series_count(), self.changes_count(), oldest)
    }

    /// The names of all metrics that have series now or had some lately, with how many, and what is known of them.
    pub(super) fn metrics(&self) -> BTreeMap<String, (usize, Meta)> {
        let mut metrics: BTreeMap<String, (usize, Meta)> = BTreeMap::new();
        for track in self.lanes.values().flat_map(|lane| lane.series.values()) {
            let name = track.labels.name();
            metrics.entry(name.to_owned()).or_insert_with(|| (0, self.meta_of(name))).0 += 1;
        }
        metrics
    }

    /// A metric's own entry, or that of its family: samples of histograms and counters have endings.
    fn meta_of(&self, name: &str) -> Meta {
        let endings = ["", "_total", "_bucket", "_sum", "_count", "_created", "_info"];
        let families = endings.iter().filter_map(|ending| name.strip_suffix(ending));
        families.filter_map(|family| self.metas.get(family)).next().cloned().unwrap_or_default()
    }

    /// The values of a label over all series, of one metric if one is given.
    pub(super) fn label_values(&self, label: &str, metric: Option<&str>) -> std::collections::BTreeSet<String> {
        let tracks = self.lanes.values().flat_map(|lane| lane.series.values());
        let of_metric = tracks.filter(|track| metric.is_none_or(|metric| track.labels.name() == metric));
        of_metric
            .map(|track| track.labels.get(label))
            .filter(|value| !value.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    }
}

/// Room for what is known of a family; hostile targets may not make it grow without end.
fn meta<'a>(metas: &'a mut BTreeMap<String, Meta>, family: &str) -> &'a mut Meta {
    const METAS_MAX: usize = 5_000;
    if metas.len() >= METAS_MAX && !metas.contains_key(family) {
        metas.clear();
    }
    metas.entry(family.to_owned()).or_default()
}

impl Lane {
    /// Forgets the oldest `count` times and the changes that only they needed.
    fn forget(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.times.drain(..count);
        self.first += count as u64;
        let first = self.first;
        self.series.retain(|_, track| {
            while track.changes.get(1).is_some_and(|(number, _)| *number <= first) {
                track.changes.pop_front();
            }
            // What ended before the first time kept is gone.
            !(track.changes.len() == 1 && track.changes[0].0 <= first && is_stale(track.changes[0].1))
        });
        if self.times.is_empty() {
            self.series.clear();
        }
    }

    /// A series' samples after `after_ms` and up to `until_ms`, one for every scrape.
    fn samples(&self, track: &Track, after_ms: UnixMs, until_ms: UnixMs) -> Vec<Sample> {
        let from = self.times.partition_point(|time| *time <= after_ms);
        let until = self.times.partition_point(|time| *time <= until_ms);
        let first_number = self.first + from as u64;
        // The last change at or before the first wanted time holds there.
        let mut next = track.changes.partition_point(|(number, _)| *number <= first_number).saturating_sub(1);
        let mut value = None;
        let mut samples = Vec::with_capacity(until.saturating_sub(from));
        for place in from..until {
            let number = self.first + place as u64;
            while let Some((_, changed)) = track.changes.get(next).filter(|(at, _)| *at <= number) {
                // An end is one mark, not a mark for every time after it.
                value = Some(*changed);
                next += 1;
                if is_stale(*changed) {
                    samples.push((self.times[place], STALE));
                    value = None;
                }
            }
            if let Some(value) = value {
                samples.push((self.times[place], value));
            }
        }
        samples
    }
}

impl Source for Recorder {
    fn select(
        &self,
        selector: &VectorSelector,
        after_ms: UnixMs,
        until_ms: UnixMs,
        samples_max: usize,
    ) -> Option<Vec<Series>> {
        let (mut found, mut held) = (Vec::new(), 0);
        for lane in self.lanes.values() {
            for track in lane.series.values().filter(|track| matches(selector, &track.labels)) {
                let samples = lane.samples(track, after_ms, until_ms);
                held += samples.len();
                if held > samples_max {
                    return None;
                }
                if !samples.is_empty() {
                    found.push(Series { labels: track.labels.clone(), samples });
                }
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::monitoring::promql::{Query, Value};

    const LIMITS: Limits = Limits { retention_ms: 600_000, series_max: 100, changes_max: 10_000 };

    fn scrape(recorder: &mut Recorder, target: &str, at_ms: UnixMs, text: &str) {
        recorder.record(target, at_ms, &[("instance", target)], text, |_, _| {}).unwrap();
        recorder.finish(target, at_ms);
    }

    fn ask(recorder: &Recorder, expression: &str, at_ms: UnixMs) -> String {
        let points = match Query::parse(expression).unwrap().instant(recorder, at_ms).unwrap() {
            Value::Vector(points) => points,
            Value::Matrix(series) => {
                return series.iter().map(|one| format!("{:?}", one.samples)).collect::<Vec<_>>().join(" ");
            }
            other => panic!("{other:?}"),
        };
        points.iter().map(|point| point.value.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_scrape_is_a_sample_though_only_changes_are_kept() {
        let mut recorder = Recorder::new(LIMITS);
        for n in 0..10 {
            scrape(&mut recorder, "t", n * 5_000, &format!("same 1\nmoves {}\n", n / 4));
        }
        assert_eq!(ask(&recorder, "count_over_time(same[26s])", 45_000), "6");
        assert_eq!(
            ask(&recorder, "moves[21s]", 45_000),
            "[(25000, 1.0), (30000, 1.0), (35000, 1.0), (40000, 2.0), (45000, 2.0)]"
        );
        assert_eq!(recorder.usage(), (2, 4, Some(0)));
    }

    #[test]
    fn a_series_that_is_gone_has_no_value_at_once_and_may_come_back() {
        let mut recorder = Recorder::new(LIMITS);
        for (n, text) in ["a 1", "a 2", "b 1", "b 1", "a 5"].iter().enumerate() {
            scrape(&mut recorder, "t", n as i64 * 5_000, text);
        }
        assert_eq!(ask(&recorder, "a", 9_000), "2");
        assert_eq!(ask(&recorder, "a", 16_000), "");
        assert_eq!(ask(&recorder, "a", 20_000), "5");
        assert_eq!(ask(&recorder, "a[1m]", 20_000), "[(0, 1.0), (5000, 2.0), (20000, 5.0)]");
        recorder.record_failure("t", 25_000);
        recorder.note("t", "up", &[("instance", "t")], 0.0);
        recorder.finish("t", 25_000);
        assert_eq!(ask(&recorder, "a or b or up", 25_000), "0");
    }

    #[test]
    fn forgets_by_age_by_number_of_changes_and_refuses_too_many_series() {
        let mut recorder = Recorder::new(Limits { retention_ms: 20_000, series_max: 3, changes_max: 12 });
        for n in 0..10 {
            scrape(&mut recorder, "t", n * 5_000, &format!("a {n}\nb 1"));
        }
        assert_eq!(
            ask(&recorder, "a[1m]", 45_000),
            "[(25000, 5.0), (30000, 6.0), (35000, 7.0), (40000, 8.0), (45000, 9.0)]"
        );
        let scraped = recorder.record("t", 50_000, &[], "a 1\nb 1\nc 1\nd 1\nd 1", |_, _| {}).unwrap();
        assert_eq!(scraped, Scraped { samples: 3, refused: 2 });
        let mut busy = Recorder::new(Limits { changes_max: 12, ..LIMITS });
        for n in 0..30 {
            scrape(&mut busy, "t", n * 5_000, &format!("a {n}\nb {n}"));
        }
        assert!(busy.usage().1 <= 12, "{:?}", busy.usage());
        assert_eq!(ask(&busy, "a", 145_000), "29");
    }

    #[test]
    fn a_bad_scrape_leaves_nothing_and_clocks_may_step_back() {
        let mut recorder = Recorder::new(LIMITS);
        scrape(&mut recorder, "t", 100_000, "a 1");
        assert!(recorder.record("t", 105_000, &[], "a 2\nb{x} 1", |_, _| {}).is_err());
        assert!(recorder.record("t", 105_000, &[], "a 2\nnonsense", |_, _| {}).is_err());
        assert_eq!(ask(&recorder, "a", 105_000), "1");
        scrape(&mut recorder, "t", 99_000, "a 3");
        assert_eq!(ask(&recorder, "a", 100_001), "3", "a small step back goes on a little later");
        scrape(&mut recorder, "t", 1_000, "a 4");
        assert_eq!(ask(&recorder, "a[5m]", 2_000), "[(1000, 4.0)]", "a great one starts anew");
    }

    #[test]
    fn tells_what_grew_through_resets_and_gaps() {
        let mut recorder = Recorder::new(LIMITS);
        let mut story = String::new();
        for (n, text) in ["a 5", "a 7", "a 7\nb 2", "a 3\nb 2", "b 2", "a 1\nb 2"].iter().enumerate() {
            let grew = |labels: &Labels, grown: f64| story.push_str(&format!("{n}: {} by {grown}, ", labels.name()));
            recorder.record("t", n as i64 * 5_000, &[], text, grew).unwrap();
            recorder.finish("t", n as i64 * 5_000);
        }
        assert_eq!(story, "1: a by 2, 2: b by 2, 3: a by 3, 5: a by 1, ");
    }

    #[test]
    fn knows_names_types_and_values() {
        let mut recorder = Recorder::new(LIMITS);
        scrape(
            &mut recorder,
            "t",
            0,
            "# TYPE a counter\n# HELP a how often\na_total{x=\"1\"} 1\na_total{x=\"2\"} 1\nb 1",
        );
        let metrics = recorder.metrics();
        assert_eq!(metrics["a_total"], (2, Meta { kind: "counter".into(), help: "how often".into() }));
        assert_eq!(metrics["b"], (1, Meta::default()));
        assert!(recorder.label_values("x", Some("a_total")).iter().eq(["1", "2"]));
        assert!(recorder.label_values("x", Some("b")).is_empty());
    }

    proptest! {
        /// What is asked back is what was scraped, whatever came and went.
        #[test]
        fn remembers_exactly(scrapes in prop::collection::vec(prop::collection::vec(prop::option::of(0u8..3), 3), 1..40)) {
            let mut recorder = Recorder::new(Limits { retention_ms: i64::MAX / 2, ..LIMITS });
            for (n, values) in scrapes.iter().enumerate() {
                let lines: Vec<String> = values.iter().enumerate().filter_map(|(s, v)| v.map(|v| format!("s{s} {v}"))).collect();
                scrape(&mut recorder, "t", n as i64 * 1_000, &lines.join("\n"));
            }
            let end = scrapes.len() as i64 * 1_000;
            for s in 0..3 {
                let want: Vec<Sample> = scrapes.iter().enumerate()
                    .filter_map(|(n, values)| values[s].map(|v| (n as i64 * 1_000, f64::from(v)))).collect();
                let got = match Query::parse(&format!("s{s}[{end}ms]")).unwrap().instant(&recorder, end - 1).unwrap() {
                    Value::Matrix(series) => series.into_iter().flat_map(|one| one.samples).collect::<Vec<_>>(),
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(&got, &want);
                for (n, values) in scrapes.iter().enumerate() {
                    let now = ask(&recorder, &format!("s{s}"), n as i64 * 1_000 + 500);
                    prop_assert_eq!(now, values[s].map_or(String::new(), |v| v.to_string()));
                }
            }
        }
    }
}
