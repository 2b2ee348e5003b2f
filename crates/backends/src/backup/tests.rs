//! What a backup refuses.

use std::io::Write as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use kernel::{Clock, Code};
use tempfile::TempDir;

use super::*;

fn only(data: &Path) -> Kept<'_> {
    Kept { data, postgres: None }
}

/// A data folder as a fleet has it, and a backup of it.
async fn made() -> (TempDir, PathBuf, Manifest) {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let database = crate::sqlite::open(&crate::sqlite::Config::default(), &data, Clock::system()).await.unwrap();
    database.store.commit(vec![kernel::store::Write::put("space", "key", "value")]).await.unwrap();
    std::fs::create_dir(data.join("keys")).unwrap();
    std::fs::write(data.join("keys/fleet.key"), "secret").unwrap();
    std::fs::create_dir(data.join("run")).unwrap();
    std::fs::write(data.join("run/1.json"), "{}").unwrap();
    let to = home.path().join("one.backup");
    // The database is open, and its newest writes are in its log only.
    let manifest = create(only(&data), &to, "1.2.3", &Clock::system()).await.unwrap();
    database.close().await;
    (home, to, manifest)
}

#[tokio::test]
async fn what_was_kept_is_back_and_what_passes_is_not() {
    let (home, backup, manifest) = made().await;
    let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["flotilla.db", "keys/fleet.key"]);
    assert_eq!(check(&backup).await.unwrap(), manifest);
    let again = home.path().join("again");
    assert_eq!(restore(&backup, only(&again), &Clock::system()).await.unwrap(), manifest);
    let database = crate::sqlite::open(&crate::sqlite::Config::default(), &again, Clock::system()).await.unwrap();
    assert_eq!(database.store.get("space", "key").await.unwrap().unwrap().value, "value");
    database.close().await;
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing else is left: {left:?}");
}

#[tokio::test]
async fn a_file_that_is_there_and_a_folder_that_is_not_empty_stay_as_they_are() {
    let (home, backup, _) = made().await;
    let data = home.path().join("data");
    let again = create(only(&data), &backup, "1.2.3", &Clock::system()).await.unwrap_err();
    assert_eq!(again.code, Code::Conflict);
    assert_eq!(restore(&backup, only(&data), &Clock::system()).await.unwrap_err().code, Code::Conflict);
    let none = restore(&home.path().join("none"), only(&home.path().join("new")), &Clock::system()).await.unwrap_err();
    assert_eq!(none.code, Code::NotFound);
}

#[tokio::test]
async fn a_torn_or_altered_backup_is_refused_wherever_it_is() {
    let (home, backup, said) = made().await;
    let (whole, bad) = (std::fs::read(&backup).unwrap(), home.path().join("bad"));
    let step = (whole.len() / 40).max(1);
    for place in (0..whole.len()).step_by(step) {
        std::fs::write(&bad, &whole[..place]).unwrap();
        let fault = check(&bad).await.unwrap_err();
        assert_eq!(fault.code, Code::InvalidArgument, "cut at {place}: {fault}");
        let mut altered = whole.clone();
        altered[place] ^= 0x20;
        std::fs::write(&bad, &altered).unwrap();
        // The head of a gzip file says things that nobody needs, as the time it was made.
        if place >= 10 {
            let new = home.path().join("new");
            match restore(&bad, only(&new), &Clock::system()).await {
                // It may say that it is of another format, too.
                Err(fault) => {
                    let refused = matches!(fault.code, Code::InvalidArgument | Code::Unsupported);
                    assert!(refused, "altered at {place}: {fault}");
                }
                // Bits that only fill a block's last byte say nothing: the same backup is in another file.
                Ok(manifest) => {
                    assert_eq!(manifest, said, "altered at {place}");
                    std::fs::remove_dir_all(&new).unwrap();
                }
            }
            assert!(!new.exists());
        }
    }
}

/// A backup whose manifest says this, with these entries.
fn forged(manifest: &serde_json::Value, entries: &[(&str, &str)]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file.reopen().unwrap(), Compression::default()));
    let mut append = |path: &str, text: &str| {
        let mut header = tar::Header::new_old();
        header.set_size(text.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        // Put in as it is, where the crate would refuse it.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, text.as_bytes()).unwrap();
    };
    append(MANIFEST, &manifest.to_string());
    entries.iter().for_each(|(path, text)| append(path, text));
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
    file
}

#[tokio::test]
async fn forgeries_are_refused_with_the_reason() {
    /// Format, path in the manifest, entries, reason.
    type Case<'a> = (u32, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let mut sum = Sum::new();
    sum.write_all(b"x").unwrap();
    let sha256 = sum.hex();
    let manifest = |format: u32, path: &str| {
        let files = serde_json::json!([{ "path": path, "bytes": 1, "sha256": sha256 }]);
        serde_json::json!({ "format": format, "version": "9.0.0", "made_ms": 0, "files": files })
    };
    let cases: [Case<'_>; 7] = [
        (1, "../out", &[("../out", "x")], "`../out` is no place"),
        (1, "/out", &[("/out", "x")], "`/out` is no place"),
        (1, "a", &[], "a is missing"),
        (1, "a", &[("b", "x")], "a is not where the manifest has it"),
        (1, "a", &[("a", "y")], "a was altered"),
        (1, "a", &[("a", "x"), ("b", "x")], "it has more in it than its manifest says"),
        (2, "a", &[("a", "x")], "has format 2, this program knows 1"),
    ];
    for (format, path, entries, why) in cases {
        let file = forged(&manifest(format, path), entries);
        let fault = check(file.path()).await.unwrap_err();
        assert!(fault.message.contains(why), "{path} {entries:?}: {fault}");
    }
    let whole = forged(&manifest(1, "a"), &[("a", "x")]);
    assert_eq!(check(whole.path()).await.unwrap().files.len(), 1);
}

#[tokio::test]
async fn the_vault_keeps_so_many_and_what_is_restored_is_the_same_fleet() {
    use kernel::vault::Vault;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (config, clock) = (crate::sqlite::Config::default(), Clock::manual(1_794_729_600_000));
    let database = crate::sqlite::open(&config, &data, clock.clone()).await.unwrap();
    database.store.commit(vec![kernel::store::Write::put("space", "key", "value")]).await.unwrap();
    let vault = Folder::new(&data, "1.2.3", config.clone(), clock.clone());
    assert!(vault.list().await.unwrap().is_empty());
    let mut names = Vec::new();
    for _ in 0..4 {
        clock.advance_ms(1_000);
        let made = vault.create(2).await.unwrap();
        assert_eq!((made.files, made.version.as_str()), (1, "1.2.3"), "no backup has backups in it");
        names.push(made.name);
    }
    let kept: Vec<String> = vault.list().await.unwrap().into_iter().map(|backup| backup.name).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let last = names.pop().unwrap();
    assert!(kept.contains(&last) && !kept.contains(&names[0]));
    assert_eq!(vault.verify(&last).await.unwrap().name, last);
    let restored = vault.restore(&last).await.unwrap();
    let again = crate::sqlite::open(&config, std::path::Path::new(&restored.data_dir), clock.clone()).await.unwrap();
    assert_eq!(again.store.get("space", "key").await.unwrap().unwrap().value, "value");
    again.close().await;
    database.close().await;
    for name in ["none.backup", "../flotilla.db", "/etc/passwd", "a/b.backup", ".backup"] {
        let fault = vault.verify(name).await.unwrap_err();
        assert!(matches!(fault.code, Code::NotFound | Code::InvalidArgument), "{name}: {fault}");
    }
    let file = data.join("backups").join(&last);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(vault.verify(&last).await.unwrap_err().message.contains("is not a whole backup"));
    clock.advance_ms(1_000);
    assert!(vault.restore(&last).await.unwrap_err().message.contains("is not a whole backup"));
}
