//! Lines as files: NDJSON and CSV, inside an answer or as a resource that is made when it is read.

use kernel::Fault;
use kernel::logs::{Line, LogQuery};
use mcp::resource::Contents;
use mcp::{Content, Outcome, ToolError};
use serde::Serialize;
use serde_json::{Value, json};

use super::words::bounded;
use super::{Delivery, ExportRequest, Format, Logging};
use crate::percent;

/// The newest lines.
pub(super) const RECENT: &str = "logs://recent";
/// How many these are.
pub(super) const RECENT_LINES: u32 = 100;
/// Exports by their parameters.
pub(super) const EXPORTED: &str = "logs://export";
/// Most bytes of one export: what comes after is for the next.
const BYTES_MAX: usize = 1 << 20;

/// An export, and how far it came.
struct Exported {
    text: String,
    lines: usize,
    /// Where the next export goes on, when there is more.
    next: Option<u64>,
}

impl Format {
    fn mime_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }
}

impl Logging {
    pub(super) async fn export(&self, request: ExportRequest) -> Result<Outcome, ToolError> {
        let uri = uri_of(&request)?;
        let format = request.format.unwrap_or_default();
        let mime_type = format.mime_type();
        if request.delivery == Some(Delivery::Link) {
            // Refused now rather than when the link is followed.
            request.query(self.clock.now_ms(), limit(&request)?)?.check()?;
            let link =
                Content::ResourceLink { uri, name: "exported log lines".into(), mime_type: Some(mime_type.into()) };
            return Ok(Outcome::contents(&[link]));
        }
        let exported = self.exported(&request).await?;
        let mut summary = json!({ "lines": exported.lines, "bytes": exported.text.len() });
        if let Some(next) = exported.next {
            summary["next"] = next.into();
        }
        let resource = json!({ "uri": uri, "mimeType": mime_type, "text": exported.text });
        Ok(Outcome::contents(&[Content::text(summary.to_string()), Content::Resource { resource }]))
    }

    /// Reads one of this server's resources; `None` for any other.
    pub(super) async fn read_export(&self, uri: &str) -> Result<Option<Vec<Contents>>, Fault> {
        let request = if uri == RECENT {
            ExportRequest { limit: Some(RECENT_LINES), ..ExportRequest::default() }
        } else if uri == EXPORTED {
            ExportRequest::default()
        } else {
            let Some(parameters) = uri.strip_prefix(EXPORTED).and_then(|rest| rest.strip_prefix('?')) else {
                return Ok(None);
            };
            request_of(parameters)?
        };
        let exported = self.exported(&request).await?;
        let mime_type = request.format.unwrap_or_default().mime_type();
        Ok(Some(vec![Contents::text(uri, mime_type, exported.text)]))
    }

    async fn exported(&self, request: &ExportRequest) -> Result<Exported, Fault> {
        let limit = limit(request)?;
        let query = request.query(self.clock.now_ms(), limit)?;
        let lines = self.logs.search(LogQuery { before_seq: request.before, ..query }).await?;
        let mut exported = Exported { text: String::new(), lines: 0, next: None };
        let format = request.format.unwrap_or_default();
        if format == Format::Csv {
            exported.text.push_str("seq,at_ms,level,service,message,trace_id,fields\n");
        }
        for line in &lines {
            let row = row(line, format)?;
            if exported.text.len() + row.len() > BYTES_MAX {
                break;
            }
            exported.text.push_str(&row);
            exported.lines += 1;
        }
        if exported.lines < lines.len() || lines.len() == limit {
            exported.next = exported.lines.checked_sub(1).and_then(|last| lines.get(last)).map(|line| line.seq);
        }
        Ok(exported)
    }
}

fn limit(request: &ExportRequest) -> Result<usize, Fault> {
    bounded(request.limit, 1_000, 10_000, "limit")
}

fn row(line: &Line, format: Format) -> Result<String, Fault> {
    let failed = |error: &dyn std::fmt::Display| Fault::internal(format!("a line cannot be written: {error}"));
    match format {
        Format::Ndjson => serde_json::to_string(line).map(|text| text + "\n").map_err(|error| failed(&error)),
        Format::Csv => {
            #[derive(Serialize)]
            struct Row<'a>(u64, i64, &'a str, &'a str, &'a str, &'a str, String);
            let fields = if line.fields.is_null() { String::new() } else { line.fields.to_string() };
            let trace_id = line.trace_id.as_deref().unwrap_or_default();
            let row = Row(line.seq, line.at_ms, line.level.as_str(), &line.service, &line.message, trace_id, fields);
            let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
            writer.serialize(row).map_err(|error| failed(&error))?;
            let bytes = writer.into_inner().map_err(|error| failed(&error))?;
            String::from_utf8(bytes).map_err(|error| failed(&error))
        }
    }
}

/// The address of an export: the request's fields as a query.
fn uri_of(request: &ExportRequest) -> Result<String, Fault> {
    let fields = serde_json::to_value(request).map_err(|error| Fault::internal(error.to_string()))?;
    let parameter = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        (name != "delivery" && !value.is_null()).then(|| format!("{name}={}", percent::encode(&text)))
    };
    let parameters: Vec<String> = fields.as_object().into_iter().flatten().filter_map(parameter).collect();
    Ok(if parameters.is_empty() { EXPORTED.into() } else { format!("{EXPORTED}?{}", parameters.join("&")) })
}

/// The request of an address' query.
fn request_of(parameters: &str) -> Result<ExportRequest, Fault> {
    let mut fields = serde_json::Map::new();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = percent::decode(value)?;
        // What is a number in the request is one here; everything else is text.
        let number = matches!(name, "limit" | "before").then(|| value.parse::<u64>().ok()).flatten();
        fields.insert(name.to_owned(), number.map_or_else(|| Value::from(value), Value::from));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        Fault::invalid(format!("{EXPORTED}: {error}")).hint("the parameters are those of the tool export")
    })
}
