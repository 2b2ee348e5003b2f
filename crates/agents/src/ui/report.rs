//! Reports: how the fleet fared over a span, made of its tools' answers within the rights of whoever asked.

use std::sync::Arc;

use kernel::{Fault, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servers::ui::{
    Body, Figure, NOTIFY, NotifyRequest, OVERVIEW, Page, Section, Table, Tone, equity, items, results, shown, table,
    utc,
};

use super::{REPORT, Ui};
use crate::hands::Hands;

/// The longest span, in hours, and the usual one.
const HOURS_MAX: u32 = 720;
const HOURS: u32 = 24;

/// What a report is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// How it stands, and what was done and failed.
    #[default]
    Overview,
    /// What was earned and risked.
    Trading,
    /// What failed and fired.
    Incidents,
}

/// What `report` takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// overview (unless given), trading or incidents.
    #[serde(default)]
    pub report: What,
    /// Of how many hours until now: 1 to 720, 24 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 720))]
    pub hours: Option<u32>,
    /// To whom it is told, by the name of their key; everybody when neither this nor `role` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// To everybody of this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether the sinks of alerts are told that it is there.
    #[serde(default)]
    pub sinks: bool,
}

/// What `report` gives.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Report {
    /// Its title.
    pub title: String,
    /// The report in Markdown.
    pub markdown: String,
    /// The same as an HTML document that needs nothing else.
    pub html: String,
    /// The notification that has it.
    pub notification: String,
}

impl Ui {
    pub(super) async fn report(self: Arc<Self>, asked: Asked, hands: Hands) -> Result<Report, Fault> {
        let hours = asked.hours.unwrap_or(HOURS);
        if !(1..=HOURS_MAX).contains(&hours) {
            return Err(Fault::invalid(format!("hours is {hours}")).hint(format!("1 to {HOURS_MAX}")));
        }
        let (name, sections) = match asked.report {
            What::Overview => ("Overview", overview(&hands, hours).await),
            What::Trading => ("Trading", trading(&hands, hours).await),
            What::Incidents => ("Incidents", incidents(&hands, hours).await),
        };
        let made_ms = hands.now_ms();
        let view = format!("report:{}", name.to_lowercase());
        let title = format!("{name} of the last {hours} hours");
        let page = Page { view, title: title.clone(), made_ms, sections };
        let (markdown, html) = (page.markdown(), page.html());
        let request = NotifyRequest {
            title: title.clone(),
            text: markdown.clone(),
            kind: Some(REPORT.into()),
            user: asked.user,
            role: asked.role,
            sinks: asked.sinks,
            // Another attempt finds the one that this one made.
            key: Some(format!("report-{}", hands.key())),
            ..NotifyRequest::default()
        };
        let notification = hands.call(NOTIFY, &request).await?.id;
        Ok(Report { title, markdown, html, notification })
    }
}

async fn ask(hands: &Hands, server: &str, tool: &str, arguments: Value) -> Result<Value, Fault> {
    hands.look(server, tool, &arguments).await
}

/// A table of what PromQL gives now: the label, and the figure beside it.
async fn counted(hands: &Hands, name: &str, title: &str, (label, query): (&str, String), empty: &str) -> Section {
    let answer = ask(hands, "monitoring", "query_metrics", json!({ "query": query, "limit": 60 })).await;
    Section::told(name, title, &answer, |answer| {
        let row = |series: &Value| {
            let labels = series["metric"].as_object().into_iter().flatten().map(|(_, value)| shown(value));
            let figure =
                series["value"].as_f64().map_or_else(|| shown(&series["value"]), |figure| format!("{figure:.0}"));
            vec![labels.collect::<Vec<_>>().join(", "), figure]
        };
        Body::Table(Table::of(&[label, "count"], items(&answer["series"]).map(row), empty))
    })
}

async fn overview(hands: &Hands, hours: u32) -> Vec<Section> {
    let now = ask(hands, OVERVIEW.server, OVERVIEW.name, json!({})).await;
    let page = now.and_then(|now| {
        serde_json::from_value::<Page>(now).map_err(|error| Fault::upstream(format!("ui.overview: {error}")))
    });
    let mut sections = match page {
        Ok(page) => page.sections,
        Err(fault) => vec![Section::new("now", "Now", Body::Untold(fault.to_string()))],
    };
    let asked = json!({ "query": format!("sort(avg_over_time(mcp_server_health[{hours}h]))"), "limit": 60 });
    let health = ask(hands, "monitoring", "query_metrics", asked).await;
    sections.push(Section::told("health", "How healthy servers were", &health, |health| {
        let row = |series: &Value| {
            let part = series["value"].as_f64().unwrap_or(f64::NAN) * 100.0;
            vec![shown(&series["metric"]["server"]), format!("{part:.2} %")]
        };
        Body::Table(Table::of(&["server", "of the time"], items(&health["series"]).map(row), "No figures yet."))
    }));
    let calls = format!("sort_desc(sum by (server) (increase(mcp_commands_total[{hours}h])))");
    sections.push(counted(hands, "calls", "Calls", ("server", calls), "None was counted.").await);
    let failed =
        format!("sort_desc(sum by (server, outcome) (increase(mcp_commands_total{{outcome!=\"ok\"}}[{hours}h])) > 0)");
    sections.push(counted(hands, "failed", "Calls that failed", ("how, where", failed), "None failed.").await);
    let tasks = format!("sort_desc(sum by (agent, outcome) (increase(agent_tasks_total[{hours}h])))");
    sections.push(counted(hands, "tasks", "Tasks of agents", ("agent, how", tasks), "None was done.").await);
    sections.extend(incidents(hands, hours).await);
    sections
}

async fn trading(hands: &Hands, hours: u32) -> Vec<Section> {
    let report = ask(hands, "production", "report", json!({})).await;
    let since_ms = hands.now_ms() - i64::from(hours) * 3_600_000;
    let from = utc(since_ms).chars().take(10).collect::<String>();
    let days = ask(hands, "production", "pnl", json!({ "by": ["day"], "from": from })).await;
    let by = ask(hands, "production", "pnl", json!({ "by": ["strategy", "pair"], "from": from })).await;
    let risk = ask(hands, "risk-management", "risk_report", json!({})).await;
    let gate = ask(hands, "risk-management", "kill_switch_state", json!({})).await;
    let columns = ["strategy", "pair", "net", "trades", "filled", "gas", "fees"];
    vec![
        Section::told("results", "Profit and loss", &report, results),
        Section::told("equity", "Realised by day", &days, equity),
        Section::told("pairs", "By strategy and pair", &by, |by| {
            table(&by["rows"], &columns, &columns, "Nothing was traded.")
        }),
        Section::told("limits", "Limits now", &risk, |risk| {
            let fields = ["limit", "figure", "bound", "used_bps"];
            table(&risk["limits"], &["limit", "figure", "bound", "used, basis points"], &fields, "No limit is set.")
        }),
        Section::told("gate", "May it trade?", &gate, |gate| {
            let on = gate["on"] == true;
            let tone = if on { Tone::Bad } else { Tone::Good };
            let switch =
                Figure::new("kill switch", if on { "on" } else { "off" }, shown(&gate["kill"]["reason"]), tone);
            Body::Figures(vec![switch, Figure::new("mode", shown(&gate["mode"]), "", Tone::Plain)])
        }),
    ]
}

async fn incidents(hands: &Hands, hours: u32) -> Vec<Section> {
    let since_ms = hands.now_ms() - i64::from(hours) * 3_600_000;
    let lately = |item: &&Value, fields: &[&str]| {
        fields.iter().filter_map(|field| item[*field].as_i64()).max().is_none_or(|at_ms| at_ms >= since_ms)
    };
    let all = ask(hands, "recovery", "incidents", json!({ "limit": 200 })).await;
    let states = json!({ "states": ["firing", "acknowledged", "resolved"], "limit": 500 });
    let alerts = ask(hands, "monitoring", "list_alerts", states).await;
    let of_incident = |row: &Value| {
        let over = row["resolved_ms"].as_i64();
        let took = row["recovery_ms"].as_i64().map_or_else(String::new, |ms| format!("{} s", ms / 1_000));
        let opened = row["opened_ms"].as_i64().map_or_else(String::new, utc);
        vec![
            if over.is_some() { "resolved" } else { "open" }.into(),
            shown(&row["subject"]),
            opened,
            took,
            shown(&row["cause"]),
        ]
    };
    let of_alert = |row: &Value| {
        let since = row["since_ms"].as_i64().map_or_else(String::new, utc);
        vec![shown(&row["state"]), shown(&row["severity"]), shown(&row["rule"]), since, shown(&row["summary"])]
    };
    vec![
        Section::told("incidents", "Incidents", &all, |all| {
            let rows =
                items(&all["incidents"]).filter(|row| lately(row, &["opened_ms", "resolved_ms"])).map(of_incident);
            Body::Table(Table::of(&["state", "what failed", "began", "took", "cause"], rows, "Nothing failed."))
        }),
        Section::told("alerts", "Alerts", &alerts, |all| {
            // What was announced is no trouble.
            let troubles = items(&all["alerts"]).filter(|row| row["rule"] != "notice");
            let rows = troubles.filter(|row| lately(row, &["since_ms", "resolved_ms"])).map(of_alert);
            Body::Table(Table::of(&["state", "severity", "rule", "since", "summary"], rows, "Nothing fired."))
        }),
    ]
}
