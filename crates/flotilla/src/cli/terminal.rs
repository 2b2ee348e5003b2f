//! A terminal as one screen: lines in, keys out. What it was before is put back when the screen is dropped, also by a panic.
#![expect(unsafe_code, reason = "a terminal's modes and size have no safe form in std")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use kernel::Fault;

/// Most bytes of one key's sequence.
const SEQUENCE_BYTES_MAX: usize = 16;
/// What a terminal is taken for that does not say its size.
const SIZE: (usize, usize) = (80, 24);
/// Another page for the screen, and no cursor on it.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// The page before, and its cursor.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// What somebody pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// The arrow.
    Up,
    /// The arrow.
    Down,
    /// Escape or Ctrl-C, or the terminal went away.
    Leave,
}

/// The screen.
pub struct Screen {
    terminal: File,
    before: libc::termios,
}

impl Screen {
    /// Takes the terminal of this process.
    ///
    /// # Errors
    /// When it has none.
    pub fn open() -> Result<Self, Fault> {
        let failed = |error: std::io::Error| {
            Fault::unsupported(format!("there is no terminal: {error}"))
                .hint("--once prints a table, --json lines of JSON")
        };
        let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(failed)?;
        // SAFETY: all bits zero are a `termios`, which the call below fills.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open, and the pointer is to a `termios` of ours.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut before) } != 0 {
            return Err(failed(std::io::Error::last_os_error()));
        }
        let mut raw = before;
        // No line at a time, no echo, and Ctrl-C is a key: whoever leaves finds the terminal as it was.
        raw.c_lflag &= !(libc::ICANON | libc::ECHO | libc::ISIG);
        let mut screen = Self { terminal, before };
        screen.set(&raw);
        screen.put(ENTER)?;
        Ok(screen)
    }

    fn set(&self, mode: &libc::termios) {
        // SAFETY: the descriptor is open, and the pointer is to a whole `termios`.
        unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSANOW, mode) };
    }

    fn put(&mut self, text: &str) -> Result<(), Fault> {
        let put = self.terminal.write_all(text.as_bytes()).and_then(|()| self.terminal.flush());
        put.map_err(|error| Fault::unavailable(format!("the terminal takes nothing: {error}")))
    }

    /// Columns and lines.
    pub fn size(&self) -> (usize, usize) {
        let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is open, and this request fills the `winsize` that it is given.
        let told = unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } == 0;
        if told && size.ws_col > 0 { (size.ws_col.into(), size.ws_row.into()) } else { SIZE }
    }

    /// Shows lines, in place of those before.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn show(&mut self, lines: &[String]) -> Result<(), Fault> {
        // Each line's rest is cleared rather than the whole screen, which would flicker.
        let body = lines.iter().map(|line| format!("{line}\u{1b}[K")).collect::<Vec<_>>().join("\r\n");
        self.put(&format!("\u{1b}[H{body}\u{1b}[J"))
    }

    /// Waits for a key, at most for so long. It blocks its thread, which has nothing else to do.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub fn key(&mut self, time: Duration) -> Result<Option<Key>, Fault> {
        let mut waited = libc::pollfd { fd: self.terminal.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let time_ms = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the pointer is to one `pollfd`, as the count says.
        if unsafe { libc::poll(&raw mut waited, 1, time_ms) } <= 0 {
            // Nothing came; or a signal, such as that of another size: it is drawn anew either way.
            return Ok(None);
        }
        let mut bytes = [0; SEQUENCE_BYTES_MAX];
        let read = self.terminal.read(&mut bytes);
        let read = read.map_err(|error| Fault::unavailable(format!("the terminal cannot be read: {error}")))?;
        Ok(Some(key_of(&bytes[..read])))
    }
}

/// The first key of what was read.
fn key_of(bytes: &[u8]) -> Key {
    match bytes {
        [] | [0x03, ..] | [0x1b] => Key::Leave,
        [0x1b, b'[' | b'O', b'A', ..] => Key::Up,
        [0x1b, b'[' | b'O', b'B', ..] => Key::Down,
        // Another key that is no character: a space means nothing to anybody.
        [0x1b, ..] => Key::Char(' '),
        other => Key::Char(String::from_utf8_lossy(other).chars().next().unwrap_or(' ')),
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.set(&self.before);
        // A terminal that is gone needs nothing put back.
        self.put(LEAVE).ok();
    }
}

/// A text that takes exactly so many columns, as far as one character takes one.
pub fn fitted(text: &str, width: usize) -> String {
    let chars = text.chars().count();
    if chars <= width {
        return format!("{text}{}", " ".repeat(width - chars));
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain((width > 0).then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_terminals_send() {
        let read = [&b"q"[..], b"\x1b[A", b"\x1bOB", b"\x1b", b"\x03", b"", b"\x1b[5~", "é".as_bytes()].map(key_of);
        let keys =
            [Key::Char('q'), Key::Up, Key::Down, Key::Leave, Key::Leave, Key::Leave, Key::Char(' '), Key::Char('é')];
        assert_eq!(read, keys);
    }

    #[test]
    fn a_text_fits() {
        assert_eq!([fitted("ab", 4), fitted("abcd", 3), fitted("ab", 0), fitted("é●", 2)], ["ab  ", "ab…", "", "é●"]);
    }
}
