//! Lines of a stream nobody vouches for: bounded, and skipped when they grow past the bound.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// A line as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A whole line, without its end.
    Whole(Vec<u8>),
    /// One that is too long: its first and last bytes.
    TooLong {
        /// Its first bytes.
        head: Vec<u8>,
        /// Its last bytes.
        tail: Vec<u8>,
    },
}

/// Bytes kept of each end of a line that is too long.
const ENDS: usize = 256;

/// Reads the next line of at most `max` bytes; `None` at the end. Safe to drop only between lines.
pub(super) async fn next<R: AsyncBufRead + Unpin>(reader: &mut R, max: usize) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut cut: Option<(Vec<u8>, Vec<u8>)> = None;
    loop {
        let piece = reader.fill_buf().await?;
        if piece.is_empty() {
            let nothing = line.is_empty() && cut.is_none();
            return Ok(if nothing { None } else { Some(whole(line, cut)) });
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        let part = &piece[..end.unwrap_or(piece.len())];
        match &mut cut {
            Some((_, tail)) => keep_last(tail, part),
            None if line.len() + part.len() > max => {
                line.extend_from_slice(&part[..part.len().min(ENDS)]);
                let mut tail = Vec::with_capacity(ENDS);
                keep_last(&mut tail, part);
                line.truncate(ENDS);
                cut = Some((std::mem::take(&mut line), tail));
            }
            None => line.extend_from_slice(part),
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(whole(line, cut)));
        }
    }
}

fn whole(mut line: Vec<u8>, cut: Option<(Vec<u8>, Vec<u8>)>) -> Line {
    if let Some((head, tail)) = cut {
        return Line::TooLong { head, tail };
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Line::Whole(line)
}

fn keep_last(tail: &mut Vec<u8>, part: &[u8]) {
    let part = &part[part.len().saturating_sub(ENDS)..];
    let over = (tail.len() + part.len()).saturating_sub(ENDS);
    tail.drain(..over);
    tail.extend_from_slice(part);
}

/// The number of the request that a message too long to read answers, if either end of it shows.
pub(super) fn id_of(head: &[u8], tail: &[u8]) -> Option<i64> {
    let number = |text: &[u8], at: usize| {
        let digits: String = text[at..]
            .iter()
            .map(|byte| *byte as char)
            .skip_while(|c| *c == ' ')
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    };
    let key = br#""id":"#;
    let find = |text: &[u8], last: bool| {
        let mut places =
            text.windows(key.len()).enumerate().filter(|(_, window)| window == key).map(|(at, _)| at + key.len());
        if last { places.next_back() } else { places.next() }
    };
    // In the head the envelope comes first; in the tail it comes last.
    let front = head.starts_with(br#"{"jsonrpc""#) || head.starts_with(br#"{"id""#);
    let front = front.then(|| find(head, false)).flatten().and_then(|at| number(head, at));
    front.or_else(|| find(tail, true).and_then(|at| number(tail, at)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::BufReader;

    use super::*;

    async fn lines(text: &[u8], max: usize, buffer: usize) -> Vec<Line> {
        let mut reader = BufReader::with_capacity(buffer, text);
        let mut lines = Vec::new();
        while let Some(line) = next(&mut reader, max).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_come_whole_or_cut() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        for buffer in [1, 2, 3, 64] {
            assert_eq!(lines(b"a\r\n\nbc", 10, buffer).await, [whole("a"), whole(""), whole("bc")]);
            let cut = Line::TooLong { head: b"0123456789".to_vec(), tail: b"0123456789".to_vec() };
            let [first, second] = &lines(b"0123456789\nab\n", 5, buffer).await[..] else { panic!("two lines") };
            let Line::TooLong { tail, .. } = first else { panic!("cut: {first:?}") };
            assert!(cut != whole("") && b"0123456789".ends_with(tail));
            assert_eq!(*second, whole("ab"));
        }
        let long = [vec![b'x'; 10_000], b"\ny\n".to_vec()].concat();
        let [Line::TooLong { head, tail }, _] = &lines(&long, 1_000, 512).await[..] else { panic!("two lines") };
        assert_eq!((head.len(), tail.len()), (ENDS, ENDS));
    }

    #[test]
    fn finds_whose_answer_was_too_long() {
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","id": 12,"result":{"#, b""), Some(12));
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","result":{"x":""#, br#"yyy"},"id":7}"#), Some(7));
        assert_eq!(id_of(b"garbage", b"more"), None);
    }

    proptest! {
        #[test]
        fn any_buffer_reads_the_same(text in proptest::collection::vec(proptest::sample::select(b"ab\r\n\n".to_vec()), 0..40), buffer in 1usize..9) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (one, other) = runtime.block_on(async { (lines(&text, 100, buffer).await, lines(&text, 100, 64).await) });
            prop_assert_eq!(one, other);
        }

        #[test]
        fn no_ends_of_a_line_are_too_strange(head: Vec<u8>, tail: Vec<u8>) {
            id_of(&head, &tail);
            id_of(br#"{"id":99999999999999999999"#, br#""id":"#);
        }
    }
}
