//! Known vulnerabilities in OSV's format: asked of a service that speaks its API, or looked up in a folder of its files.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use http::{Method, Uri};
use kernel::Result;
use mcp::prelude::*;
use serde_json::{Value, json};

use super::{Advisory, Package};
use crate::outbound::{Ask, Reach, fetch};
use crate::workshop::cut;

/// How many packages are asked for at once.
const BATCH: usize = 500;
/// The most vulnerabilities whose particulars are asked for.
const PARTICULARS_MAX: usize = 200;
/// How long one request may take, and how much it may answer, in bytes.
const TIME: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// The most files of a folder that are read, and the largest.
const FILES_MAX: usize = 100_000;
const FILE_BYTES_MAX: u64 = 512 << 10;
/// The longest summary, in bytes.
const SUMMARY_BYTES_MAX: usize = 300;

/// Asks a service for the packages.
pub(super) async fn asked(url: &str, packages: &[Package]) -> Result<Vec<Advisory>> {
    let mut named: Vec<(&Package, String)> = Vec::new();
    for batch in packages.chunks(BATCH) {
        let query = |one: &Package| json!({ "package": { "name": one.name, "ecosystem": one.ecosystem }, "version": one.version });
        let body = json!({ "queries": batch.iter().map(query).collect::<Vec<_>>() });
        let told = exchange(url, "/v1/querybatch", Some(&body)).await?;
        let results = told["results"].as_array().filter(|results| results.len() == batch.len());
        let results = results.ok_or_else(|| Fault::upstream(format!("{url} does not answer as OSV does")))?;
        for (package, result) in batch.iter().zip(results) {
            let ids = result["vulns"].as_array().into_iter().flatten().filter_map(|one| one["id"].as_str());
            named.extend(ids.filter(|id| is_id(id)).map(|id| (package, id.to_owned())));
        }
    }
    let ids: BTreeSet<&String> = named.iter().map(|(_, id)| id).collect();
    let mut particulars: BTreeMap<String, Value> = BTreeMap::new();
    for id in ids.into_iter().take(PARTICULARS_MAX) {
        particulars.insert(id.clone(), exchange(url, &format!("/v1/vulns/{id}"), None).await?);
    }
    let none = Value::Null;
    Ok(named.iter().map(|(package, id)| advisory(package, id, particulars.get(id).unwrap_or(&none))).collect())
}

async fn exchange(url: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let wrong = |_| Fault::invalid(format!("{url} is no URL"));
    let uri: Uri = format!("{url}{path}").parse().map_err(wrong)?;
    let mut ask = Ask::get(uri, TIME, ANSWER_BYTES_MAX);
    if let Some(body) = body {
        ask.method = Method::POST;
        ask.headers.push((http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json")));
        ask.body = body.to_string().into();
    }
    // The configuration names it, and no caller.
    let told = fetch(&Reach::ANYWHERE, ask).await?;
    if told.status != 200 {
        return Err(Fault::upstream(format!("{url}{path} answers {}", told.status)));
    }
    serde_json::from_slice(&told.body).map_err(|error| Fault::upstream(format!("{url}{path}: {error}")))
}

/// Looks the packages up in a folder of files, and of folders of them.
pub(super) fn looked_up(folder: &Path, packages: &[Package]) -> Result<Vec<Advisory>> {
    let mut by_name: BTreeMap<(&str, &str), Vec<&Package>> = BTreeMap::new();
    for package in packages {
        by_name.entry((package.ecosystem, &package.name)).or_default().push(package);
    }
    let (mut found, mut next, mut files) = (Vec::new(), vec![folder.to_owned()], 0);
    while let Some(folder) = next.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| {
            Fault::not_configured(format!("advisories in {} cannot be read: {error}", folder.display()))
                .hint("servers.quality.advisories names a folder of OSV's JSON files")
        })?;
        for entry in entries.flatten() {
            let (Ok(about), path) = (entry.metadata(), entry.path()) else { continue };
            if about.is_dir() {
                next.push(path);
            } else if path.extension().is_some_and(|end| end == "json") && about.len() <= FILE_BYTES_MAX {
                files += 1;
                if files > FILES_MAX {
                    return Err(Fault::too_large(format!("more than {FILES_MAX} advisories")));
                }
                let told = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
                found.extend(told.iter().flat_map(|told| matching(told, &by_name)));
            }
        }
    }
    if files == 0 {
        return Err(Fault::not_configured(format!("no advisories in {}", folder.display()))
            .hint("servers.quality.advisories names a folder of OSV's JSON files"));
    }
    Ok(found)
}

fn matching(told: &Value, by_name: &BTreeMap<(&str, &str), Vec<&Package>>) -> Vec<Advisory> {
    let id = told["id"].as_str().unwrap_or_default();
    if !is_id(id) || !told["withdrawn"].is_null() {
        return Vec::new();
    }
    let affected = told["affected"].as_array().into_iter().flatten();
    let of_ours = affected.flat_map(|one| {
        let name = (
            one["package"]["ecosystem"].as_str().unwrap_or_default(),
            one["package"]["name"].as_str().unwrap_or_default(),
        );
        let packages = by_name.get(&name).into_iter().flatten();
        packages.filter(|package| affects(one, &package.version)).map(|package| advisory(package, id, told))
    });
    of_ours.collect()
}

/// Whether a version is among those that have it.
fn affects(affected: &Value, version: &str) -> bool {
    let mut versions = affected["versions"].as_array().into_iter().flatten();
    if versions.any(|one| one == version) {
        return true;
    }
    let mut ranges = affected["ranges"].as_array().into_iter().flatten().filter(|range| range["type"] != "GIT");
    ranges.any(|range| {
        let mut within = false;
        for event in range["events"].as_array().into_iter().flatten() {
            let since = |name: &str, least: Ordering| {
                event[name].as_str().is_some_and(|at| at == "0" || compare(version, at) >= least)
            };
            if since("introduced", Ordering::Equal) {
                within = true;
            }
            if since("fixed", Ordering::Equal) || since("last_affected", Ordering::Greater) {
                within = false;
            }
        }
        within
    })
}

/// Versions by their figures; one with a pre-release comes before that without.
fn compare(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| {
        let (figures, pre) = text.split_once(['-', '+']).unwrap_or((text, ""));
        let pre = if text.contains('-') { pre.split('+').next().unwrap_or_default().to_owned() } else { String::new() };
        let mut figures: Vec<u64> = figures.split('.').map(|part| part.parse().unwrap_or(0)).collect();
        figures.resize(figures.len().max(4), 0);
        (figures, pre.is_empty(), pre)
    };
    parts(one).cmp(&parts(other))
}

fn advisory(package: &Package, id: &str, told: &Value) -> Advisory {
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.filter(|one| is_id(one)).take(8).map(str::to_owned).collect()
    };
    let affected = told["affected"].as_array().into_iter().flatten();
    let ours = affected.filter(|one| one["package"]["name"] == package.name.as_str());
    let events = ours
        .flat_map(|one| one["ranges"].as_array().into_iter().flatten())
        .flat_map(|range| range["events"].as_array().into_iter().flatten());
    let fixed: BTreeSet<String> =
        events.filter_map(|event| event["fixed"].as_str()).take(8).map(str::to_owned).collect();
    let words = told["summary"].as_str().or(told["details"].as_str()).unwrap_or("not told");
    let words = words.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim_start_matches('#').trim();
    Advisory {
        package: package.name.clone(),
        version: package.version.clone(),
        ecosystem: package.ecosystem.to_owned(),
        id: id.to_owned(),
        aliases: texts(&told["aliases"]),
        summary: cut(crate::scripts::cleaned(words), SUMMARY_BYTES_MAX),
        fixed_in: fixed.into_iter().collect(),
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_held_against_ranges() {
        let range = json!({ "ranges": [{ "type": "SEMVER", "events": [
            { "introduced": "0" }, { "fixed": "0.2.23" }, { "introduced": "1.0.0" }, { "last_affected": "1.4.2" }
        ] }], "versions": ["9.9"] });
        for (version, want) in [
            ("0.1.42", true),
            ("0.2.23-rc.1", true),
            ("0.2.23", false),
            ("0.10.0", false),
            ("1.0.0", true),
            ("1.4.2", true),
            ("1.4.3", false),
            ("9.9", true),
        ] {
            assert_eq!(affects(&range, version), want, "{version}");
        }
    }
}
