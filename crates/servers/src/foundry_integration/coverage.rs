//! `coverage`: which lines, branches and functions of a project's sources its tests reach.

use std::collections::BTreeMap;

use kernel::Result;
use mcp::prelude::*;

use super::build::relative;
use super::run::{Chore, refused};
use super::test::{TestRequest, arguments};
use super::{FoundryIntegration, check_profile};

/// How much forge may write of it, in bytes.
const OUTPUT_BYTES_MAX: usize = 32 << 20;
/// The most ranges of lines that are told of one file.
const RANGES_MAX: usize = 200;
/// Coverage is built without the optimiser, so it has places of its own.
const COVERAGE: &str = r#"
export FOUNDRY_OUT=/keep/coverage/out FOUNDRY_CACHE_PATH=/keep/coverage/cache
if "$FORGE" coverage --report lcov --report-file /tmp/lcov "$@" >/tmp/said 2>&1 || [ -s /tmp/lcov ]; then
  cat /tmp/lcov
else
  cat /tmp/said >&2
fi
"#;

/// What [`COVERAGE`](super::COVERAGE) takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoverageRequest {
    /// The project's folder: an absolute path, or one from a root on, like the name that new_project was given.
    pub project: String,
    /// Only tests whose name matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_test: Option<String>,
    /// Only contracts of tests whose name matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_contract: Option<String>,
    /// A profile of the project's foundry.toml; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How long it may take, in seconds: 1 to 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub time_limit_seconds: Option<u32>,
}

/// What [`COVERAGE`](super::COVERAGE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CoverageResponse {
    /// Of all sources together.
    pub total: Covered,
    /// Of each file, the least covered first. Tests, scripts and libraries are not counted.
    pub files: Vec<FileCoverage>,
}

/// How much is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Covered {
    /// Lines with code.
    pub lines: u64,
    /// Those that tests reach.
    pub lines_hit: u64,
    /// Branches.
    pub branches: u64,
    /// Those that tests reach.
    pub branches_hit: u64,
    /// Functions.
    pub functions: u64,
    /// Those that tests reach.
    pub functions_hit: u64,
}

/// A file's coverage.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FileCoverage {
    /// The file, from the project's folder on.
    pub file: String,
    /// How much of it is reached.
    #[serde(flatten)]
    pub covered: Covered,
    /// The lines that no test reaches, as ranges: `12-15`.
    pub missed: Vec<String>,
}

impl Covered {
    fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.lines_hit += other.lines_hit;
        self.branches += other.branches;
        self.branches_hit += other.branches_hit;
        self.functions += other.functions;
        self.functions_hit += other.functions_hit;
    }
}

impl FoundryIntegration {
    pub(super) async fn coverage(&self, request: CoverageRequest, ctx: Ctx) -> Result<CoverageResponse> {
        check_profile(request.profile.as_deref())?;
        let asked = TestRequest {
            match_test: request.match_test,
            match_contract: request.match_contract,
            ..TestRequest::default()
        };
        let arguments = arguments(&asked)?;
        let project = self.places.project(&request.project)?;
        let kept = self.places.keep(&project).await?;
        let options = (request.profile.clone(), request.time_limit_seconds);
        self.built(&project, &kept, options, &ctx).await?.check()?;
        ctx.progress(1.0, None, Some("running the tests, and watching them")).await;
        let chore = Chore {
            text: COVERAGE,
            arguments,
            stdin: String::new(),
            stdout_bytes: OUTPUT_BYTES_MAX,
            seconds: request.time_limit_seconds,
            profile: request.profile,
        };
        let ran = self.run(&project, &kept, chore, &ctx).await?;
        if ran.stdout.trim().is_empty() {
            return Err(refused(&ran));
        }
        let mut files = files_in(&ran.stdout);
        files.sort_by_key(|file| (share(&file.covered), file.file.clone()));
        let mut total = Covered::default();
        files.iter().for_each(|file| total.add(file.covered));
        Ok(CoverageResponse { total, files })
    }
}

/// Lines reached, in hundredths of a percent.
fn share(covered: &Covered) -> u64 {
    covered.lines_hit.saturating_mul(10_000).checked_div(covered.lines).unwrap_or(10_000)
}

/// The project's own sources in a tracefile of lcov's.
fn files_in(text: &str) -> Vec<FileCoverage> {
    let mut files = Vec::new();
    let (mut file, mut lines, mut covered) = (String::new(), BTreeMap::<u32, bool>::new(), Covered::default());
    for line in text.lines() {
        let (kind, value) = line.split_once(':').unwrap_or((line, ""));
        let last = || value.rsplit(',').next().unwrap_or_default();
        match kind {
            "SF" => (file, lines, covered) = (relative(value), BTreeMap::new(), Covered::default()),
            "DA" => {
                if let Some((number, hits)) = value.split_once(',')
                    && let Ok(number) = number.parse()
                {
                    *lines.entry(number).or_default() |= hits != "0";
                }
            }
            "BRDA" => {
                covered.branches += 1;
                covered.branches_hit += u64::from(!matches!(last(), "0" | "-"));
            }
            "FNDA" => {
                covered.functions += 1;
                covered.functions_hit += u64::from(!value.starts_with("0,"));
            }
            "end_of_record" if own(&file) => {
                covered.lines = lines.len() as u64;
                covered.lines_hit = lines.values().filter(|hit| **hit).count() as u64;
                let missed = ranges(lines.iter().filter(|(_, hit)| !**hit).map(|(number, _)| *number));
                files.push(FileCoverage { file: file.clone(), covered, missed });
            }
            _ => {}
        }
    }
    files
}

fn own(file: &str) -> bool {
    let foreign = ["/", "lib/", "node_modules/", "test/", "script/"].iter().any(|start| file.starts_with(start));
    !foreign && !file.ends_with(".t.sol") && !file.ends_with(".s.sol")
}

/// Ascending numbers as ranges.
fn ranges(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => found.push((number, number)),
        }
    }
    found.truncate(RANGES_MAX);
    let text = |(start, end): (u32, u32)| if start == end { start.to_string() } else { format!("{start}-{end}") };
    found.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracefile_is_read_and_what_is_not_the_projects_is_left_out() {
        let text = "TN:\nSF:/project/src/A.sol\nDA:3,1\nDA:4,0\nDA:5,0\nDA:7,0\nFN:3,A.f\nFNDA:1,A.f\nBRDA:4,0,0,-\nBRDA:4,0,1,2\nend_of_record\n\
            SF:lib/B.sol\nDA:1,1\nend_of_record\nSF:test/A.t.sol\nDA:1,1\nend_of_record\n";
        let files = files_in(text);
        assert_eq!(files.len(), 1);
        let Covered { lines, lines_hit, branches, branches_hit, functions, functions_hit } = files[0].covered;
        assert_eq!((lines, lines_hit, branches, branches_hit, functions, functions_hit), (4, 1, 2, 1, 1, 1));
        assert_eq!((files[0].file.as_str(), files[0].missed.join(" ").as_str()), ("src/A.sol", "4-5 7"));
    }
}
