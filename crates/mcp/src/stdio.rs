//! The stdio door: one client on a pair of byte streams, a message a line, in every revision.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kernel::limits::BODY_BYTES_MAX;
use kernel::{Caller, Fault, Tasks};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::RpcError;
use crate::handler::Handler;
use crate::peer::QUEUE_MAX;
use crate::pipe::Pipe;
use crate::wire;

/// How long requests under way may take to end once the client has closed its side.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Serves `handler` to the client at the other end of `input` and `output`, as `caller`, until it closes or `tasks` stop.
///
/// # Errors
/// When a stream breaks.
pub async fn serve(
    handler: Arc<dyn Handler>,
    caller: Caller,
    tasks: &Tasks,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
) -> Result<(), Fault> {
    let (out, lines) = mpsc::channel(QUEUE_MAX);
    let pipe = Pipe::new(handler, caller, tasks, out.clone());
    let (stopping, closed) = (tasks.stopping(), CancellationToken::new());
    let mut write = pin!(write(lines, output, closed.clone()));
    let ended = tokio::select! {
        ended = read(&pipe, &out, BufReader::new(input)) => ended,
        () = stopping.cancelled() => Ok(()),
        broken = &mut write => {
            pipe.close(Duration::ZERO).await;
            return broken.map_err(broke);
        }
    };
    let close = async {
        pipe.close(CLOSE_TIME).await;
        closed.cancel();
    };
    let ((), written) = tokio::join!(close, write);
    ended.and(written).map_err(broke)
}

fn broke(error: std::io::Error) -> Fault {
    Fault::unavailable(format!("the client's side of stdio broke: {error}"))
}

async fn read(
    pipe: &Arc<Pipe>,
    out: &mpsc::Sender<String>,
    mut input: impl AsyncBufRead + Unpin,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        match read_line(&mut input, &mut line, BODY_BYTES_MAX).await? {
            Line::Whole if line.trim_ascii().is_empty() => {}
            Line::Whole => pipe.take(&line).await,
            Line::TooLong => {
                let error = RpcError::invalid_request(format!("a message is longer than {BODY_BYTES_MAX} bytes"));
                out.send(wire::error_text(None, &error)).await.ok();
            }
            Line::End => return Ok(()),
        }
    }
}

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It is in the buffer, without its end.
    Whole,
    /// It was longer than it may be, and has been skipped.
    TooLong,
    /// There is none: the stream has ended.
    End,
}

/// Reads a line of at most `max` bytes. The last one needs no line break.
pub(crate) async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    max: usize,
) -> std::io::Result<Line> {
    let mut too_long = false;
    let mut any = false;
    loop {
        let chunk = input.fill_buf().await?;
        let (part, rest, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&chunk[..at], at + 1, true),
            None => (chunk, chunk.len(), chunk.is_empty()),
        };
        any |= rest > 0;
        if too_long || line.len() + part.len() > max {
            too_long = true;
            line.clear();
        } else {
            line.extend_from_slice(part);
        }
        input.consume(rest);
        if ended {
            return Ok(match (any, too_long) {
                (false, _) => Line::End,
                (true, true) => Line::TooLong,
                (true, false) => Line::Whole,
            });
        }
    }
}

/// Writes until `closed`, and then what is there already.
async fn write(
    mut lines: mpsc::Receiver<String>,
    mut output: impl AsyncWrite + Unpin,
    closed: CancellationToken,
) -> std::io::Result<()> {
    loop {
        let line = tokio::select! {
            biased;
            line = lines.recv() => line,
            () = closed.cancelled(), if !lines.is_closed() => {
                lines.close();
                continue;
            }
        };
        let Some(mut line) = line else { return Ok(()) };
        line.push('\n');
        output.write_all(line.as_bytes()).await?;
        if lines.is_empty() {
            output.flush().await?;
        }
    }
}

#[cfg(test)]
mod tests;
