//! A drawing as pixels, and those as PNG. What a pixel gets of a shape is how much of it the shape covers.

use std::io::Write;
use std::ops::Range;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use kernel::{Fault, Result};

use super::font;
use super::scene::{Anchor, Ink, LETTER, Place, Scene, Shape, width_of};

/// Bytes of a pixel: red, green, blue.
const PIXEL: usize = 3;

/// Pixels, row by row.
pub(super) struct Picture {
    width: usize,
    height: usize,
    dark: bool,
    pixels: Vec<u8>,
    /// How much a shape covers of each pixel, while it is drawn.
    mask: Vec<f32>,
    /// The rows and columns that it touches.
    touched: [Range<usize>; 2],
}

/// The drawing as PNG.
pub(super) fn png(scene: &Scene, dark: bool) -> Result<Vec<u8>> {
    let mut picture = Picture::new(scene.width as usize, scene.height as usize, dark);
    for shape in &scene.shapes {
        picture.draw(shape);
    }
    picture.encoded()
}

impl Picture {
    fn new(width: usize, height: usize, dark: bool) -> Self {
        let (ground, _) = Ink::Ground.rgba(dark);
        let (pixels, mask) = (ground.repeat(width * height), vec![0.0; width * height]);
        Self { width, height, dark, pixels, mask, touched: [0..0, 0..0] }
    }

    fn draw(&mut self, shape: &Shape) {
        match shape {
            Shape::Rect { at, width, height, ink } => self.rect(*at, *width, *height, *ink),
            Shape::Line { points, width, ink } => {
                self.stroke(points, *width);
                self.pour(*ink);
            }
            Shape::Area { points, base, ink } => {
                self.area(points, *base);
                self.pour(*ink);
            }
            Shape::Text { at, size, anchor, ink, text } => {
                self.text(*at, *size, *anchor, text);
                self.pour(*ink);
            }
        }
    }

    /// The rows and columns that a box touches; they are poured over.
    fn touch(&mut self, (x0, y0): Place, (x1, y1): Place) -> [Range<usize>; 2] {
        let within = |from: f32, until: f32, most: usize| {
            let (from, until) = (from.floor().max(0.0) as usize, until.ceil().max(0.0) as usize);
            from.min(most)..until.min(most)
        };
        let now = [within(y0, y1, self.height), within(x0, x1, self.width)];
        for (all, one) in self.touched.iter_mut().zip(&now) {
            *all = if all.start >= all.end { one.clone() } else { all.start.min(one.start)..all.end.max(one.end) };
        }
        now
    }

    fn rect(&mut self, (x, y): Place, width: f32, height: f32, ink: Ink) {
        let covered =
            |at: usize, from: f32, until: f32| (until.min(at as f32 + 1.0) - from.max(at as f32)).clamp(0.0, 1.0);
        let [rows, columns] = self.touch((x, y), (x + width, y + height));
        for row in rows {
            for column in columns.clone() {
                let part = covered(row, y, y + height) * covered(column, x, x + width);
                self.mask[row * self.width + column] = part;
            }
        }
        self.pour(ink);
    }

    /// Covers what is nearer to the line than half its width.
    fn stroke(&mut self, points: &[Place], width: f32) {
        let (half, reach) = (width / 2.0, width / 2.0 + 1.0);
        let alone = points.first().map(|first| (*first, *first)).filter(|_| points.len() == 1);
        for (from, to) in points.windows(2).map(|pair| (pair[0], pair[1])).chain(alone) {
            let upper = (from.0.min(to.0) - reach, from.1.min(to.1) - reach);
            let [rows, columns] = self.touch(upper, (from.0.max(to.0) + reach, from.1.max(to.1) + reach));
            for row in rows {
                for column in columns.clone() {
                    let far = distance((column as f32 + 0.5, row as f32 + 0.5), from, to);
                    let part = &mut self.mask[row * self.width + column];
                    *part = part.max((half + 0.5 - far).clamp(0.0, 1.0));
                }
            }
        }
    }

    /// Covers what lies between the line and the base, column by column.
    fn area(&mut self, points: &[Place], base: f32) {
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let [_, columns] = self.touch((x0, y0.min(y1).min(base)), (x1, y0.max(y1).max(base)));
            for column in columns {
                let middle = column as f32 + 0.5;
                if middle < x0 || middle >= x1 {
                    continue;
                }
                let y = y0 + (y1 - y0) * (middle - x0) / (x1 - x0);
                let (top, bottom) = (y.min(base), y.max(base));
                let [rows, _] = self.touch((middle, top), (middle, bottom));
                for row in rows {
                    let part = (bottom.min(row as f32 + 1.0) - top.max(row as f32)).clamp(0.0, 1.0);
                    self.mask[row * self.width + column] = part;
                }
            }
        }
    }

    fn text(&mut self, (x, y): Place, size: f32, anchor: Anchor, text: &str) {
        let whole = width_of(text, size);
        let begin = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - whole / 2.0,
            Anchor::End => x - whole,
        };
        let (step, across) = (size / font::STEPS, size * LETTER / 5.8);
        for (at, letter) in text.chars().enumerate() {
            let left = begin + at as f32 * LETTER * size + across * 0.5;
            for stroke in font::strokes(letter).split(' ').filter(|stroke| !stroke.is_empty()) {
                let place = |(across_steps, down): Place| (left + across_steps * across, y + (down - 6.0) * step);
                let points: Vec<Place> = font::places(stroke).map(place).collect();
                self.stroke(&points, (size / 10.0).max(1.1));
            }
        }
    }

    /// Gives an ink to what is covered, and covers nothing any more.
    fn pour(&mut self, ink: Ink) {
        let (colour, covers) = ink.rgba(self.dark);
        let through = f32::from(covers) / 255.0;
        let [rows, columns] = std::mem::replace(&mut self.touched, [0..0, 0..0]);
        for row in rows {
            for at in columns.clone().map(|column| row * self.width + column) {
                let part = std::mem::take(&mut self.mask[at]) * through;
                if part > 0.0 {
                    for (channel, wanted) in self.pixels[at * PIXEL..][..PIXEL].iter_mut().zip(colour) {
                        let (now, wanted) = (f32::from(*channel), f32::from(wanted));
                        *channel = (now + (wanted - now) * part).round() as u8;
                    }
                }
            }
        }
    }

    fn encoded(&self) -> Result<Vec<u8>> {
        let mut head = Vec::with_capacity(13);
        head.extend_from_slice(&(self.width as u32).to_be_bytes());
        head.extend_from_slice(&(self.height as u32).to_be_bytes());
        // Eight bits a channel, true colour, the one compression and filter there are, not interlaced.
        head.extend_from_slice(&[8, 2, 0, 0, 0]);
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.pixels.chunks_exact(self.width * PIXEL) {
            // No filter: most rows are like the row above, which compression finds by itself.
            packed.write_all(&[0]).and_then(|()| packed.write_all(row)).map_err(unwritten)?;
        }
        let packed = packed.finish().map_err(unwritten)?;
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, data) in [(b"IHDR", &head), (b"IDAT", &packed), (b"IEND", &Vec::new())] {
            let mut crc = Crc::new();
            crc.update(name);
            crc.update(data);
            png.extend_from_slice(&(data.len() as u32).to_be_bytes());
            png.extend_from_slice(name);
            png.extend_from_slice(data);
            png.extend_from_slice(&crc.sum().to_be_bytes());
        }
        Ok(png)
    }
}

fn unwritten(error: std::io::Error) -> Fault {
    Fault::internal(format!("picture: {error}"))
}

/// How far a place is from the stretch between two others.
fn distance((x, y): Place, (x0, y0): Place, (x1, y1): Place) -> f32 {
    let (across, down) = (x1 - x0, y1 - y0);
    let length = across * across + down * down;
    let along = if length > 0.0 { (((x - x0) * across + (y - y0) * down) / length).clamp(0.0, 1.0) } else { 0.0 };
    (x - x0 - along * across).hypot(y - y0 - along * down)
}
