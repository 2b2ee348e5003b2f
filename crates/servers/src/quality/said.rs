//! What tools write, read as findings. All of it is foreign: what is not as expected is left out, and files are those of the project only.

use serde_json::Value;

use super::finding::{Said, Severity};

/// The most findings of one tool in one part that are read.
const SAID_MAX: usize = 5_000;

/// What a tool's output says.
pub(super) struct Read<'a> {
    pub(super) tool: &'static str,
    /// The part's folder, from the project's on.
    pub(super) part: &'a str,
}

impl Read<'_> {
    /// A finding, if its file is one of the project.
    fn said(
        &self,
        rule: Option<&str>,
        file: Option<&str>,
        line: Option<u64>,
        severity: Severity,
        message: &str,
    ) -> Option<Said> {
        let file = self.file(file?)?;
        let line = u32::try_from(line.unwrap_or(1)).ok()?.max(1);
        let rule = rule.unwrap_or("unnamed").to_owned();
        Some(Said { tool: self.tool, rule, file, line, severity, message: message.trim().to_owned() })
    }

    /// A file from the project's folder on, of one from its part's folder on or of an absolute one.
    fn file(&self, file: &str) -> Option<String> {
        let inside = match file.strip_prefix("/project/") {
            Some(inside) => inside.to_owned(),
            None if file.starts_with('/') => return None,
            None if self.part.is_empty() => file.trim_start_matches("./").to_owned(),
            None => format!("{}/{}", self.part, file.trim_start_matches("./")),
        };
        let odd = inside.is_empty() || inside.split('/').any(|part| part == "..");
        (!odd).then_some(inside)
    }

    /// One JSON document; `None` when it is none.
    pub(super) fn document(&self, output: &str) -> Option<Vec<Said>> {
        let from = output.find(['{', '['])?;
        let mut values = serde_json::Deserializer::from_str(&output[from..]).into_iter::<Value>();
        let document = values.next()?.ok()?;
        let said: Vec<Said> = match self.tool {
            "slither" => self.slither(&document)?,
            "semgrep" => list(&document["results"]).filter_map(|one| self.semgrep(one)).collect(),
            "ruff" => list(&document).filter_map(|one| self.ruff(one)).collect(),
            "solhint" => list(&document).filter_map(|one| self.solhint(one)).collect(),
            "eslint" => list(&document).flat_map(|file| self.eslint(file)).collect(),
            _ => return None,
        };
        Some(said.into_iter().take(SAID_MAX).collect())
    }

    /// One JSON document a line, among other lines.
    pub(super) fn lines(&self, output: &str) -> Vec<Said> {
        let values = output.lines().filter(|line| line.starts_with('{'));
        let values = values.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let said = values.filter_map(|one| match self.tool {
            "forge-lint" => self.rustc(&one),
            // cargo's word on a package of the project.
            _ if one["reason"] == "compiler-message" => self.rustc(&one["message"]),
            _ => None,
        });
        said.take(SAID_MAX).collect()
    }

    /// rustc's form, which clippy and forge's lints have too.
    fn rustc(&self, one: &Value) -> Option<Said> {
        let code = one["code"]["code"].as_str();
        let level = one["level"].as_str()?;
        let spans = one["spans"].as_array()?;
        let span = spans.iter().find(|span| span["is_primary"] == true).or_else(|| spans.first())?;
        let severity = match (self.tool, level) {
            (_, "error") => Severity::High,
            (_, "warning") => Severity::Medium,
            _ => Severity::Info,
        };
        let rule = code.map(|code| code.trim_start_matches("clippy::"));
        let (file, line) = (span["file_name"].as_str(), span["line_start"].as_u64());
        self.said(rule, file, line, severity, one["message"].as_str()?)
    }

    fn slither(&self, document: &Value) -> Option<Vec<Said>> {
        (document["success"] == true).then_some(())?;
        let said = list(&document["results"]["detectors"]).filter_map(|one| {
            // The statement, where there is one; otherwise what it is in.
            let mut elements = list(&one["elements"]);
            let element = elements.find(|element| element["type"] == "node").or_else(|| one["elements"].get(0))?;
            let place = &element["source_mapping"];
            let severity = match one["impact"].as_str()? {
                "High" => Severity::High,
                "Medium" => Severity::Medium,
                "Low" => Severity::Low,
                _ => Severity::Info,
            };
            let (file, line) = (place["filename_relative"].as_str(), place["lines"][0].as_u64());
            self.said(one["check"].as_str(), file, line, severity, one["description"].as_str()?)
        });
        Some(said.collect())
    }

    fn solhint(&self, one: &Value) -> Option<Said> {
        let severity = if one["severity"] == "Error" { Severity::Medium } else { Severity::Low };
        let (file, line) = (one["filePath"].as_str(), one["line"].as_u64());
        self.said(one["ruleId"].as_str(), file, line, severity, one["message"].as_str()?)
    }

    fn ruff(&self, one: &Value) -> Option<Said> {
        let code = one["code"].as_str().unwrap_or("syntax");
        // Security, and what cannot run.
        let severity = match code {
            code if code.starts_with("S1") || code.starts_with("S2") => Severity::Low,
            code if code.starts_with('S') || code.starts_with("F82") || code.starts_with("E9") || code == "syntax" => {
                Severity::High
            }
            code if code.starts_with(['F', 'B']) => Severity::Medium,
            _ => Severity::Low,
        };
        let (file, line) = (one["filename"].as_str(), one["location"]["row"].as_u64());
        self.said(Some(code), file, line, severity, one["message"].as_str()?)
    }

    fn semgrep(&self, one: &Value) -> Option<Said> {
        let severity = match one["extra"]["severity"].as_str()? {
            "ERROR" | "CRITICAL" | "HIGH" => Severity::High,
            "WARNING" | "MEDIUM" => Severity::Medium,
            _ => Severity::Low,
        };
        // Rules of a file are called by the file's place too.
        let rule = one["check_id"].as_str()?.rsplit('.').next();
        let (file, line) = (one["path"].as_str(), one["start"]["line"].as_u64());
        self.said(rule, file, line, severity, one["extra"]["message"].as_str()?)
    }

    fn eslint(&self, file: &Value) -> Vec<Said> {
        let said = list(&file["messages"]).filter_map(|one| {
            let severity = if one["severity"] == 2 { Severity::Medium } else { Severity::Low };
            let (path, line) = (file["filePath"].as_str(), one["line"].as_u64());
            self.said(one["ruleId"].as_str().or(Some("syntax")), path, line, severity, one["message"].as_str()?)
        });
        said.collect()
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
