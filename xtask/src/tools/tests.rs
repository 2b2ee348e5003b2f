use std::path::Path;

use super::*;

fn repo_in(folder: &Path) -> Repo {
    for set in Set::ALL {
        let (name, files) = set.pins();
        let pins = folder.join("xtask/tools").join(name);
        fs::create_dir_all(&pins).unwrap();
        for file in files {
            fs::write(pins.join(file), "pinned").unwrap();
        }
    }
    Repo { root: folder.to_path_buf(), tools: folder.join(".tools") }
}

fn install(repo: &Repo, set: Set) {
    let (_, inside) = set.folders(&repo.tools);
    fs::create_dir_all(&inside).unwrap();
    fs::write(inside.join(STAMP), Fetch::new(repo, set).unwrap().stamp).unwrap();
}

#[test]
fn a_set_is_current_until_a_pin_changes() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repo_in(folder.path());
    for set in Set::ALL {
        assert!(!Fetch::new(&repo, set).unwrap().current());
        install(&repo, set);
        assert!(Fetch::new(&repo, set).unwrap().current());
        let (name, files) = set.pins();
        fs::write(folder.path().join("xtask/tools").join(name).join(files[0]), "moved").unwrap();
        assert!(!Fetch::new(&repo, set).unwrap().current());
    }
}

#[test]
fn what_is_current_needs_neither_npm_nor_python_nor_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repo_in(folder.path());
    Set::ALL.iter().for_each(|set| install(&repo, *set));
    fetch(&repo, &Set::ALL).unwrap();
    assert!(!repo.tools.join(".lock").exists());
}

#[test]
fn a_lock_is_held_until_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let held = lock(folder.path()).unwrap();
    let second = File::open(folder.path().join(".lock")).unwrap();
    assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
    drop(held);
    second.try_lock().unwrap();
}

#[test]
fn another_platform_gets_the_pinned_versions_of_its_own_packages() {
    let pins = "\"@foundry-rs/anvil-linux-amd64\": \"1.2.3\",\n\"canonical-weth\": \"1.4.0\",\n\"@foundry-rs/cast-linux-amd64\": \"1.2.4\"\n";
    assert!(other_platform(Path::new("."), pins, "linux-amd64").is_none());
    let install = other_platform(Path::new("."), pins, "darwin-arm64").unwrap();
    let words: Vec<_> = install.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    assert_eq!(
        words[words.len() - 2..],
        ["@foundry-rs/anvil-darwin-arm64@1.2.3", "@foundry-rs/cast-darwin-arm64@1.2.4"]
    );
}

#[test]
fn every_pinned_package_has_its_integrity_and_no_address() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools");
    for set in ["fleet", "tests", "analysis"] {
        let text = fs::read_to_string(tools.join(set).join("package-lock.json")).unwrap();
        let lock: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (name, package) in lock["packages"].as_object().unwrap() {
            if name.is_empty() || package["inBundle"] == true {
                continue;
            }
            assert!(package["integrity"].as_str().is_some_and(|hash| hash.starts_with("sha512-")), "{set}: {name}");
            assert!(package["resolved"].is_null(), "{set}: {name}");
        }
    }
    for set in ["python", "analysis"] {
        let python = fs::read_to_string(tools.join(set).join(REQUIREMENTS)).unwrap();
        assert!(python.lines().all(|line| line.starts_with('#') || line.contains("==")), "{python}");
    }
}
