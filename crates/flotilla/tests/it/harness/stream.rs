//! Bodies read as they come: lengths, chunks, and the events in them.

use std::io::{BufRead, BufReader, Error, Read, Result};
use std::net::TcpStream;

use serde_json::Value;

/// A body without its framing.
#[derive(Debug)]
pub(crate) struct Body {
    reader: BufReader<TcpStream>,
    chunked: bool,
    /// Bytes left of the body, or of the chunk; `None` where the body ends with the connection.
    left: Option<usize>,
    ended: bool,
}

impl Body {
    /// A body on `reader`.
    pub(crate) fn new(reader: BufReader<TcpStream>, chunked: bool, length: Option<usize>) -> Self {
        Self { reader, chunked, left: if chunked { Some(0) } else { length }, ended: false }
    }

    /// The next server-sent event; `None` at the end of the stream.
    pub(crate) fn event(&mut self) -> Result<Option<Event>> {
        let mut event = Event::default();
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            match line.split_once(':') {
                None if line.is_empty() && event.is_something() => return Ok(Some(event)),
                Some(("id", value)) => event.id = value.trim_start().to_owned(),
                Some(("event", value)) => event.kind = value.trim_start().to_owned(),
                Some(("data", value)) => event.data.push_str(value.strip_prefix(' ').unwrap_or(value)),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<Option<String>> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while self.read(&mut byte)? == 1 {
            if byte[0] == b'\n' {
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()));
            }
            line.push(byte[0]);
        }
        Ok(None)
    }

    fn next_chunk(&mut self) -> Result<usize> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if line == "\r\n" {
            line.clear();
            self.reader.read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(Error::other("the body was cut"));
        }
        usize::from_str_radix(line.trim(), 16).map_err(|_| Error::other(format!("no chunk size: {line:?}")))
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        if self.chunked && self.left == Some(0) && !self.ended {
            let size = self.next_chunk()?;
            self.ended = size == 0;
            self.left = Some(size);
        }
        let most = self.left.unwrap_or(into.len()).min(into.len());
        if self.ended || most == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut into[..most])?;
        if read == 0 && self.left.is_some() {
            return Err(Error::other("the body was cut"));
        }
        if let Some(left) = &mut self.left {
            *left -= read;
        }
        Ok(read)
    }
}

/// A server-sent event.
#[derive(Debug, Default, Clone)]
pub(crate) struct Event {
    /// Its place.
    pub(crate) id: String,
    /// Its name.
    pub(crate) kind: String,
    /// What it carries.
    pub(crate) data: String,
}

impl Event {
    fn is_something(&self) -> bool {
        !self.data.is_empty() || !self.id.is_empty()
    }

    /// What it carries as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}
