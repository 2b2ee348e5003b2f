//! Tables between CSV and JSON.

use csv::{ReaderBuilder, StringRecord, Terminator, WriterBuilder};
use mcp::prelude::*;
use serde_json::{Map, Value};

use super::Utilities;
use super::encodings::TEXT_MAX;
use flow::bounded::{STACK, check, check_answer, check_size};
use kernel::fault::lower;

/// Most columns of a table.
const COLUMNS_MAX: usize = 1_000;

/// What [`CSV_TO_JSON`](super::CSV_TO_JSON) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvToJsonRequest {
    /// The CSV (RFC 4180), at most 1 MiB.
    pub csv: String,
    /// What separates fields: one ASCII character.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// Whether the first row names the columns: rows are then objects, otherwise arrays.
    #[serde(default = "yes")]
    pub header: bool,
    /// Whether to read numbers, `true`, `false` and empty fields as what they are. Numbers that JSON would not keep to the last
    /// digit stay text. Otherwise every field is text.
    #[serde(default)]
    pub types: bool,
}

/// What [`CSV_TO_JSON`](super::CSV_TO_JSON) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CsvToJsonResponse {
    /// The columns' names, in order; empty without a header.
    pub columns: Vec<String>,
    /// The rows: objects by column, or arrays without a header.
    pub rows: Vec<Value>,
    /// How many rows there are.
    pub count: usize,
}

/// What [`JSON_TO_CSV`](super::JSON_TO_CSV) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonToCsvRequest {
    /// The rows: all objects, or all arrays.
    pub rows: Vec<Value>,
    /// Which columns, in which order. By default those of all objects, in the order they first appear.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// What separates fields: one ASCII character.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// Whether the first line names the columns.
    #[serde(default = "yes")]
    pub header: bool,
}

/// What [`JSON_TO_CSV`](super::JSON_TO_CSV) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct JsonToCsvResponse {
    /// The CSV, lines ended by `\r\n`. Values inside a field that are not scalars are JSON text.
    pub csv: String,
    /// The columns' names, in order; empty for rows that are arrays and have none given.
    pub columns: Vec<String>,
    /// How many rows there are, the header not counted.
    pub count: usize,
}

fn comma() -> char {
    ','
}

fn yes() -> bool {
    true
}

impl Utilities {
    pub(super) async fn csv_to_json(
        self: Arc<Self>,
        request: CsvToJsonRequest,
        _ctx: Ctx,
    ) -> Result<CsvToJsonResponse, ToolError> {
        Ok(self.gate.run("csv_to_json", STACK, move || from_csv(&request)).await?)
    }

    pub(super) async fn json_to_csv(
        self: Arc<Self>,
        request: JsonToCsvRequest,
        _ctx: Ctx,
    ) -> Result<JsonToCsvResponse, ToolError> {
        Ok(self.gate.run("json_to_csv", STACK, move || to_csv(&request)).await?)
    }
}

fn delimiter_byte(delimiter: char) -> Result<u8, Fault> {
    u8::try_from(delimiter).ok().filter(|byte| byte.is_ascii() && !b"\"\r\n".contains(byte)).ok_or_else(|| {
        Fault::invalid(format!("delimiter {delimiter:?}"))
            .hint("one ASCII character, such as a comma, a semicolon or a tab")
    })
}

fn check_columns(count: usize) -> Result<(), Fault> {
    if count <= COLUMNS_MAX {
        return Ok(());
    }
    Err(Fault::too_large(format!("{count} columns")).hint(format!("at most {COLUMNS_MAX}")))
}

fn from_csv(request: &CsvToJsonRequest) -> Result<CsvToJsonResponse, Fault> {
    check_size("csv", &request.csv, TEXT_MAX)?;
    let delimiter = delimiter_byte(request.delimiter)?;
    let bad = |error: csv::Error| {
        let text = error.to_string();
        Fault::invalid(format!("csv: {}", lower(text.strip_prefix("CSV error: ").unwrap_or(&text))))
    };
    let text = request.csv.strip_prefix('\u{feff}').unwrap_or(&request.csv);
    let mut reader = ReaderBuilder::new().delimiter(delimiter).has_headers(request.header).from_reader(text.as_bytes());
    let columns: Vec<String> = match request.header {
        true => reader.headers().map_err(bad)?.iter().map(ToOwned::to_owned).collect(),
        false => Vec::new(),
    };
    check_columns(columns.len())?;
    let mut sorted: Vec<&String> = columns.iter().collect();
    sorted.sort();
    if let Some([twice, _]) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Fault::invalid(format!("csv: column `{twice}` appears twice"))
            .hint("name each column once, or pass header: false"));
    }
    let value = |field: &str| if request.types { typed(field) } else { field.into() };
    // What each row of the answer repeats.
    let names: usize = columns.iter().map(String::len).sum();
    let mut size = 0;
    let mut rows = Vec::new();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(bad)? {
        check()?;
        check_columns(record.len())?;
        size += names + record.len() * 6 + record.as_slice().len();
        check_answer(size)?;
        let fields = record.iter().map(value);
        rows.push(match request.header {
            true => Value::Object(columns.iter().cloned().zip(fields).collect()),
            false => Value::Array(fields.collect()),
        });
    }
    Ok(CsvToJsonResponse { columns, count: rows.len(), rows })
}

/// The value a field is, if writing that value gives the field again.
fn typed(field: &str) -> Value {
    match field {
        "" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ if field.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
            let number = serde_json::from_str::<serde_json::Number>(field).ok();
            number.filter(|number| number.to_string() == field).map_or_else(|| field.into(), Value::Number)
        }
        _ => field.into(),
    }
}

fn to_csv(request: &JsonToCsvRequest) -> Result<JsonToCsvResponse, Fault> {
    let delimiter = delimiter_byte(request.delimiter)?;
    let columns = request.columns.clone().map_or_else(|| columns_of(&request.rows), Ok)?;
    check_columns(columns.len())?;
    let failed = |error: csv::Error| Fault::internal(format!("csv: {error}"));
    let mut writer =
        WriterBuilder::new().delimiter(delimiter).terminator(Terminator::CRLF).flexible(true).from_writer(Vec::new());
    if request.header && !columns.is_empty() {
        writer.write_record(&columns).map_err(failed)?;
    }
    let mut size = 0;
    for (place, row) in request.rows.iter().enumerate() {
        check()?;
        let fields: Vec<String> = match row {
            Value::Object(row) => {
                size += columns.len();
                check_answer(size)?;
                columns.iter().map(|column| row.get(column).map_or_else(String::new, field)).collect()
            }
            Value::Array(row) => row.iter().map(field).collect(),
            other => {
                let text = format!("rows[{place}] is {}", kind(other));
                return Err(Fault::invalid(text).hint("every row is an object, or every row is an array"));
            }
        };
        if row.is_array() && !columns.is_empty() && fields.len() != columns.len() {
            let text = format!("rows[{place}] has {} fields, there are {} columns", fields.len(), columns.len());
            return Err(Fault::invalid(text).hint("give each row a field for each column"));
        }
        size += fields.iter().map(|field| field.len() + 1).sum::<usize>();
        check_answer(size)?;
        writer.write_record(&fields).map_err(failed)?;
    }
    let csv = writer.into_inner().map_err(|error| Fault::internal(format!("csv: {error}")))?;
    let csv = String::from_utf8(csv).map_err(|error| Fault::internal(format!("csv: {error}")))?;
    Ok(JsonToCsvResponse { csv, columns, count: request.rows.len() })
}

/// The keys of all objects, as they first appear; none for arrays.
fn columns_of(rows: &[Value]) -> Result<Vec<String>, Fault> {
    let mut columns = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let arrays = rows.iter().filter(|row| row.is_array()).count();
    if arrays > 0 && arrays < rows.len() {
        return Err(
            Fault::invalid("rows mix arrays and other values").hint("every row is an object, or every row is an array")
        );
    }
    for row in rows {
        check()?;
        for key in row.as_object().into_iter().flat_map(Map::keys) {
            if seen.insert(key) {
                columns.push(key.clone());
                check_columns(columns.len())?;
            }
        }
    }
    Ok(columns)
}

fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
