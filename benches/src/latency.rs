//! How soon after a block the fleet trades: the release binary on a sandbox of its own, whose trader keeps moving the pools. The fleet's own
//! histograms have the times, from the moment head tracking saw the block in which an opportunity was found.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::Fallible;
use crate::fleet::Ground;
use crate::table::Table;

/// A trader who makes a swap so often, in milliseconds, and the same swaps in every run.
const CONFIG: &str = "[chain.sandbox]\ntrader_ms = 250\ntrader_seed = 7\n";
/// Trades that are waited for, after those that warm up.
const TRADES: u64 = 200;
const WARM_UP: u64 = 20;
/// How long they may take.
const TIME: Duration = Duration::from_secs(300);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long one answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The figures, what they tell, and what they are held to in seconds.
const FIGURES: [(&str, &str, f64); 2] = [
    ("flotilla_trade_decided_seconds", "block seen to decided", 0.003),
    ("flotilla_trade_submitted_seconds", "block seen to submitted", 0.006),
];

/// Measures and tells.
pub(crate) async fn run(binary: &Path) -> Fallible<String> {
    let ground = Ground::with(binary, CONFIG)?;
    let up = ground.run(&["up"]).await?;
    let (address, key) = (up.address("execution")?, ground.key()?);
    let warm = wait(&address, &key, WARM_UP).await?;
    let began = Instant::now();
    let last = wait(&address, &key, WARM_UP + TRADES).await?;
    let took = began.elapsed();
    let cpu = up.process.cpu_us()?;
    up.process.stop().await?;
    let mut table = Table::new(&["", "trades", "median ms", "p99 ms", "target, median"]);
    for (name, what, target) in FIGURES {
        let during = Buckets::of(&last, name)?.since(&Buckets::of(&warm, name)?);
        table.row(vec![
            what.into(),
            during.count().to_string(),
            during.quantile(0.5),
            during.quantile(0.99),
            format!("< {:.0} ms", target * 1e3),
        ]);
    }
    let (trades, seconds) = (TRADES as f64, took.as_secs_f64());
    Ok(format!(
        "{}\n{:.1} trades a second; {:.1} s of processor time in all\n",
        table.text(),
        trades / seconds,
        cpu as f64 / 1e6
    ))
}

/// Waits until so many trades were submitted; the figures then.
async fn wait(address: &str, key: &str, trades: u64) -> Fallible<String> {
    let began = Instant::now();
    loop {
        let text = timeout(ANSWER_TIME, scrape(address, key)).await.map_err(|_| "no figures in time")??;
        if Buckets::of(&text, FIGURES[1].0)?.count() >= trades {
            return Ok(text);
        }
        if began.elapsed() > TIME {
            return Err(format!("not {trades} trades within {} s", TIME.as_secs()).into());
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn scrape(address: &str, key: &str) -> Fallible<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    if !text.starts_with("HTTP/1.1 200") {
        return Err(format!("{address}/metrics: {}", text.lines().next().unwrap_or_default()).into());
    }
    Ok(text)
}

/// A histogram: how many were at most so long, bound by bound.
#[derive(Debug)]
struct Buckets(Vec<(f64, u64)>);

impl Buckets {
    fn of(text: &str, name: &str) -> Fallible<Self> {
        let start = format!("{name}_bucket{{le=\"");
        let mut buckets = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix(&start)) {
            let (bound, count) = line.split_once("\"} ").ok_or_else(|| format!("a bucket of {name}: {line}"))?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
            buckets.push((bound, count.trim().parse()?));
        }
        if buckets.is_empty() { Err(format!("no {name}").into()) } else { Ok(Self(buckets)) }
    }

    fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().zip(&before.0).map(|(now, then)| (now.0, now.1 - then.1)).collect())
    }

    fn count(&self) -> u64 {
        self.0.last().map_or(0, |last| last.1)
    }

    /// In milliseconds, as if those of a bucket were spread evenly over it.
    fn quantile(&self, share: f64) -> String {
        let rank = share * self.count() as f64;
        let (mut low, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            let count = count as f64;
            if count >= rank {
                if bound.is_infinite() {
                    return format!("> {:.1}", low * 1e3);
                }
                return format!("{:.1}", (low + (bound - low) * (rank - below) / (count - below).max(1.0)) * 1e3);
            }
            (low, below) = (bound, count);
        }
        "none".into()
    }
}
