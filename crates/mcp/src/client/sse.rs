//! Server-sent events, as clients read them: in any pieces, with a bound.

use std::collections::VecDeque;
use std::time::Duration;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty for `message`.
    pub name: String,
    /// Its data, lines joined.
    pub data: Vec<u8>,
}

/// A line or an event is larger than the reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Reads a stream.
#[derive(Debug)]
pub struct Reader {
    max: usize,
    line: Vec<u8>,
    after_cr: bool,
    at_start: bool,
    has_data: bool,
    event: Event,
    events: VecDeque<Event>,
    last_id: Option<String>,
    retry: Option<Duration>,
}

impl Reader {
    /// A reader of events up to `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            has_data: false,
            event: Event::default(),
            events: VecDeque::new(),
            last_id: None,
            retry: None,
        }
    }

    /// The id of the newest event that had one, with or without data.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long the server wants its clients to wait before they come back.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The next whole event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes the next piece of the stream.
    ///
    /// # Errors
    /// When a line or an event grows past the bound; the stream is of no more use then.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), TooLarge> {
        if self.after_cr && piece.first() == Some(&b'\n') {
            piece = &piece[1..];
        }
        if !piece.is_empty() {
            self.after_cr = false;
        }
        while let Some(at) = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.grow(&piece[..at])?;
            let crlf = piece[at] == b'\r' && piece.get(at + 1) == Some(&b'\n');
            self.after_cr = piece[at] == b'\r' && at + 1 == piece.len();
            piece = &piece[at + 1 + usize::from(crlf)..];
            let line = std::mem::take(&mut self.line);
            self.take_line(&line)?;
            self.line = line;
            self.line.clear();
        }
        self.grow(piece)
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + bytes.len() > self.max {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), TooLarge> {
        let mark: &[u8] = "\u{feff}".as_bytes();
        let line = if std::mem::take(&mut self.at_start) { line.strip_prefix(mark).unwrap_or(line) } else { line };
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                self.events.push_back(event);
            }
            return Ok(());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.event.data.len() + value.len() > self.max {
                    return Err(TooLarge);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => self.last_id = Some(String::from_utf8_lossy(value).into_owned()),
            b"retry" => {
                let ms = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                self.retry = ms.and_then(|text| text.parse().ok()).map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut reader = Reader::new(1_000);
        let mut seen = Vec::new();
        for piece in pieces {
            reader.push(piece).unwrap();
            while let Some(event) = reader.next_event() {
                seen.push((event.name, String::from_utf8(event.data).unwrap()));
            }
        }
        seen
    }

    #[test]
    fn events_come_whole_whatever_the_line_ends() {
        let text = b"\xef\xbb\xbfevent: a\r\ndata: 1\r\ndata:2\r\n\r\n: hello\nid: 7\n\ndata\n\nretry: 20\rdata: x\r\rdata: cut";
        let want = [("a", "1\n2"), ("", ""), ("", "x")].map(|(name, data)| (name.to_owned(), data.to_owned()));
        assert_eq!(read(&[text]), want);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(read(&bytes), want);
        let mut reader = Reader::new(100);
        reader.push(text).unwrap();
        assert_eq!((reader.last_id(), reader.retry()), (Some("7"), Some(Duration::from_millis(20))));
    }

    #[test]
    fn what_grows_too_large_is_refused() {
        let mut reader = Reader::new(10);
        assert_eq!(reader.push(b"data: 12345678901"), Err(TooLarge));
        let mut reader = Reader::new(10);
        reader.push(b"data:1234\ndata:1234\n").unwrap();
        assert_eq!(reader.push(b"data:1234\n"), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn any_cut_reads_the_same(text in proptest::collection::vec(proptest::sample::select(b"data:id event\r\n\n\xef\xbb\xbf1".to_vec()), 0..60), cut in 0usize..60) {
            let cut = cut.min(text.len());
            prop_assert_eq!(read(&[&text]), read(&[&text[..cut], &text[cut..]]));
        }
    }
}
