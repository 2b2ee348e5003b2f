//! Grafana: five dashboards, and what tells it where they and Prometheus are.

use kernel::Fault;
use serde_json::{Value, json};

use super::{File, MADE, yaml};

mod fleet;
mod infrastructure;
mod trading;

/// How wide Grafana's grid is.
const COLUMNS: u32 = 24;
/// The oldest model of dashboards that has all we write.
const SCHEMA: u32 = 39;

/// How a panel shows its figures.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Lines over time.
    Lines,
    /// The newest value.
    Number,
    /// The newest values, one a row.
    Table,
    /// 1 green, 0.5 yellow, 0 red, over time.
    States,
}

/// A panel: its title, how it shows what, in which unit, how wide, and its expressions with their legends.
struct Panel(&'static str, Kind, &'static str, u32, &'static [(&'static str, &'static str)]);

/// A dashboard.
struct Dashboard {
    uid: &'static str,
    title: &'static str,
    about: &'static str,
    /// Names that its expressions use as `$NAME`, with the figure whose label has the values.
    variables: &'static [(&'static str, &'static str)],
    /// Rows of panels, with headings.
    rows: &'static [(&'static str, &'static [Panel])],
}

const DASHBOARDS: [&Dashboard; 5] =
    [&fleet::OVERVIEW, &fleet::SERVERS, &fleet::AGENTS, &infrastructure::INFRASTRUCTURE, &trading::TRADING];

/// Grafana's files.
///
/// # Errors
/// Never in practice.
pub fn files() -> Result<Vec<File>, Fault> {
    let mut files = vec![
        File::new("docker/grafana/provisioning/datasources/prometheus.yml", yaml::document(&[MADE], &sources())),
        File::new("docker/grafana/provisioning/dashboards/flotilla.yml", yaml::document(&[MADE], &folders())),
    ];
    for dashboard in DASHBOARDS {
        let path = format!("docker/grafana/dashboards/{}.json", dashboard.uid);
        files.push(File::json(path, &dashboard.written())?);
    }
    Ok(files)
}

fn sources() -> Value {
    json!({
        "apiVersion": 1,
        "datasources": [{
            "name": "Prometheus", "uid": "prometheus", "type": "prometheus", "access": "proxy",
            "url": "http://prometheus:9090", "isDefault": true, "jsonData": { "timeInterval": "15s" },
        }],
    })
}

fn folders() -> Value {
    json!({
        "apiVersion": 1,
        "providers": [{
            "name": "Flotilla", "folder": "Flotilla", "type": "file", "allowUiUpdates": false,
            "options": { "path": "/var/lib/grafana/dashboards" },
        }],
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "prometheus" })
}

impl Dashboard {
    fn written(&self) -> Value {
        let variables: Vec<Value> = self.variables.iter().map(|(name, figure)| variable(name, figure)).collect();
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["flotilla"],
            "schemaVersion": SCHEMA,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "15s",
            "time": { "from": "now-1h", "to": "now" },
            "templating": { "list": variables },
            "panels": self.panels(),
        })
    }

    /// Panels from left to right and from top to bottom, under their headings.
    fn panels(&self) -> Vec<Value> {
        let (mut panels, mut y) = (Vec::new(), 0);
        for (heading, row) in self.rows {
            let id = panels.len() + 1;
            panels.push(json!({
                "id": id, "type": "row", "title": heading, "collapsed": false, "panels": [],
                "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
            }));
            y += 1;
            let (mut x, mut high) = (0, 0);
            for panel in *row {
                if x + panel.3 > COLUMNS {
                    (x, y, high) = (0, y + high, 0);
                }
                let id = panels.len() + 1;
                panels.push(panel.written(id, (x, y)));
                x += panel.3;
                high = high.max(panel.height());
            }
            y += high;
        }
        panels
    }
}

fn variable(name: &str, figure: &str) -> Value {
    json!({
        "name": name, "type": "query", "datasource": source(), "query": format!("label_values({figure}, {name})"),
        "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
        "current": { "text": "All", "value": "$__all" },
    })
}

impl Panel {
    fn height(&self) -> u32 {
        match self.1 {
            Kind::Number => 4,
            Kind::Lines | Kind::Table | Kind::States => 8,
        }
    }

    fn written(&self, id: usize, (x, y): (u32, u32)) -> Value {
        let Self(title, kind, _, width, expressions) = self;
        let newest = matches!(kind, Kind::Number | Kind::Table);
        let targets: Vec<Value> = expressions
            .iter()
            .zip('A'..='Z')
            .map(|((expr, legend), id)| {
                json!({
                    "refId": id.to_string(), "datasource": source(), "expr": expr, "legendFormat": legend,
                    "instant": newest, "range": !newest,
                })
            })
            .collect();
        let (sort, options) = match kind {
            Kind::Lines => (
                "timeseries",
                json!({
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                    "tooltip": { "mode": "multi", "sort": "desc" },
                }),
            ),
            Kind::Number => (
                "stat",
                json!({
                    "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false }, "colorMode": "value",
                    "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
                }),
            ),
            Kind::Table => (
                "bargauge",
                json!({
                    "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                    "orientation": "horizontal", "displayMode": "basic", "showUnfilled": true,
                }),
            ),
            Kind::States => (
                "state-timeline",
                json!({
                    "showValue": "never", "mergeValues": true, "rowHeight": 0.8, "alignValue": "center",
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": [] },
                    "tooltip": { "mode": "single", "sort": "none" },
                }),
            ),
        };
        json!({
            "id": id, "type": sort, "title": title, "datasource": source(), "targets": targets, "options": options,
            "gridPos": { "x": x, "y": y, "w": width, "h": self.height() },
            "fieldConfig": { "defaults": self.field(), "overrides": [] },
        })
    }

    fn field(&self) -> Value {
        let steps = match self.1 {
            Kind::States => json!([
                { "value": null, "color": "red" }, { "value": 0.5, "color": "yellow" }, { "value": 1, "color": "green" },
            ]),
            _ => json!([{ "value": null, "color": "green" }]),
        };
        json!({ "unit": self.2, "thresholds": { "mode": "absolute", "steps": steps }, "color": {
            "mode": if matches!(self.1, Kind::Lines) { "palette-classic" } else { "thresholds" },
        } })
    }
}
