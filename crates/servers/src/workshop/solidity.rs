//! What a run of forge is given: Foundry's programs, compilers where it looks for them, and where it keeps what it makes.

use std::collections::BTreeMap;
use std::path::Path;

use kernel::foundry::Kit;

/// What comes before every chore of forge: compilers where it looks for them.
pub(crate) const PRELUDE: &str = r#"set -eu
for compiler in $COMPILERS; do
  mkdir -p "$HOME/.svm/$compiler"
  printf '#!/bin/sh\nexec /tools/solc-%s "$@"\n' "$compiler" >"$HOME/.svm/$compiler/solc-$compiler"
  chmod +x "$HOME/.svm/$compiler/solc-$compiler"
done
cd /project
"#;
/// Files forge finds, keeps and makes by these.
const SETTINGS: [(&str, &str); 8] = [
    ("FOUNDRY_OUT", "/keep/out"),
    ("FOUNDRY_CACHE_PATH", "/keep/cache"),
    ("FOUNDRY_BROADCAST", "/tmp/broadcast"),
    ("FOUNDRY_SNAPSHOTS", "/tmp/snapshots"),
    ("FOUNDRY_TEST_FAILURES_FILE", "/keep/test-failures"),
    // Layouts are asked for often; without them in what is built, each answer would be a build of its own.
    ("FOUNDRY_EXTRA_OUTPUT", r#"["storageLayout"]"#),
    ("FOUNDRY_OFFLINE", "true"),
    ("NO_COLOR", "1"),
];

/// The environment of a run of forge on a project; the programs are at `/tools`.
pub(crate) fn environment(kit: &Kit, project: &Path) -> BTreeMap<String, String> {
    let set = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut environment: BTreeMap<String, String> = SETTINGS.map(set).into();
    environment.insert("FORGE".into(), format!("/tools/{}", kit.forge));
    environment.insert("COMPILERS".into(), kit.compilers.join(" "));
    if let Some(library) = kit.library.as_ref().filter(|_| !project.join("lib/forge-std").is_dir()) {
        environment.insert("FOUNDRY_REMAPPINGS".into(), format!("forge-std/=/tools/{library}/"));
    }
    environment
}
