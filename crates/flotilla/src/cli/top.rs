//! `top`: the fleet in a terminal, looked at anew every two seconds: how every service stands, how much it is called, what fails, how fast it is.
//!
//! On a terminal it is a screen that keys sort and `q` leaves; anywhere else one look as a table, and with `--json` a line of JSON for each look.
//! It is drawn with a terminal's plain sequences: ratatui would have been some 280 KB of a binary whose size is bounded, for one table.
//!
//! What services say of themselves has its control characters taken out: it is shown, and must not write to the terminal what it likes.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kernel::Fault;
use kernel::catalog::AGENT;
use serde::Serialize;
use serde_json::{Value, json};

use super::terminal::{Key, Screen, fitted};
use super::{Global, api::Api, output};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(2);
/// Over what rates are taken.
const RATE: &str = "[1m]";

/// Watch the fleet in the terminal.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// Look once and print a table
    #[arg(long)]
    once: bool,
    /// By what services are sorted
    #[arg(long, value_enum, default_value_t = Order::Name)]
    sort: Order,
}

/// By what services are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    /// By name
    Name,
    /// Those that do not stand well first
    State,
    /// Most calls first
    Calls,
    /// Most failures first
    Failures,
    /// Slowest first
    Latency,
}

/// The keys that choose an order.
const ORDERS: [(char, Order, &str); 5] = [
    ('n', Order::Name, "name"),
    ('s', Order::State, "state"),
    ('c', Order::Calls, "calls"),
    ('f', Order::Failures, "failures"),
    ('l', Order::Latency, "latency"),
];

/// A service at one look.
#[derive(Debug, Clone, Serialize)]
struct Seen {
    service: String,
    status: String,
    copies: u64,
    uptime_seconds: u64,
    restarts: u64,
    /// Absent where no figures are recorded.
    calls_per_second: Option<f64>,
    failures_per_second: Option<f64>,
    p95_ms: Option<f64>,
    last_error: String,
}

/// The fleet at one look.
#[derive(Debug, Clone, Serialize)]
struct Look {
    status: String,
    mode: String,
    servers: String,
    agents: String,
    trading: String,
    chain: String,
    alerts_firing: Option<usize>,
    services: Vec<Seen>,
}

impl Top {
    /// Runs the command.
    pub async fn run(self, global: &Global) -> Result<ExitCode, Fault> {
        let api = Api::connect(global)?;
        if global.json {
            return self.stream(&api).await;
        }
        let first = look(&api, self.sort).await?;
        if self.once || !std::io::stdout().is_terminal() {
            table(&first)?;
            return Ok(ExitCode::SUCCESS);
        }
        watch(&api, &mut Screen::open()?, first, self.sort).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn stream(&self, api: &Api) -> Result<ExitCode, Fault> {
        loop {
            let look = look(api, self.sort).await?;
            output::line(&json!(look).to_string())?;
            if self.once {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// One look at the fleet. Without monitoring the figures are missing; without the coordinator there is nothing to see.
async fn look(api: &Api, order: Order) -> Result<Look, Fault> {
    let figures = |query: &str| {
        let query = query.replace("RATE", RATE);
        async move { figures(api, query).await }
    };
    let p95 = "histogram_quantile(0.95, sum by (le, server) (rate(mcp_response_time_seconds_bucketRATE)))";
    let (status, servers, agents, calls, failures, p95, gate, alerts) = tokio::join!(
        api.get("/status"),
        api.get("/servers"),
        api.get("/agents"),
        figures("sum by (server) (rate(mcp_commands_totalRATE))"),
        figures("sum by (server) (rate(mcp_commands_total{outcome!=\"ok\"}RATE))"),
        figures(p95),
        api.call("risk-management__kill_switch_state", json!({})),
        api.call("monitoring__list_alerts", json!({ "hide_silenced": true })),
    );
    let (status, servers, agents) = (status?, servers?, agents?);
    let all = servers.as_array().into_iter().chain(agents.as_array()).flatten();
    let mut services: Vec<Seen> = all.map(|row| seen(row, &calls, &failures, &p95)).collect();
    sort(&mut services, order);
    let tally = |what: &str| format!("{} of {}", status[what]["healthy"], status[what]["total"]);
    let trading = match gate {
        Ok(gate) if gate["on"] == true => format!("KILLED by {}", output::cell(&gate["kill"]["by"])),
        Ok(gate) => format!("{} {}", output::cell(&gate["mode"]), output::cell(&gate["trading"])),
        Err(_) => "unknown".into(),
    };
    Ok(Look {
        status: output::cell(&status["status"]),
        mode: output::cell(&status["mode"]),
        servers: tally("servers"),
        agents: tally("agents"),
        trading,
        chain: output::cell(&status["infrastructure"]["chain"]["detail"]),
        alerts_firing: alerts.ok().map(|alerts| alerts["alerts"].as_array().map_or(0, Vec::len)),
        services,
    })
}

type Figures = HashMap<String, f64>;

async fn figures(api: &Api, query: String) -> Figures {
    let answer = api.call("monitoring__query_metrics", json!({ "query": query })).await.unwrap_or_default();
    let number =
        |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|value: &f64| value.is_finite());
    let series = answer["series"].as_array().into_iter().flatten();
    series.filter_map(|one| Some((one["metric"]["server"].as_str()?.to_owned(), number(&one["value"])?))).collect()
}

fn seen(row: &Value, calls: &Figures, failures: &Figures, p95: &Figures) -> Seen {
    let (name, agent) = (output::cell(&row["name"]), row["kind"] == "agent");
    let of = |figures: &Figures| figures.get(&name).copied().filter(|_| !agent);
    let count = |field: &str| row[field].as_u64().unwrap_or(0);
    Seen {
        status: output::cell(&row["status"]),
        copies: count("instances"),
        uptime_seconds: count("uptime_seconds"),
        restarts: count("restarts"),
        calls_per_second: of(calls),
        // Who is called and of whom no failure is told has none.
        failures_per_second: of(failures).or_else(|| of(calls).map(|_| 0.0)),
        p95_ms: of(p95).map(|seconds| seconds * 1e3),
        last_error: row["last_error"].as_str().map_or_else(String::new, |_| output::cell(&row["last_error"])),
        service: if agent { format!("{AGENT}{name}") } else { name },
    }
}

fn sort(services: &mut [Seen], order: Order) {
    let most = |figure: fn(&Seen) -> Option<f64>| {
        move |one: &Seen, other: &Seen| figure(other).unwrap_or(-1.0).total_cmp(&figure(one).unwrap_or(-1.0))
    };
    services.sort_by(|one, other| one.service.cmp(&other.service));
    match order {
        Order::Name => {}
        Order::State => services.sort_by_key(|one| one.status == "healthy"),
        Order::Calls => services.sort_by(most(|one| one.calls_per_second)),
        Order::Failures => services.sort_by(most(|one| one.failures_per_second)),
        Order::Latency => services.sort_by(most(|one| one.p95_ms)),
    }
}

const HEADS: [&str; 9] =
    ["service", "state", "copies", "up for", "restarts", "calls/s", "failed/s", "p95 ms", "last error"];

/// A service as people read it; a sign stands beside the colour that a terminal may not have.
fn cells(one: &Seen) -> [String; 9] {
    let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let sign = match tone(&one.status) {
        GREEN => '●',
        YELLOW => '◐',
        _ => '■',
    };
    [
        one.service.clone(),
        format!("{sign} {}", one.status),
        one.copies.to_string(),
        format!("{} s", one.uptime_seconds),
        one.restarts.to_string(),
        figure(one.calls_per_second),
        figure(one.failures_per_second),
        figure(one.p95_ms),
        one.last_error.clone(),
    ]
}

/// Colours as terminals number them.
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "1;31";

fn tone(status: &str) -> &'static str {
    match status {
        "healthy" => GREEN,
        "degraded" | "starting" | "stopping" => YELLOW,
        _ => RED,
    }
}

fn table(look: &Look) -> Result<(), Fault> {
    output::line(&summary(look))?;
    let rows: Vec<Vec<String>> = look.services.iter().map(|one| cells(one).to_vec()).collect();
    output::table(&HEADS, &rows)
}

fn summary(look: &Look) -> String {
    let alerts = look.alerts_firing.map_or("alerts unknown".into(), |count| format!("{count} alerts fire"));
    format!(
        "{}, mode {}, servers {}, agents {}, {alerts}, trading {}",
        look.status, look.mode, look.servers, look.agents, look.trading
    )
}

/// Shows and looks until somebody leaves. What cannot be seen now is said, beside what was seen last.
async fn watch(api: &Api, screen: &mut Screen, first: Look, order: Order) -> Result<(), Fault> {
    let (mut shown, mut order, mut trouble, mut first_row) = (first, order, None::<Fault>, 0_usize);
    let (mut looked, colour) = (Instant::now(), output::colour());
    loop {
        first_row = first_row.min(shown.services.len().saturating_sub(1));
        let size = screen.size();
        screen.show(&lines(&shown, order, trouble.as_ref(), first_row, size, colour))?;
        match screen.key(EVERY.saturating_sub(looked.elapsed()))? {
            Some(Key::Leave | Key::Char('q')) => return Ok(()),
            Some(Key::Down | Key::Char('j')) => first_row += 1,
            Some(Key::Up | Key::Char('k')) => first_row = first_row.saturating_sub(1),
            Some(Key::Char(key)) => {
                order = ORDERS.iter().find(|(known, ..)| *known == key).map_or(order, |(_, order, _)| *order);
                sort(&mut shown.services, order);
            }
            None => {
                looked = Instant::now();
                match look(api, order).await {
                    Ok(look) => (shown, trouble) = (look, None),
                    Err(fault) => trouble = Some(fault),
                }
                sort(&mut shown.services, order);
            }
        }
    }
}

/// Widths of the columns; the last takes what is left.
const WIDTHS: [usize; 8] = [26, 12, 6, 10, 8, 8, 8, 9];

/// The screen's lines, no wider and no more than it has room for.
fn lines(
    look: &Look,
    order: Order,
    trouble: Option<&Fault>,
    first_row: usize,
    (width, height): (usize, usize),
    colour: bool,
) -> Vec<String> {
    let painted = |text: String, tone: &str| if colour { format!("\u{1b}[{tone}m{text}\u{1b}[0m") } else { text };
    let (state, tone_of_all) = match trouble {
        Some(fault) => (format!("■ OLD: {}", fault.message), RED),
        None => (summary(look), tone(&look.status)),
    };
    let heads = HEADS.iter().zip(WIDTHS).map(|(head, width)| fitted(head, width));
    let heads = heads.collect::<Vec<_>>().join(" ") + " " + HEADS[WIDTHS.len()];
    let mut lines = vec![
        painted(fitted(&state, width), tone_of_all),
        fitted(&format!("chain {}", look.chain), width),
        // Reversed, colours or not.
        format!("\u{1b}[7m{}\u{1b}[0m", fitted(&heads, width)),
    ];
    let room = height.saturating_sub(lines.len() + 1);
    for one in look.services.iter().skip(first_row).take(room) {
        let failing = one.failures_per_second.is_some_and(|failures| failures > 0.0);
        let (mut line, mut left) = (String::new(), width);
        for (at, text) in cells(one).into_iter().enumerate() {
            let cell = fitted(&text, WIDTHS.get(at).copied().unwrap_or(left).min(left));
            left = left.saturating_sub(cell.chars().count() + 1);
            line.push_str(&match at {
                1 => painted(cell, tone(&one.status)),
                6 if failing => painted(cell, RED),
                _ => cell,
            });
            if left > 0 {
                line.push(' ');
            }
        }
        lines.push(line);
    }
    lines.resize(height.saturating_sub(1).max(lines.len()), String::new());
    let keys = ORDERS.iter().map(|(key, one, name)| format!("{key} {name}{}", if *one == order { "*" } else { "" }));
    lines.push(fitted(&format!("q leave  ↑↓ move  sort: {}", keys.collect::<Vec<_>>().join("  ")), width));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(service: &str, status: &str, calls: Option<f64>) -> Seen {
        let row = json!({ "name": service, "kind": "server", "status": status, "last_error": "a\u{1b}[31mb" });
        let calls: Figures = calls.map(|calls| (service.to_owned(), calls)).into_iter().collect();
        seen(&row, &calls, &Figures::new(), &Figures::new())
    }

    #[test]
    fn services_are_sorted_as_asked_and_say_nothing_to_the_terminal() {
        let mut all = [one("b", "healthy", Some(1.0)), one("c", "down", None), one("a", "healthy", Some(2.0))];
        let mut names = |order: Order| {
            sort(&mut all, order);
            all.iter().map(|one| one.service.as_str()).collect::<String>()
        };
        assert_eq!(
            [Order::Name, Order::State, Order::Calls].map(&mut names),
            ["abc".to_owned(), "cab".into(), "abc".into()]
        );
        let shown = cells(&all[0]).join("|");
        assert!(!shown.contains('\u{1b}') && shown.contains("● healthy") && shown.contains("0.00"), "{shown}");
        assert!(cells(&one("x", "down", None)).join("|").contains("■ down|0|0 s|0|-|-|-"));
    }

    #[test]
    fn a_screen_has_the_state_the_services_and_the_keys() {
        let look = Look {
            status: "degraded".into(),
            mode: "full".into(),
            servers: "1 of 2".into(),
            agents: "0 of 0".into(),
            trading: "paper ACTIVE".into(),
            chain: "-".into(),
            alerts_firing: Some(3),
            services: vec![one("a", "healthy", None), one("b", "down", None)],
        };
        let drawn = |trouble: Option<&Fault>| lines(&look, Order::Name, trouble, 0, (120, 8), false).join("\n");
        let screen = drawn(None);
        for part in
            ["degraded, mode full, servers 1 of 2", "3 alerts fire", "● healthy", "■ down", "q leave", "n name*"]
        {
            assert!(screen.contains(part), "{part} in {screen}");
        }
        assert!(drawn(Some(&Fault::unavailable("nobody answers"))).contains("■ OLD: nobody answers"));
        for (width, height) in [(120, 8), (40, 5), (3, 2), (0, 0)] {
            let all = lines(&look, Order::Name, None, 0, (width, height), false);
            let seen =
                |line: &String| line.replace("\u{1b}[7m", "").replace("\u{1b}[0m", "").trim_end().chars().count();
            assert!(all.iter().all(|line| seen(line) <= width), "{width}: {all:?}");
        }
    }
}
