//! Trading and risk: what was earned, how much of each limit is used, and the switch that stops everything.

use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::chart::{self, number};
use crate::dashboard::look::Look;
use crate::dashboard::page::Page;
use crate::dashboard::words::{self, Act, asked, facts, figure, items, settled, shown, state, table, text};

/// Where it is.
pub const PATH: &str = "/ui/trading";
/// Where the kill switch is pulled: the second of its two steps.
pub(super) const KILL_PATH: &str = "/ui/trading/kill";
/// How many of the newest trades are shown.
const TRADES: usize = 20;

const RISK: &str = "risk-management";
const PRODUCTION: &str = "production";

/// The page.
pub async fn page(look: &Look) -> Page {
    let (gate, report, risk, drawdown, days, trades, limits) = tokio::join!(
        look.read(RISK, "kill_switch_state", json!({})),
        look.read(PRODUCTION, "report", json!({})),
        look.read(RISK, "risk_report", json!({})),
        look.read(RISK, "drawdown", json!({})),
        look.read(PRODUCTION, "pnl", json!({ "by": ["day"] })),
        look.read(PRODUCTION, "trades", json!({ "since": "-10m", "limit": 500 })),
        look.read(RISK, "get_limits", json!({})),
    );
    let killed = gate.as_ref().is_ok_and(|gate| gate["on"] == true);
    Page::new("Trading and risk", PATH)
        .live("gate", html! { h2 { "May it trade?" } (shown(&gate, standing)) })
        .live("switch", if killed { resume(look) } else { first_step(look) })
        .live("results", html! { h2 { "Profit and loss" } (shown(&report, results)) (shown(&days, equity)) })
        .live("limits", html! { h2 { "Limits" } (shown(&risk, limits_used)) (shown(&limits, limits_all)) })
        .live("drawdown", html! { h2 { "Drawdown" } (shown(&drawdown, drawdown_facts)) })
        .live("strategies", html! { h2 { "Strategies" } (shown(&report, |report| strategies(look, report))) })
        .live("open", html! { h2 { "Open" } (shown(&report, open)) })
        .live("trades", html! { h2 { "Trades of the last ten minutes" } (shown(&trades, trades_table)) })
}

fn standing(gate: &Value) -> Markup {
    let kill = &gate["kill"];
    html! {
        @if gate["on"] == true {
            p.trouble { b { "■ The kill switch is on: nothing is sent." } " Pulled by " b { (text(&kill["by"])) } " " (words::when(&kill["at_ms"])) ": " (text(&kill["reason"])) }
        } @else { p { span.good { "● " } "The kill switch is off." } }
        (facts(vec![
            ("trading state", state(&text(&gate["trading"]))),
            ("mode", html! { b { (text(&gate["mode"])) } " " span.dim { "by " (text(&gate["mode_set"]["by"])) ": " (text(&gate["mode_set"]["reason"])) } }),
        ]))
    }
}

/// The first of two steps: it only leads to the second, which says what would happen.
fn first_step(look: &Look) -> Markup {
    html! {
        h2 { "Stop all trading" }
        @match look.may(PRODUCTION, "kill_switch") {
            Err(why) => { p.barred { "⊘ Kill switch: " (why) } }
            Ok(()) => {
                form.act action=(KILL_PATH) {
                    label { "Why" input type="text" name="reason" required maxlength="500" autocomplete="off" placeholder="for whoever resumes"; }
                    button.grave { "Kill switch…" }
                }
            }
        }
    }
}

/// The second step: what it does, and the button.
pub async fn kill(look: &Look) -> Page {
    let gate = look.read(RISK, "kill_switch_state", json!({})).await;
    let query = look.query();
    let reason = query.get("reason").unwrap_or_default();
    // What is done there is told where trading is seen.
    let act = Act {
        server: PRODUCTION,
        tool: "kill_switch",
        label: "Stop all trading now",
        done: "the kill switch is on: nothing is sent",
        grave: true,
    };
    let body = html! {
        p { b { "Nothing is submitted any more, anywhere in the fleet, until somebody with the role trader or admin resumes." } }
        p { "Trades that are reserved are not sent; what was sent before is followed to its end. Positions stay as they are." }
        @if reason.is_empty() {
            p.said.refused { "✘ A reason is missing." } p { a href=(PATH) { "Back" } }
        } @else {
            p { "Reason: " b { (reason) } }
            (words::act_back(look, act, PATH, &settled("reason", reason)))
            p { a href=(PATH) { "No, go back" } }
        }
    };
    Page::new("Stop all trading?", PATH).live("gate", html! { (shown(&gate, standing)) }).still("kill", body)
}

fn resume(look: &Look) -> Markup {
    let act = Act { server: PRODUCTION, tool: "resume", label: "Resume trading", done: "trading goes on", grave: true };
    html! {
        h2 { "Resume" }
        p.dim { "It lets more be risked than now: it takes the role trader or admin, and a person." }
        (words::act(look, act, &html! {
            (asked("reason", "Why it is safe again", "what was wrong, and what was done"))
            label.tick { input type="checkbox" name="arg.accept_drawdown" value="true"; " count the drawdown anew from here" }
        }))
    }
}

fn results(report: &Value) -> Markup {
    let sums = [("today", "today"), ("seven_days", "seven days"), ("thirty_days", "thirty days")];
    html! { ul.figures {
        @for (field, name) in sums {
            @let sum = &report[field];
            @let net = number(&sum["net"]);
            (figure(name, &format!("{} {}", text(&sum["net"]), text(&report["currency"])),
                &format!("{} of {} trades filled; gas {}, fees {}", text(&sum["filled"]), text(&sum["trades"]), text(&sum["gas"]), text(&sum["fees"])),
                None, if net < 0.0 { "bad" } else { "good" }))
        }
    } }
}

/// What was earned in all, day after day.
fn equity(days: &Value) -> Markup {
    let mut sum = 0.0;
    let values: Vec<f64> = std::iter::once(0.0)
        .chain(items(&days["rows"]).map(|day| {
            // For the drawing only: sums for people are the fleet's own.
            sum += number(&day["net"]);
            sum
        }))
        .collect();
    let label = format!(
        "realised, {} to {}: {} {}",
        text(&days["from"]),
        text(&days["to"]),
        text(&days["total"]["net"]),
        text(&days["currency"])
    );
    chart::line(&values, &label)
}

fn limits_used(risk: &Value) -> Markup {
    let rows = items(&risk["limits"]).map(|limit| {
        vec![
            html! { b { (text(&limit["limit"])) } },
            html! { (text(&limit["figure"])) " of " (text(&limit["bound"])) " " (text(&risk["currency"])) },
            chart::used(limit["used_bps"].as_u64().unwrap_or(0)),
        ]
    });
    table(&["limit", "used", "how much of it"], rows.collect())
}

fn limits_all(limits: &Value) -> Markup {
    let all = limits["limits"].as_object().into_iter().flatten();
    html! {
        details { summary { "All limits, version " (text(&limits["version"])) " by " (text(&limits["by"])) }
            p.dim { (text(&limits["reason"])) }
            (table(&["limit", "bound"], all.map(|(name, bound)| vec![html! { (name) }, html! { code { (text(bound)) } }]).collect()))
        }
    }
}

fn drawdown_facts(drawdown: &Value) -> Markup {
    let plain = drawdown.as_object().into_iter().flatten().filter(|(_, value)| !value.is_array() && !value.is_object());
    html! { dl.facts { @for (name, value) in plain { div { dt { (name) } dd { (text(value)) } } } } }
}

fn strategies(look: &Look, report: &Value) -> Markup {
    let rows = items(&report["strategies"]).map(|row| {
        let name = text(&row["name"]);
        let running = row["running"] == true;
        let act = if running {
            Act {
                server: PRODUCTION,
                tool: "stop_strategy",
                label: "Stop",
                done: "stopped: the gate lets none of its trades through",
                grave: true,
            }
        } else {
            Act { server: PRODUCTION, tool: "start_strategy", label: "Start", done: "started", grave: false }
        };
        vec![
            html! { b { (name) } " " span.dim { (text(&row["about"])) } },
            state(if running { "ACTIVE" } else { "stopped" }),
            html! { (text(&row["by"])) ": " (text(&row["reason"])) },
            html! { (text(&row["open_notional"])) },
            words::act(look, act, &html! { (settled("strategy", &name)) (asked("reason", "Why", "")) }),
        ]
    });
    table(&["strategy", "state", "by whom, and why", "open", ""], rows.collect())
}

fn open(report: &Value) -> Markup {
    let open = &report["open"];
    facts(vec![
        ("trades under way", html! { (text(&open["trades"])) }),
        ("notional", html! { (text(&open["notional"])) " " (text(&report["currency"])) }),
        ("at risk", html! { (text(&open["at_risk"])) " " (text(&report["currency"])) }),
    ])
}

fn trades_table(trades: &Value) -> Markup {
    let mut all: Vec<&Value> = items(&trades["trades"]).collect();
    all.reverse();
    if all.is_empty() {
        return words::empty("None ended in the last ten minutes.");
    }
    let rows = all.into_iter().take(TRADES).map(|trade| {
        vec![
            words::when(&trade["ended_ms"]),
            html! { (text(&trade["strategy"])) " " b { (text(&trade["pair"])) } },
            state(&text(&trade["outcome"])),
            html! { (text(&trade["net"])) },
            html! { (text(&trade["gas"])) },
            html! { @match trade["agrees"].as_bool() { Some(true) => { span.good { "● as predicted" } } Some(false) => { span.fair { "▲ otherwise" } } None => { "–" } } },
            html! { code { (text(&trade["transaction"])) } },
        ]
    });
    table(&["ended", "what", "outcome", "net", "gas", "prediction", "transaction"], rows.collect())
}
