//! What everybody must see, whatever page is open: mode, chain, kill switch, alerts.

use kernel::{Code, Fault};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::look::Look;
use super::words::{self, items, text};

/// The bar.
pub async fn bar(look: &Look) -> Markup {
    let (status, chain, gate, alerts) = tokio::join!(
        look.status(),
        look.read("blockchain-integration", "chain_status", json!({})),
        look.read("risk-management", "kill_switch_state", json!({})),
        look.read("monitoring", "list_alerts", json!({ "hide_silenced": true })),
    );
    html! {
        a.brand href="/" { "Flotilla" }
        (fleet(status))
        (chain_part(&chain))
        (trading(&gate))
        (alerts_part(&alerts))
    }
}

fn fleet(status: &Result<Value, Fault>) -> Markup {
    match status {
        Ok(status) => {
            html! { span title="how the fleet stands, and the mode it runs in" { (words::state(&text(&status["status"]))) " " span.dim { "mode " } b { (text(&status["mode"])) } } }
        }
        Err(fault) => unknown("fleet", fault),
    }
}

fn chain_part(chain: &Result<Value, Fault>) -> Markup {
    match chain {
        Ok(chain) => {
            let name = if chain["sandbox"] == true { "sandbox" } else { "chain" };
            let age = chain["head_age_seconds"].as_u64().unwrap_or(0);
            html! { span title="the chain, its newest block and how old that is" { span.dim { (name) " " (text(&chain["chain_id"])) " " } b { "block " (text(&chain["head"]["number"])) } ", " (words::duration(age)) " old" } }
        }
        Err(fault) if fault.code == Code::NotConfigured => html! { span.dim title=(fault.message) { "no chain" } },
        Err(fault) => unknown("chain", fault),
    }
}

fn trading(gate: &Result<Value, Fault>) -> Markup {
    match gate {
        Ok(gate) if gate["on"] == true => html! {
            a.killed href="/ui/trading" title=(text(&gate["kill"]["reason"])) { "■ KILLED by " (text(&gate["kill"]["by"])) }
        },
        Ok(gate) => {
            html! { a.plain href="/ui/trading" title="trading: mode, state, kill switch" { span.dim { "trading " (text(&gate["mode"])) " " } (words::state(&text(&gate["trading"]))) span.dim { ", kill switch off" } } }
        }
        Err(fault) => unknown("kill switch", fault),
    }
}

fn alerts_part(alerts: &Result<Value, Fault>) -> Markup {
    match alerts {
        Ok(alerts) => {
            let firing = items(&alerts["alerts"]).count() as u64 + alerts["omitted"].as_u64().unwrap_or(0);
            let critical = items(&alerts["alerts"]).filter(|alert| alert["severity"] == "critical").count();
            match (firing, critical) {
                (0, _) => html! { a href=(super::views::alerts::PATH) { span.good { "● no alerts" } } },
                (_, 0) => html! { a href=(super::views::alerts::PATH) { span.fair { "▲ " (firing) " firing" } } },
                _ => {
                    html! { a href=(super::views::alerts::PATH) { span.bad { "■ " (firing) " firing, " (critical) " critical" } } }
                }
            }
        }
        Err(fault) => unknown("alerts", fault),
    }
}

/// Not known is not the same as well.
fn unknown(what: &str, fault: &Fault) -> Markup {
    html! { span.fair title=(fault.message) { "◐ " (what) " unknown" } }
}
