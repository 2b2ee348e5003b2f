//! `audit_dependencies`: what a project's lock files name, held against known vulnerabilities in OSV's format: of a service that the configuration names, or
//! of a folder on this machine. Without either it says so: nothing that was not held against anything is called free of vulnerabilities.

mod advisories;
mod locked;

use std::collections::BTreeSet;

use kernel::Result;
use mcp::prelude::*;

use super::source::{Source, aside};
use super::{Config, Quality};

/// The most packages that are looked up.
const PACKAGES_MAX: usize = 5_000;
/// The most advisories that are answered.
const ADVISORIES_MAX: usize = 500;

/// What [`AUDIT_DEPENDENCIES`](super::AUDIT_DEPENDENCIES) takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRequest {
    /// The project's folder: an absolute path, or one from a root on.
    pub path: String,
    /// A git revision of the project instead of the folder as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// What [`AUDIT_DEPENDENCIES`](super::AUDIT_DEPENDENCIES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditResponse {
    /// The lock files that were read, from the project's folder on.
    pub files: Vec<String>,
    /// How many packages they name.
    pub packages: usize,
    /// What they were held against: a service, or a folder.
    pub against: String,
    /// The vulnerabilities that are known of them.
    pub advisories: Vec<Advisory>,
    /// How many more there are.
    pub advisories_left_out: usize,
    /// What could not be looked up, and why.
    pub not_checked: Vec<String>,
}

/// A known vulnerability of a package that the project depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Advisory {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Where packages of its kind come from, as OSV calls it: that of Rust's, npm or PyPI.
    pub ecosystem: String,
    /// The vulnerability's name.
    pub id: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// What it is, in its reporter's words: foreign text.
    pub summary: String,
    /// Versions that do not have it.
    pub fixed_in: Vec<String>,
}

/// A package that a lock file names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    ecosystem: &'static str,
    name: String,
    version: String,
}

/// Refuses a service that is no URL, and a folder that is no absolute path.
pub(super) fn check(config: &Config) -> Result<()> {
    if !config.advisories_url.is_empty() {
        let wrong = |_| Fault::invalid("servers.quality.advisories_url is no URL").hint("like https://api.osv.dev");
        let url: http::Uri = config.advisories_url.parse().map_err(wrong)?;
        crate::outbound::host_port(&url).map_err(|fault| fault.context("servers.quality.advisories_url"))?;
    }
    match &config.advisories {
        Some(folder) if !folder.is_absolute() => {
            Err(Fault::invalid("servers.quality.advisories is no absolute path").hint("a folder of OSV's JSON files"))
        }
        _ => Ok(()),
    }
}

impl Quality {
    pub(super) async fn audit(&self, request: AuditRequest, ctx: Ctx) -> Result<AuditResponse> {
        let source = self.open(&request.path, request.revision.as_deref(), &ctx).await?;
        self.audited(&source).await
    }

    pub(super) async fn audited(&self, source: &Source) -> Result<AuditResponse> {
        let (mut files, mut packages, mut not_checked) = (Vec::new(), BTreeSet::new(), Vec::new());
        for file in source.files.iter() {
            let Some(reader) = locked::reader(&file.name) else { continue };
            let text = Source::text(file).unwrap_or_default();
            let (found, complaints) = reader(&text);
            packages.extend(found);
            not_checked.extend(complaints.into_iter().map(|complaint| format!("{}: {complaint}", file.name)));
            files.push(file.name.clone());
        }
        if files.is_empty() {
            return Err(Fault::not_found("no lock file in this project")
                .hint("Cargo.lock, package-lock.json, requirements.txt, uv.lock or poetry.lock"));
        }
        if packages.len() > PACKAGES_MAX {
            return Err(Fault::too_large(format!("{} packages, past {PACKAGES_MAX}", packages.len())));
        }
        let packages: Vec<Package> = packages.into_iter().collect();
        let url = self.config.advisories_url.trim_end_matches('/');
        let (against, mut advisories) = match (&self.config.advisories, url) {
            (_, url) if !url.is_empty() => (url.to_owned(), advisories::asked(url, &packages).await?),
            (Some(folder), _) => {
                let (against, folder, packages) = (folder.display().to_string(), folder.clone(), packages.clone());
                (against, aside(move || advisories::looked_up(&folder, &packages)).await??)
            }
            (None, _) => {
                return Err(Fault::not_configured("nothing to hold dependencies against").hint(
                    "servers.quality.advisories_url = \"https://api.osv.dev\" asks OSV, which is told names and versions; servers.quality.advisories names a folder of OSV's JSON files",
                ));
            }
        };
        advisories.sort();
        advisories.dedup();
        let advisories_left_out = advisories.len().saturating_sub(ADVISORIES_MAX);
        advisories.truncate(ADVISORIES_MAX);
        Ok(AuditResponse { files, packages: packages.len(), against, advisories, advisories_left_out, not_checked })
    }
}
