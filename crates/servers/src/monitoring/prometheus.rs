//! A Prometheus by its HTTP API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Uri};
use kernel::limits::ANSWER_BYTES_MAX;
use kernel::{Fault, UnixMs};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::promql::{Labels, Point, Sample, Series, Value};
use crate::outbound::{Ask, Reach, fetch, host_port};
use crate::percent;

/// How long an answer may take.
const TIME: Duration = Duration::from_secs(30);

/// Where it is and how it lets us in.
#[derive(Debug, Clone)]
pub(super) struct Prometheus {
    base: String,
    token_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<T> {
    status: String,
    data: Option<T>,
    error_type: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<OneValue>),
    Matrix(Vec<ManyValues>),
    Scalar(Pair),
    String((f64, String)),
}

type Pair = (f64, String);

#[derive(Deserialize)]
struct OneValue {
    metric: BTreeMap<String, String>,
    value: Option<Pair>,
}

#[derive(Deserialize)]
struct ManyValues {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Pair>,
}

/// What `/api/v1/metadata` says of a metric.
#[derive(Deserialize)]
pub(super) struct Metadata {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) help: String,
}

fn sample((time, value): &Pair) -> Result<Sample, Fault> {
    let value = value.parse().map_err(|_| Fault::upstream(format!("prometheus: `{value}` is not a value")))?;
    Ok(((time * 1_000.0).round() as UnixMs, value))
}

impl Prometheus {
    /// # Errors
    /// When `url` is none.
    pub(super) fn new(url: &str, token_file: Option<PathBuf>) -> Result<Self, Fault> {
        let uri: Uri = url.parse().map_err(|_| Fault::invalid(format!("prometheus_url `{url}` is not a URL")))?;
        host_port(&uri)?;
        Ok(Self { base: url.trim_end_matches('/').to_owned(), token_file })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.base
    }

    pub(super) async fn instant(&self, expression: &str, at_ms: UnixMs) -> Result<Value, Fault> {
        let time = seconds(at_ms);
        Ok(match self.ask::<Data>("query", &[("query", expression), ("time", &time)]).await? {
            Data::Vector(points) => Value::Vector(
                points
                    .into_iter()
                    .filter_map(|one| {
                        let value = one.value?;
                        let labels = one.metric.into_iter().collect();
                        Some(sample(&value).map(|(at_ms, value)| Point { labels, value, at_ms }))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Data::Matrix(series) => Value::Matrix(series_of(series)?),
            Data::Scalar(pair) => Value::Scalar(sample(&pair)?.1),
            Data::String((_, text)) => Value::Text(text),
        })
    }

    pub(super) async fn range(
        &self,
        expression: &str,
        start_ms: UnixMs,
        end_ms: UnixMs,
        step_ms: i64,
    ) -> Result<Vec<Series>, Fault> {
        let (start, end, step) = (seconds(start_ms), seconds(end_ms), seconds(step_ms));
        let parameters = [("query", expression), ("start", &start), ("end", &end), ("step", &step)];
        match self.ask::<Data>("query_range", &parameters).await? {
            Data::Matrix(series) => series_of(series),
            _ => Err(Fault::upstream("prometheus: a range query was not answered with series")),
        }
    }

    /// The values of a label, of one metric if one is given.
    pub(super) async fn label_values(&self, label: &str, metric: Option<&str>) -> Result<Vec<String>, Fault> {
        let parameters: Vec<(&str, &str)> = metric.map(|metric| ("match[]", metric)).into_iter().collect();
        self.get(&format!("label/{}/values", percent::encode(label)), &parameters).await
    }

    /// What is known of the metrics.
    pub(super) async fn metadata(&self) -> Result<BTreeMap<String, Vec<Metadata>>, Fault> {
        self.get("metadata", &[]).await
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T, Fault> {
        let mut ask = self.request(Method::POST, path)?;
        ask.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")));
        ask.body = Bytes::from(form(parameters));
        self.answer(ask).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T, Fault> {
        let ask = self.request(Method::GET, &format!("{path}?{}", form(parameters)))?;
        self.answer(ask).await
    }

    fn request(&self, method: Method, path: &str) -> Result<Ask, Fault> {
        let url = format!("{}/api/v1/{path}", self.base);
        let url = url.parse().map_err(|_| Fault::internal(format!("prometheus: `{url}` is not a URL")))?;
        Ok(Ask { method, ..Ask::get(url, TIME, ANSWER_BYTES_MAX) })
    }

    async fn answer<T: DeserializeOwned>(&self, mut ask: Ask) -> Result<T, Fault> {
        if let Some(token) = self.token().await? {
            ask.headers.push((AUTHORIZATION, token));
        }
        // The configuration named it.
        let told = fetch(&Reach::ANYWHERE, ask).await.map_err(|fault| fault.context("prometheus"))?;
        let envelope: Envelope<T> = serde_json::from_slice(&told.body).map_err(|error| {
            Fault::upstream(format!("prometheus: status {}, not its API's answer: {error}", told.status))
        })?;
        match (envelope.status.as_str(), envelope.data) {
            ("success", Some(data)) => Ok(data),
            _ => {
                let error = envelope.error.unwrap_or_else(|| format!("status {}", told.status));
                // What the caller wrote is wrong, or something over there is.
                Err(match envelope.error_type.as_deref() {
                    Some("bad_data") => Fault::invalid(error),
                    Some("execution") => Fault::invalid(error).hint("prometheus could not compute it"),
                    Some("timeout") => Fault::timeout(format!("prometheus: {error}")),
                    _ => Fault::upstream(format!("prometheus: {error}")),
                })
            }
        }
    }

    async fn token(&self) -> Result<Option<HeaderValue>, Fault> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let bad = |error: &dyn std::fmt::Display| {
            Fault::unavailable(format!("prometheus_token_file {}: {error}", path.display()))
        };
        let token = tokio::fs::read_to_string(path).await.map_err(|error| bad(&error))?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|error| bad(&error))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn series_of(series: Vec<ManyValues>) -> Result<Vec<Series>, Fault> {
    let one = |one: ManyValues| {
        let labels: Labels = one.metric.into_iter().collect();
        Ok(Series { labels, samples: one.values.iter().map(sample).collect::<Result<_, _>>()? })
    };
    series.into_iter().map(one).collect()
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

fn form(parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", percent::encode(name), percent::encode(value)))
        .collect();
    pairs.join("&")
}
