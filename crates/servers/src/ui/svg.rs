//! A drawing as SVG. Whatever a text says, it is text: nothing of it becomes markup.

use std::fmt::Write;

use super::scene::{Anchor, Ink, SERIES_INKS, Scene, Shape};

/// Who chooses between light and dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dress {
    /// The picture itself, for good.
    Alone { dark: bool },
    /// The page that it stands in, by the classes of its inks.
    Page,
}

/// Text as it may stand in markup, between tags and in quotes. What XML forbids even when it is escaped is shown as a mark.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

fn class(ink: Ink) -> String {
    match ink {
        Ink::Ground => "ground".into(),
        Ink::Text => "ink".into(),
        Ink::Faint => "faint".into(),
        Ink::Grid => "grid".into(),
        Ink::Series(at) => format!("s{}", usize::from(at) % SERIES_INKS),
        Ink::Wash(at) => format!("w{}", usize::from(at) % SERIES_INKS),
    }
}

/// The rules of every ink's class.
pub(super) fn rules(dark: bool) -> String {
    let series = (0..SERIES_INKS as u8).flat_map(|at| [Ink::Series(at), Ink::Wash(at)]);
    let mut rules = String::new();
    for ink in [Ink::Ground, Ink::Text, Ink::Faint, Ink::Grid].into_iter().chain(series) {
        let ([red, green, blue], covers) = ink.rgba(dark);
        let (name, through) = (class(ink), f32::from(covers) / 255.0);
        // Writing to a string cannot fail.
        write!(rules, "svg .{name}{{--i:rgb({red} {green} {blue}/{through:.2})}}").ok();
    }
    rules
}

/// What all drawings have in common: a class sets the ink, an element says what it is for.
pub(super) const COMMON: &str = "svg rect,svg polygon,svg text{fill:var(--i)}svg polyline{stroke:var(--i);fill:none;stroke-linejoin:round;stroke-linecap:round}svg text{font-family:system-ui,sans-serif}";

/// The drawing as one element.
pub(super) fn svg(scene: &Scene, dress: Dress) -> String {
    let (width, height, label) = (scene.width, scene.height, escaped(&scene.label));
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{label}">"#
    );
    if let Dress::Alone { dark } = dress {
        write!(out, "<title>{label}</title><style>{}{COMMON}</style>", rules(dark)).ok();
    }
    for shape in &scene.shapes {
        one(&mut out, shape);
    }
    out.push_str("</svg>");
    out
}

fn one(out: &mut String, shape: &Shape) {
    let places =
        |points: &[(f32, f32)]| points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    // Writing to a string cannot fail.
    match shape {
        Shape::Rect { at: (x, y), width, height, ink } => {
            let ink = class(*ink);
            write!(out, r#"<rect class="{ink}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#)
        }
        Shape::Line { points, width, ink } => {
            // A place alone is a dot: a line from it to itself.
            let points = if points.len() == 1 { [&points[..], &points[..]].concat() } else { points.clone() };
            write!(out, r#"<polyline class="{}" stroke-width="{width}" points="{}"/>"#, class(*ink), places(&points))
        }
        Shape::Area { points, base, ink } => {
            let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
            let closed = [&points[..], &[(last.0, *base), (first.0, *base)]].concat();
            write!(out, r#"<polygon class="{}" points="{}"/>"#, class(*ink), places(&closed))
        }
        Shape::Text { at: (x, y), size, anchor, ink, text } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let (ink, text) = (class(*ink), escaped(text));
            write!(
                out,
                r#"<text class="{ink}" x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}">{text}</text>"#
            )
        }
    }
    .ok();
}
