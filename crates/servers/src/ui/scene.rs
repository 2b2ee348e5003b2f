//! A drawing before it is SVG or pixels: a few shapes, and inks by what they are for, so that light and dark are chosen last.

/// What a shape is drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// The ground.
    Ground,
    /// Words.
    Text,
    /// Words that matter less, and axes.
    Faint,
    /// Lines of the grid.
    Grid,
    /// A series' own.
    Series(u8),
    /// The same, seen through.
    Wash(u8),
}

/// How many series have an ink of their own; those that follow begin anew.
pub(super) const SERIES_INKS: usize = 8;

/// Grounds, words, faint words and grid of the light theme.
const LIGHT: [u32; 4] = [0xff_ff_ff, 0x1b_1f_24, 0x59_63_6e, 0xdd_e1_e6];
/// The same of the dark theme.
const DARK: [u32; 4] = [0x16_1a_20, 0xe8_ec_f0, 0x9a_a5_b1, 0x2f_36_3f];
/// Series on a light ground.
const LIGHT_SERIES: [u32; SERIES_INKS] =
    [0x1f_6f_d6, 0xc2_4e_12, 0x1b_84_4f, 0x8a_3f_c4, 0xb3_21_5a, 0x0b_7f_8c, 0x7a_6a_00, 0x5a_5f_6b];
/// Series on a dark ground.
const DARK_SERIES: [u32; SERIES_INKS] =
    [0x5f_a8_ff, 0xff_9a_5c, 0x4c_cf_8e, 0xc3_94_f7, 0xff_7f_ae, 0x46_cf_dd, 0xe0_cb_4a, 0xb4_bc_c8];

impl Ink {
    /// Red, green and blue, and how much covers, of 255.
    pub(super) fn rgba(self, dark: bool) -> ([u8; 3], u8) {
        let (plain, series) = if dark { (&DARK, &DARK_SERIES) } else { (&LIGHT, &LIGHT_SERIES) };
        let (colour, covers) = match self {
            Self::Ground => (plain[0], 255),
            Self::Text => (plain[1], 255),
            Self::Faint => (plain[2], 255),
            Self::Grid => (plain[3], 255),
            Self::Series(at) => (series[usize::from(at) % SERIES_INKS], 255),
            Self::Wash(at) => (series[usize::from(at) % SERIES_INKS], 56),
        };
        let [_, red, green, blue] = colour.to_be_bytes();
        ([red, green, blue], covers)
    }
}

/// Where a text stands from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// It begins there.
    Start,
    /// It is in the middle of it.
    Middle,
    /// It ends there.
    End,
}

/// A place, in pixels from the upper left.
pub(super) type Place = (f32, f32);

/// One shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// A box: its upper left, width and height.
    Rect { at: Place, width: f32, height: f32, ink: Ink },
    /// A line through places.
    Line { points: Vec<Place>, width: f32, ink: Ink },
    /// What lies between a line, which goes from left to right, and a height.
    Area { points: Vec<Place>, base: f32, ink: Ink },
    /// A text; `at` is on its ground line.
    Text { at: Place, size: f32, anchor: Anchor, ink: Ink, text: String },
}

/// A drawing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    /// In pixels.
    pub(super) width: u32,
    /// In pixels.
    pub(super) height: u32,
    /// What it is, in words.
    pub(super) label: String,
    /// In the order in which they are drawn.
    pub(super) shapes: Vec<Shape>,
}

/// How wide a letter is, of the size of its text.
pub(super) const LETTER: f32 = 0.58;

/// How wide a text is.
pub(super) fn width_of(text: &str, size: f32) -> f32 {
    text.chars().count() as f32 * LETTER * size
}

/// A text that fits a width, cut where it does not.
pub(super) fn fitting(text: &str, size: f32, width: f32) -> String {
    let most = (width / (LETTER * size)).max(1.0) as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}
