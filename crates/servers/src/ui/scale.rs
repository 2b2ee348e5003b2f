//! Scales: from figures to places, with marks at numbers that people count by, in the unit's own words.

/// Marks of times: each so many milliseconds.
const TIMES: [i64; 19] = [
    1_000,
    5_000,
    15_000,
    30_000,
    60_000,
    300_000,
    900_000,
    1_800_000,
    3_600_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
    1_209_600_000,
    2_592_000_000,
    7_776_000_000,
    31_536_000_000,
];
/// Most marks, whatever was asked for.
const TICKS_MAX: usize = 24;

/// From figures to places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Where a mark is, and what it says.
    pub(super) ticks: Vec<(f64, String)>,
}

/// What figures are in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    kind: Kind,
    /// What stands over the axis.
    pub(super) word: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bytes,
    Seconds,
    Ratio,
    Plain,
}

impl Unit {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "bytes" => Self { kind: Kind::Bytes, word: String::new() },
            "seconds" => Self { kind: Kind::Seconds, word: String::new() },
            "ratio" => Self { kind: Kind::Ratio, word: String::new() },
            other => Self { kind: Kind::Plain, word: other.to_owned() },
        }
    }

    /// The step that marks of this unit go by: what is counted in powers of two has such marks.
    fn base(&self) -> f64 {
        if self.kind == Kind::Bytes { 1_024.0 } else { 1_000.0 }
    }

    /// A figure at a mark; `step` is how far marks are apart.
    fn mark(&self, figure: f64, step: f64) -> String {
        // Nothing needs no thousands.
        let largest = if figure == 0.0 { 1.0 } else { figure.abs().max(step) };
        let (scaled, suffix) = match self.kind {
            Kind::Ratio => return format!("{} %", trimmed(figure * 100.0, step * 100.0)),
            Kind::Bytes => powers(largest, 1_024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"]),
            Kind::Seconds if largest < 1e-3 => (1e-6, "µs"),
            Kind::Seconds if largest < 1.0 => (1e-3, "ms"),
            Kind::Seconds if largest >= 86_400.0 => (86_400.0, "d"),
            Kind::Seconds if largest >= 7_200.0 => (3_600.0, "h"),
            Kind::Seconds if largest >= 300.0 => (60.0, "min"),
            Kind::Seconds => (1.0, "s"),
            Kind::Plain => powers(largest, 1_000.0, &["", "k", "M", "G", "T", "P", "E"]),
        };
        let number = trimmed(figure / scaled, step / scaled);
        if suffix.is_empty() { number } else { format!("{number} {suffix}") }
    }

    /// A figure as exactly as people read it.
    pub(super) fn exact(&self, figure: f64) -> String {
        let marked = self.mark(figure, figure.abs() / 1_000.0);
        if self.word.is_empty() { marked } else { format!("{marked} {}", self.word) }
    }
}

/// The largest power of `base` that is not over `figure`, and its word.
fn powers(figure: f64, base: f64, words: &[&'static str]) -> (f64, &'static str) {
    let mut power = 1.0;
    let mut word = words.first().copied().unwrap_or("");
    for next in &words[1..] {
        if figure < power * base {
            break;
        }
        (power, word) = (power * base, next);
    }
    (power, word)
}

/// A number with as many digits after its point as steps need, and no more.
fn trimmed(figure: f64, step: f64) -> String {
    let digits = if step > 0.0 { (-step.log10().floor()).clamp(0.0, 9.0) as usize } else { 3 };
    let text = format!("{figure:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A step of 1, 2 or 5 times a power of ten (or, in bytes, of two) that gives about so many marks.
fn nice(span: f64, count: usize, base: f64) -> f64 {
    let rough = (span / count.max(1) as f64).max(f64::MIN_POSITIVE);
    if base > 1_000.0 && rough >= 1.0 {
        return rough.log2().ceil().exp2();
    }
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| rough <= factor * power * 1.000_001);
    factor.unwrap_or(10.0) * power
}

impl Scale {
    /// A scale of figures that begins and ends at a mark.
    pub(super) fn of_figures(low: f64, high: f64, count: usize, unit: &Unit) -> Self {
        // All the same: some room around it.
        let room = if high > low { 0.0 } else { (high.abs() * 0.1).max(1.0) };
        let (low, high) = (low - if low == 0.0 { 0.0 } else { room }, high + room);
        let step = nice(high - low, count, unit.base());
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        let marks = (((high - low) / step).round() as usize).min(TICKS_MAX);
        let tick = |at: usize| {
            let figure = low + step * at as f64;
            (figure, unit.mark(figure, step))
        };
        Self { low, high, ticks: (0..=marks).map(tick).collect() }
    }

    /// A scale of places along a chart, from the first to the last.
    pub(super) fn of_places(first: f64, last: f64, count: usize) -> Self {
        let (low, high) = if last > first { (first, last) } else { (first - 1.0, first + 1.0) };
        let (unit, step) = (Unit::of(""), nice(high - low, count, 1_000.0));
        let begin = (low / step).ceil();
        let ticks = (0..=TICKS_MAX).map(|at| (begin + at as f64) * step).take_while(|at| *at <= high + step * 1e-9);
        Self { low, high, ticks: ticks.map(|at| (at, unit.mark(at, step))).collect() }
    }

    /// A scale of times.
    pub(super) fn of_times(first: f64, last: f64, count: usize) -> Self {
        let (low, high) = if last > first { (first, last) } else { (first - 60_000.0, first + 60_000.0) };
        let rough = (high - low) / count.max(1) as f64;
        let step = TIMES.into_iter().find(|step| *step as f64 >= rough).unwrap_or(TIMES[TIMES.len() - 1]);
        let begin = (low as i64).div_euclid(step) + i64::from((low as i64).rem_euclid(step) != 0);
        let ticks = (0..=TICKS_MAX as i64).map(|at| (begin + at).saturating_mul(step));
        let ticks = ticks.take_while(|at| *at as f64 <= high);
        Self { low, high, ticks: ticks.map(|at| (at as f64, moment(at, step))).collect() }
    }

    /// With room on both sides.
    pub(super) fn widened(self, room: f64) -> Self {
        Self { low: self.low - room, high: self.high + room, ..self }
    }

    /// Where a figure stands between both ends: 0 to 1.
    pub(super) fn part(&self, figure: f64) -> f32 {
        ((figure - self.low) / (self.high - self.low)) as f32
    }
}

/// A time as a mark says it, in UTC.
fn moment(at_ms: i64, step_ms: i64) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(at_ms) else { return "?".to_owned() };
    let form = match step_ms {
        step if step < 60_000 => "%H:%M:%S",
        step if step < 21_600_000 => "%H:%M",
        step if step < 86_400_000 => "%m-%d %H:%M",
        _ => "%Y-%m-%d",
    };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn figures(low: f64, high: f64, unit: &str, want: Expect) {
        let scale = Scale::of_figures(low, high, 5, &Unit::of(unit));
        assert!(
            scale.low <= low && scale.high >= high && scale.part(scale.low) == 0.0 && scale.part(scale.high) == 1.0
        );
        let labels: Vec<String> = scale.ticks.into_iter().map(|(_, label)| label).collect();
        want.assert_eq(&labels.join(", "));
    }

    #[test]
    fn marks_stand_at_numbers_that_people_count_by() {
        figures(0.0, 100.0, "", expect!["0, 20, 40, 60, 80, 100"]);
        figures(-3.0, 7.0, "", expect!["-4, -2, 0, 2, 4, 6, 8"]);
        figures(0.0, 1_234_567.0, "", expect!["0, 500 k, 1 M, 1.5 M"]);
        figures(0.01, 0.02, "", expect!["0.01, 0.012, 0.014, 0.016, 0.018, 0.02"]);
        figures(5.0, 5.0, "", expect!["4, 4.5, 5, 5.5, 6"]);
        figures(0.0, 0.0, "", expect!["0, 0.2, 0.4, 0.6, 0.8, 1"]);
        figures(0.0, 3e9, "bytes", expect!["0 B, 1 GiB, 2 GiB, 3 GiB"]);
        figures(0.0, 0.004, "seconds", expect!["0 s, 1 ms, 2 ms, 3 ms, 4 ms"]);
        figures(0.9, 1.0, "ratio", expect!["90 %, 92 %, 94 %, 96 %, 98 %, 100 %"]);
        figures(0.0, 10.0, "calls/s", expect!["0, 2, 4, 6, 8, 10"]);
    }

    #[test]
    fn times_have_marks_of_clocks_and_calendars() {
        let times = |span_ms: f64, want: Expect| {
            let scale = Scale::of_times(1_794_729_600_000.0, 1_794_729_600_000.0 + span_ms, 5);
            let labels: Vec<String> = scale.ticks.into_iter().map(|(_, label)| label).collect();
            want.assert_eq(&labels.join(", "));
        };
        times(60_000.0, expect!["08:00:00, 08:00:15, 08:00:30, 08:00:45, 08:01:00"]);
        times(3_600_000.0, expect!["08:00, 08:15, 08:30, 08:45, 09:00"]);
        times(6.0 * 86_400_000.0, expect!["2026-11-17, 2026-11-19, 2026-11-21"]);
    }
}
