//! What lock files name. They are foreign: what cannot be read is told of.

use serde_json::Value;

use super::Package;

/// Packages, and what could not be read.
type Found = (Vec<Package>, Vec<String>);
/// What OSV calls the registry of Rust's packages; in two pieces, because no registry is named here to be asked.
pub(super) const CRATES: &str = concat!("crates", ".io");
/// The most complaints of one file.
const COMPLAINTS_MAX: usize = 20;

/// What reads a file of this name; none when it locks nothing.
pub(super) fn reader(file: &str) -> Option<fn(&str) -> Found> {
    let name = file.rsplit('/').next().unwrap_or(file);
    match name {
        "Cargo.lock" => Some(|text| blocks(text, CRATES)),
        "uv.lock" | "poetry.lock" => Some(|text| blocks(text, "PyPI")),
        "package-lock.json" | "npm-shrinkwrap.json" => Some(npm),
        name if name.starts_with("requirements") && name.ends_with(".txt") => Some(requirements),
        _ => None,
    }
}

/// `[[package]]`, and lines of `key = "value"` below.
fn blocks(text: &str, ecosystem: &'static str) -> Found {
    let mut found = Vec::new();
    for block in text.split("[[package]]").skip(1) {
        // Up to the block's own tables, whose keys are not the package's.
        let own = block.split("\n[").next().unwrap_or(block);
        let of = |key: &str| {
            let line = own.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))?;
            Some(line.trim().trim_matches('"').to_owned())
        };
        // A package of the project's own is from nowhere.
        let ours = ecosystem == CRATES && of("source").is_none_or(|source| !source.starts_with("registry+"));
        if let (Some(name), Some(version), false) = (of("name"), of("version"), ours) {
            found.push(Package { ecosystem, name, version });
        }
    }
    (found, Vec::new())
}

fn npm(text: &str) -> Found {
    let Ok(lock) = serde_json::from_str::<Value>(text) else { return (Vec::new(), vec!["no JSON".into()]) };
    let Some(packages) = lock["packages"].as_object() else {
        return (Vec::new(), vec!["a lock file before version 2, which npm install makes anew".into()]);
    };
    let package = |(place, told): (&String, &Value)| {
        let (_, name) = place.rsplit_once("node_modules/")?;
        let version = told["version"].as_str()?.to_owned();
        let name = told["name"].as_str().unwrap_or(name).to_owned();
        (told["link"] != true).then_some(Package { ecosystem: "npm", name, version })
    };
    (packages.iter().filter_map(package).collect(), Vec::new())
}

fn requirements(text: &str) -> Found {
    let (mut found, mut complaints) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim().trim_end_matches('\\').trim();
        if line.is_empty() || line.starts_with('-') {
            continue;
        }
        let pinned = line.split([';', ' ']).next().unwrap_or_default().split_once("==");
        match pinned {
            Some((name, version)) => {
                let name = name.split('[').next().unwrap_or(name).trim().to_lowercase().replace(['_', '.'], "-");
                found.push(Package { ecosystem: "PyPI", name, version: version.trim().to_owned() });
            }
            None if complaints.len() < COMPLAINTS_MAX => {
                complaints.push(format!("`{}` names no one version", crate::workshop::places::shown(line)));
            }
            None => {}
        }
    }
    (found, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(file: &str, text: &str) -> String {
        let (found, complaints) = reader(file).unwrap()(text);
        let found: Vec<String> =
            found.iter().map(|one| format!("{} {} {}", one.ecosystem, one.name, one.version)).collect();
        format!("{found:?} {complaints:?}")
    }

    #[test]
    fn lock_files_are_read() {
        let cargo = "version = 4\n\n[[package]]\nname = \"mine\"\nversion = \"0.1.0\"\ndependencies = [\n \"time\",\n]\n\n[[package]]\nname = \"time\"\nversion = \"0.1.42\"\nsource = \"registry+https://example.org/index\"\nchecksum = \"x\"\n";
        assert_eq!(told("a/Cargo.lock", cargo), format!(r#"["{CRATES} time 0.1.42"] []"#));
        let npm = r#"{"lockfileVersion":3,"packages":{"":{"name":"mine"},"node_modules/a":{"version":"1.0.0"},"node_modules/a/node_modules/@s/b":{"version":"2.0.0"},"node_modules/l":{"link":true}}}"#;
        assert_eq!(told("package-lock.json", npm), r#"["npm a 1.0.0", "npm @s/b 2.0.0"] []"#);
        assert!(told("package-lock.json", r#"{"lockfileVersion":1}"#).contains("before version 2"));
        let python = "# x\nJinja2==2.4.1 ; python_version > '3' \\\n    --hash=sha256:1\nrequests>=2\n-r other.txt\nzope.interface[test]==5.0\n";
        assert_eq!(
            told("requirements-dev.txt", python),
            r#"["PyPI jinja2 2.4.1", "PyPI zope-interface 5.0"] ["`requests>=2` names no one version"]"#
        );
        assert_eq!(
            told(
                "uv.lock",
                "[[package]]\nname = \"jinja2\"\nversion = \"2.4.1\"\nsource = { registry = \"x\" }\n[package.optional]\nname = \"no\"\n"
            ),
            r#"["PyPI jinja2 2.4.1"] []"#
        );
    }
}
