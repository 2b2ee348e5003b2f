//! `health`: whether a service on this machine serves. For containers' health checks, where there is no other program to ask with.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use kernel::Fault;

use super::output;

/// How long the service may take to answer.
const TIME: Duration = Duration::from_secs(4);
/// How much of an answer is read: its head and its checks.
const ANSWER_MAX_BYTES: u64 = 64 << 10;

/// Ask a service on this machine whether it serves
#[derive(Debug, clap::Args)]
pub struct Health {
    /// Its port
    port: u16,
}

impl Health {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Fault> {
        let failed = |error: std::io::Error| Fault::unavailable(format!("port {}: {error}", self.port));
        let answer = self.ask().map_err(failed)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        output::line(body)?;
        let serves = head.split(' ').nth(1) == Some("200");
        Ok(if serves { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn ask(&self) -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, TIME)?;
        stream.set_read_timeout(Some(TIME))?;
        stream.set_write_timeout(Some(TIME))?;
        // HTTP/1.0, so that the answer ends with the connection.
        stream.write_all(b"GET /health/ready HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}
