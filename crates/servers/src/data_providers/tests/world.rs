//! Exchanges of the test's own, and the server before them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kernel::OnEnd;
use kernel::fake::World;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::data_providers::{Config, DataProviders, SourceChange, SourceName};
use crate::testing::Bench;

/// What the exchanges answer, by what a path begins with: status line, headers and body. What has no entry is 404.
pub(super) type Script = Arc<Mutex<BTreeMap<&'static str, (&'static str, &'static str, String)>>>;

/// The server, and the exchanges at one address.
pub(super) struct Market {
    pub(super) bench: Bench,
    pub(super) script: Script,
    /// The paths that were asked for, in order.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) address: SocketAddr,
}

impl Market {
    pub(super) async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// All sources over HTTP live at one address, each under its name.
    pub(super) async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (world, script, asked) = (World::default(), Script::default(), Arc::<Mutex<Vec<String>>>::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, heard) = (Arc::clone(&script), Arc::clone(&asked));
        world.tasks.spawn("test exchanges", OnEnd::Done, async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut request, mut piece) = (Vec::new(), [0u8; 4_096]);
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(0) | Err(_) => break,
                        Ok(read) => request.extend_from_slice(&piece[..read]),
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let found = answers
                    .lock()
                    .iter()
                    .find(|(prefix, _)| path.starts_with(**prefix))
                    .map(|(_, answer)| answer.clone());
                heard.lock().push(path);
                let (status, headers, body) = found.unwrap_or(("404 Not Found", "", "{}".into()));
                let answer = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
                // Who asked may have left.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let at = |source: SourceName| {
            let base_url = Some(format!("http://{address}/{source}"));
            (source, SourceChange { base_url, ..SourceChange::default() })
        };
        let over_http = SourceName::ALL.into_iter().filter(|source| !source.on_chain());
        let config = Config { sources: over_http.map(at).collect(), ..Config::default() };
        let bench = Bench::on::<DataProviders>(world, change(config));
        Self { bench, script, asked, address }
    }

    /// From now, paths that begin so are answered so.
    pub(super) fn answer(&self, prefix: &'static str, body: impl Into<String>) {
        self.script.lock().insert(prefix, ("200 OK", "", body.into()));
    }

    pub(super) fn refuse(&self, prefix: &'static str, status: &'static str, headers: &'static str) {
        self.script.lock().insert(prefix, (status, headers, String::new()));
    }

    /// All four exchanges know ETH/USD, a second ago.
    pub(super) fn trade(&self, binance: &str, coinbase: &str, kraken: &str, coingecko: &str) {
        let at_ms = self.bench.world.clock.now_ms() - 1_000;
        let time = kernel::clock::timestamp(at_ms);
        self.answer("/binance/api/v3/aggTrades?symbol=ETHUSDT", format!(r#"[{{"p":"{binance}","T":{at_ms}}}]"#));
        self.answer("/coinbase/products/ETH-USD/ticker", format!(r#"{{"price":"{coinbase}","time":"{time}"}}"#));
        let (seconds, ms) = (at_ms / 1_000, at_ms % 1_000);
        self.answer(
            "/kraken/0/public/Trades?pair=ETHUSD",
            format!(
                r#"{{"error":[],"result":{{"XETHZUSD":[["{kraken}","1",{seconds}.{ms:03},"b","m","",1]],"last":"1"}}}}"#
            ),
        );
        self.answer(
            "/coingecko/simple/price?ids=ethereum",
            format!(r#"{{"ethereum":{{"usd":{coingecko},"last_updated_at":{seconds}}}}}"#),
        );
    }

    /// `price` of ETH/USD as a line: what stands out of the answer.
    pub(super) async fn price(&self) -> String {
        summary(
            &self.bench.shown(&crate::testing::viewer("ann"), "price", serde_json::json!({ "pair": "ETH/USD" })).await,
        )
    }
}

/// What stands out of an answer of `price`; a refusal as it is.
pub(super) fn summary(shown: &str) -> String {
    let Ok(answer) = serde_json::from_str::<serde_json::Value>(shown) else { return shown.to_owned() };
    let sources = answer["sources"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|source| !["not_asked", "unknown"].contains(&source["verdict"].as_str().unwrap()));
    let sources: Vec<String> = sources
        .map(|source| format!("{} {}", source["source"].as_str().unwrap(), source["verdict"].as_str().unwrap()))
        .collect();
    let said = [("lone", &answer["lone"]), ("disputed", &answer["disputed"])];
    let said: String = said.iter().filter(|(_, is)| **is == true).map(|(word, _)| format!(" {word}")).collect();
    format!("{} {}{said}: {}", answer["price"].as_str().unwrap(), answer["confidence"], sources.join(", "))
}
