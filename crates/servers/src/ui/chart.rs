//! Charts: what may be drawn, and where each thing of it stands.
//!
//! Series come with the request, or are what PromQL gives over a time, asked of the monitoring server as whoever asks for the chart. Bounded in
//! series, points and size before anything is drawn; a gap in the figures is a gap in the line.

use mcp::prelude::*;

use super::scale::{Scale, Unit};
use super::scene::{Anchor, Ink, Place, Scene, Shape, fitting, width_of};
use crate::when::When;

/// Most series of one chart.
pub(super) const SERIES_MAX: usize = 12;
/// Most points of one series.
const POINTS_MAX: usize = 2_000;
/// Most points of all together.
const POINTS_ALL_MAX: usize = 10_000;
/// Largest figure, up or down: beyond it points cannot be told apart.
const FIGURE_MAX: f64 = 1e18;
/// Longest title, and longest name of a series, in characters.
const TITLE_CHARS_MAX: usize = 120;
const NAME_CHARS_MAX: usize = 80;
/// Longest unit.
const UNIT_CHARS_MAX: usize = 16;
/// Longest query, in bytes.
const QUERY_BYTES_MAX: usize = 4_096;
/// Pictures' bounds, in pixels.
const WIDTH: std::ops::RangeInclusive<u32> = 200..=2_000;
const HEIGHT: std::ops::RangeInclusive<u32> = 120..=1_500;
/// Sizes of words.
const TITLE_SIZE: f32 = 15.0;
const WORD_SIZE: f32 = 11.0;
/// Room around what is drawn.
const MARGIN: f32 = 12.0;

/// How figures are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChartKind {
    /// A line for each series.
    #[default]
    Line,
    /// A line with what is under it filled.
    Area,
    /// A bar for each point, those of several series side by side.
    Bar,
}

/// What a point's place along the chart is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Along {
    /// A number.
    #[default]
    Number,
    /// A time, in milliseconds since the Unix epoch.
    Time,
}

/// A series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChartSeries {
    /// Its name in the legend.
    pub name: String,
    /// Its points, each `[along, figure]`, from left to right, at most 2,000; a figure that is `null` is a gap.
    pub points: Vec<(f64, Option<f64>)>,
}

/// What a chart shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Chart {
    /// line (unless given), area or bar.
    pub kind: ChartKind,
    /// What it shows, at most 120 characters.
    pub title: String,
    /// What the figures are in, at most 16 characters: `bytes`, `seconds` and `ratio` are written as people read them, anything else stands beside
    /// the figures.
    pub unit: String,
    /// number (unless given) or time.
    pub along: Along,
    /// The series, at most 12.
    pub series: Vec<ChartSeries>,
}

/// What [`CHART`](super::CHART) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChartRequest {
    /// line (unless given), area or bar.
    pub kind: ChartKind,
    /// What it shows, at most 120 characters.
    pub title: String,
    /// What the figures are in: bytes, seconds, ratio, or any word of at most 16 characters.
    pub unit: String,
    /// What points' places are: number (unless given) or time.
    pub along: Along,
    /// The series, at most 12; instead of `query`.
    pub series: Vec<ChartSeries>,
    /// PromQL that gives what to draw over time, like sum by (server) (rate(mcp_commands_total[5m])); instead of `series`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// With `query`, from when: 2026-11-15T08:00:00Z, -15m; -1h unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<When>,
    /// With `query`, until when; now unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<When>,
    /// Its width in pixels, 200 to 2,000; 720 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 2000))]
    pub width: Option<u32>,
    /// Its height in pixels, 120 to 1,500; 360 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 120, max = 1500))]
    pub height: Option<u32>,
    /// Whether it is dark.
    pub dark: bool,
    /// png (unless given) or svg.
    pub format: Format,
}

/// What a picture is made as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Pixels.
    #[default]
    Png,
    /// Shapes.
    Svg,
}

/// A picture's size, within its bounds.
pub(super) fn size(width: Option<u32>, height: Option<u32>) -> Result<(u32, u32), Fault> {
    let within = |name: &str, given: Option<u32>, usual: u32, bounds: std::ops::RangeInclusive<u32>| {
        let value = given.unwrap_or(usual);
        if bounds.contains(&value) {
            return Ok(value);
        }
        Err(Fault::invalid(format!("{name} is {value}")).hint(format!("{} to {} pixels", bounds.start(), bounds.end())))
    };
    Ok((within("width", width, 720, WIDTH)?, within("height", height, 360, HEIGHT)?))
}

/// Refuses a query that cannot be one.
pub(super) fn check_query(query: &str) -> Result<(), Fault> {
    if query.trim().is_empty() || query.len() > QUERY_BYTES_MAX {
        return Err(
            Fault::invalid("the query is empty or too long").hint(format!("PromQL of 1 to {QUERY_BYTES_MAX} bytes"))
        );
    }
    Ok(())
}

fn check_text(what: &str, text: &str, chars: usize) -> Result<(), Fault> {
    let count = text.chars().count();
    if count > chars {
        return Err(Fault::too_large(format!("{what} has {count} characters")).hint(format!("at most {chars}")));
    }
    Ok(())
}

impl Chart {
    /// Refuses what cannot be drawn.
    pub(super) fn check(&self) -> Result<(), Fault> {
        check_text("the title", &self.title, TITLE_CHARS_MAX)?;
        check_text("the unit", &self.unit, UNIT_CHARS_MAX)?;
        if self.series.len() > SERIES_MAX {
            return Err(Fault::too_large(format!("{} series", self.series.len()))
                .hint(format!("at most {SERIES_MAX}: sum them up, or take the largest (topk)")));
        }
        let mut all = 0;
        for (at, one) in self.series.iter().enumerate() {
            check_text(&format!("the name of series[{at}]"), &one.name, NAME_CHARS_MAX)?;
            all += one.points.len();
            if one.points.len() > POINTS_MAX || all > POINTS_ALL_MAX {
                return Err(Fault::too_large(format!(
                    "series[{at}] has {} points, {all} with those before",
                    one.points.len()
                ))
                .hint(format!("at most {POINTS_MAX} a series and {POINTS_ALL_MAX} in all: a longer step")));
            }
            let odd = |figure: f64| !figure.is_finite() || figure.abs() > FIGURE_MAX;
            for (place, (along, figure)) in one.points.iter().enumerate() {
                let name = format!("series[{at}].points[{place}]");
                if odd(*along) || figure.is_some_and(odd) {
                    return Err(Fault::invalid(format!("{name} is past {FIGURE_MAX:e}")).hint("a gap is null"));
                }
                if place > 0 && one.points[place - 1].0 >= *along {
                    return Err(Fault::invalid(format!("{name} is not right of the point before it"))
                        .hint("points go from left to right, one figure for each place"));
                }
            }
        }
        Ok(())
    }

    fn figures(&self) -> impl Iterator<Item = f64> {
        self.series.iter().flat_map(|one| one.points.iter().filter_map(|(_, figure)| *figure))
    }

    /// The chart in words: for those who do not see it.
    pub(super) fn words(&self) -> String {
        let unit = Unit::of(&self.unit);
        let one = |series: &ChartSeries| {
            let figures: Vec<f64> = series.points.iter().filter_map(|(_, figure)| *figure).collect();
            let (Some(first), Some(last)) = (figures.first(), figures.last()) else {
                return format!("{}: no figures", series.name);
            };
            let (low, high) =
                figures.iter().fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(*at), high.max(*at)));
            let [first, last, low, high] = [*first, *last, low, high].map(|figure| unit.exact(figure));
            format!("{}: {} points, first {first}, last {last}, least {low}, most {high}", series.name, figures.len())
        };
        let lines: Vec<String> = self.series.iter().map(one).collect();
        let title = if self.title.is_empty() { "chart" } else { &self.title };
        if lines.is_empty() { format!("{title}: nothing to draw") } else { format!("{title}\n{}", lines.join("\n")) }
    }

    /// Where everything stands, in a picture of this size.
    pub(super) fn scene(&self, width: u32, height: u32) -> Scene {
        let mut plan = Plan { width: width as f32, height: height as f32, shapes: Vec::new(), top: MARGIN };
        plan.shapes.push(Shape::Rect { at: (0.0, 0.0), width: plan.width, height: plan.height, ink: Ink::Ground });
        plan.title(&self.title);
        plan.legend(&self.series);
        let label = if self.title.is_empty() { "chart".to_owned() } else { self.title.clone() };
        let (low, high) = self.figures().fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
        if low > high {
            plan.word((plan.width / 2.0, (plan.top + plan.height) / 2.0), Anchor::Middle, "no figures to draw");
        } else {
            plan.body(self, low, high);
        }
        Scene { width, height, label, shapes: plan.shapes }
    }
}

/// A picture while it is laid out.
struct Plan {
    width: f32,
    height: f32,
    shapes: Vec<Shape>,
    /// Down to where it is taken.
    top: f32,
}

/// What is left for the figures.
struct Field {
    left: f32,
    right: f32,
    top: f32,
    bottom: f32,
    x: Scale,
    y: Scale,
}

impl Field {
    fn place(&self, along: f64, figure: f64) -> Place {
        let x = self.left + self.x.part(along) * (self.right - self.left);
        (x, self.bottom - self.y.part(figure) * (self.bottom - self.top))
    }
}

impl Plan {
    fn word(&mut self, at: Place, anchor: Anchor, text: &str) {
        self.shapes.push(Shape::Text { at, size: WORD_SIZE, anchor, ink: Ink::Faint, text: text.to_owned() });
    }

    fn title(&mut self, title: &str) {
        if title.is_empty() {
            return;
        }
        let text = fitting(title, TITLE_SIZE, self.width - 2.0 * MARGIN);
        let at = (MARGIN, self.top + TITLE_SIZE * 0.8);
        self.shapes.push(Shape::Text { at, size: TITLE_SIZE, anchor: Anchor::Start, ink: Ink::Text, text });
        self.top += TITLE_SIZE + 8.0;
    }

    /// Names beside their inks, in as many rows as they take; at most a third of the picture.
    fn legend(&mut self, series: &[ChartSeries]) {
        const MARK: f32 = 10.0;
        if series.len() == 1 && series[0].name.is_empty() {
            return;
        }
        let (mut x, row) = (MARGIN, WORD_SIZE + 6.0);
        for (at, one) in series.iter().enumerate() {
            let name = fitting(&one.name, WORD_SIZE, (self.width - 2.0 * MARGIN - MARK - 6.0).min(260.0));
            let takes = MARK + 5.0 + width_of(&name, WORD_SIZE) + 14.0;
            if x > MARGIN && x + takes > self.width - MARGIN {
                (x, self.top) = (MARGIN, self.top + row);
            }
            if self.top > self.height / 3.0 {
                self.word((x, self.top + WORD_SIZE * 0.8), Anchor::Start, &format!("and {} more", series.len() - at));
                break;
            }
            let ink = Ink::Series(at as u8);
            self.shapes.push(Shape::Rect { at: (x, self.top), width: MARK, height: MARK, ink });
            self.word((x + MARK + 5.0, self.top + WORD_SIZE * 0.8), Anchor::Start, &name);
            x += takes;
        }
        if !series.is_empty() {
            self.top += row;
        }
    }

    fn body(&mut self, chart: &Chart, low: f64, high: f64) {
        let unit = Unit::of(&chart.unit);
        // What is filled or stands on the ground is read from the ground on.
        let grounded = chart.kind != ChartKind::Line;
        let (low, high) = if grounded { (low.min(0.0), high.max(0.0)) } else { (low, high) };
        let along = chart.series.iter().flat_map(|one| one.points.iter().map(|(along, _)| *along));
        let (first, last) = along.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
        let below = WORD_SIZE + 10.0;
        let rows = ((self.height - self.top - below) / 36.0).clamp(2.0, 8.0) as usize;
        let y = Scale::of_figures(low, high, rows, &unit);
        let labels: Vec<String> = y.ticks.iter().map(|(_, label)| label.clone()).collect();
        let widest = labels.iter().map(|label| width_of(label, WORD_SIZE)).fold(0.0, f32::max);
        let left = MARGIN + widest + 6.0;
        let columns = ((self.width - left - MARGIN) / 90.0).clamp(2.0, 12.0) as usize;
        let x = match (chart.along, chart.kind) {
            (Along::Time, _) => Scale::of_times(first, last, columns),
            (Along::Number, _) => Scale::of_places(first, last, columns),
        };
        let slot = narrowest(chart).unwrap_or(1.0);
        let x = if chart.kind == ChartKind::Bar { x.widened(slot / 2.0) } else { x };
        let mut top = self.top + 4.0;
        if !unit.word.is_empty() {
            self.word((MARGIN, top + WORD_SIZE * 0.8), Anchor::Start, &unit.word);
            top += WORD_SIZE + 6.0;
        }
        let field = Field { left, right: self.width - MARGIN, top, bottom: self.height - below - 4.0, x, y };
        self.grid(&field);
        match chart.kind {
            ChartKind::Bar => self.bars(chart, &field, slot),
            _ => self.lines(chart, &field),
        }
    }

    fn grid(&mut self, field: &Field) {
        for (figure, label) in &field.y.ticks {
            // In the middle of its pixels: a line of one pixel is one, and no two faint ones.
            let y = field.place(field.x.low, *figure).1.floor() + 0.5;
            self.shapes.push(Shape::Line {
                points: vec![(field.left, y), (field.right, y)],
                width: 1.0,
                ink: Ink::Grid,
            });
            self.word((field.left - 6.0, y + WORD_SIZE * 0.35), Anchor::End, label);
        }
        for (along, label) in &field.x.ticks {
            let x = field.place(*along, field.y.low).0.floor() + 0.5;
            let mark = vec![(x, field.bottom), (x, field.bottom + 4.0)];
            self.shapes.push(Shape::Line { points: mark, width: 1.0, ink: Ink::Faint });
            let half = width_of(label, WORD_SIZE) / 2.0;
            let x = x.clamp(half + 2.0, (self.width - half - 2.0).max(half + 2.0));
            self.word((x, field.bottom + WORD_SIZE + 6.0), Anchor::Middle, label);
        }
        let ground = vec![(field.left, field.bottom), (field.right, field.bottom)];
        self.shapes.push(Shape::Line { points: ground, width: 1.0, ink: Ink::Faint });
    }

    fn lines(&mut self, chart: &Chart, field: &Field) {
        let (_, base) = field.place(field.x.low, 0.0f64.clamp(field.y.low, field.y.high));
        for (at, one) in chart.series.iter().enumerate() {
            // A gap ends one stretch and begins another.
            for stretch in one.points.split(|(_, figure)| figure.is_none()).filter(|stretch| !stretch.is_empty()) {
                let points: Vec<Place> =
                    stretch.iter().filter_map(|(along, figure)| Some(field.place(*along, (*figure)?))).collect();
                if chart.kind == ChartKind::Area {
                    self.shapes.push(Shape::Area { points: points.clone(), base, ink: Ink::Wash(at as u8) });
                }
                let width = if points.len() == 1 { 5.0 } else { 2.0 };
                self.shapes.push(Shape::Line { points, width, ink: Ink::Series(at as u8) });
            }
        }
    }

    fn bars(&mut self, chart: &Chart, field: &Field, slot: f64) {
        let each = slot * 0.8 / chart.series.len().max(1) as f64;
        for (at, one) in chart.series.iter().enumerate() {
            for (along, figure) in one.points.iter().filter_map(|(along, figure)| Some((*along, (*figure)?))) {
                let from = along - slot * 0.4 + each * at as f64;
                let ((x0, y0), (x1, y1)) = (field.place(from, figure), field.place(from + each, 0.0));
                // What is nothing is seen as a line.
                let (top, height) = (y0.min(y1), (y0 - y1).abs().max(1.0));
                let shape =
                    Shape::Rect { at: (x0, top), width: (x1 - x0).max(1.0), height, ink: Ink::Series(at as u8) };
                self.shapes.push(shape);
            }
        }
    }
}

/// The least distance between two points of a series.
fn narrowest(chart: &Chart) -> Option<f64> {
    let steps = chart.series.iter().flat_map(|one| one.points.windows(2).map(|pair| pair[1].0 - pair[0].0));
    steps.min_by(f64::total_cmp)
}
