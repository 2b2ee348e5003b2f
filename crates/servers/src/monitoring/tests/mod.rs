//! The server on a world of fakes, its clock moved by hand, its duties done by hand.

mod alerts;
mod delivery;
mod duties;
mod look;
mod queries;
mod rules;

use std::sync::Arc;

use kernel::bus::{Bus, FLEET_TOPIC};
use kernel::fake::World;
use kernel::metrics::ServerLabel;
use mcp::{McpServer, Service};
use serde_json::Value;

use super::figures::Figures;
use super::scrape::Scraper;
use super::{Config, Monitoring};
use crate::testing::{Bench, admin, shared};

/// The server, and the bench to call it on.
struct Watch {
    bench: Bench,
    server: Arc<Monitoring>,
}

impl Watch {
    /// Without any rules.
    fn new() -> Self {
        Self::on(World::default(), Config::default())
    }

    fn on(world: World, config: Config) -> Self {
        let server = Arc::new(Monitoring::new(&world.ports(), config).unwrap());
        let service = Service::of(Arc::clone(&server), shared(&world));
        Self { bench: Bench::of(world, service), server }
    }

    /// The same world after the server was started anew.
    fn restarted(self) -> Self {
        Self::on(self.bench.world, Config::default())
    }

    fn scraper(&self) -> &Scraper {
        match &*self.server.figures {
            Figures::Recorder(scraper) => scraper,
            Figures::Prometheus(_) => panic!("a Prometheus is configured"),
        }
    }

    /// Lets so many seconds pass, reading figures and evaluating rules every five.
    async fn pass(&self, seconds: i64) {
        for _ in 0..seconds / 5 {
            self.bench.world.clock.advance_ms(5_000);
            self.scraper().scrape().await.unwrap();
            self.server.evaluator.settle().await.unwrap();
        }
    }

    /// Says how a server is.
    fn health(&self, server: &str, health: f64) {
        let label = ServerLabel { server: server.into() };
        self.bench.world.metrics.server_health.get_or_create(&label).set(health);
    }

    /// Calls a tool as an administrator; the answer must be JSON.
    async fn ask(&self, tool: &str, arguments: Value) -> Value {
        let text = self.bench.shown(&admin(), tool, arguments).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{tool}: {text}"))
    }

    /// What was told on the fleet's bus: kind, rule (or who silenced), and whether it was silent.
    async fn told(&self) -> String {
        let events = self.bench.world.bus.read(FLEET_TOPIC, 0, 1_000).await.unwrap();
        let show = |event: kernel::bus::Event| {
            let what = event.data["alert"]["rule"].as_str().or_else(|| event.data["silence"]["by"].as_str());
            let silent = event.data["silenced_by"].as_array().is_some_and(|by| !by.is_empty());
            format!("{} {}{}", event.kind, what.unwrap_or("?"), if silent { " (silent)" } else { "" })
        };
        events.into_iter().map(show).collect::<Vec<_>>().join(", ")
    }

    /// The alerts in these states: rule, server and state.
    async fn alerts(&self, states: &[&str]) -> String {
        let answer = self.ask("list_alerts", serde_json::json!({ "states": states })).await;
        let show = |alert: &Value| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text(&alert["rule"]), text(&alert["labels"]["server"]), text(&alert["state"]))
        };
        answer["alerts"].as_array().unwrap().iter().map(show).collect::<Vec<_>>().join(", ")
    }
}

/// A rule that fires when a server is down for `for_seconds`.
fn down(for_seconds: u32) -> Value {
    serde_json::json!({
        "name": "down",
        "expr": "mcp_server_health",
        "condition": { "kind": "threshold", "op": "==", "value": 0.0 },
        "for_seconds": for_seconds,
        "severity": "critical",
        "summary": "{server} is down ({value})",
    })
}
