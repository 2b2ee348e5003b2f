//! How much memory a process and all that come from it have: what none of them may ask for alone, they could together.

use std::collections::HashMap;
use std::fs;

use super::LOOK_EVERY;

/// Resolves when the process `root` and what comes from it have more than `max` bytes together; keeps the most that was seen.
pub(super) async fn over(root: Option<u32>, max: u64, peak: &mut u64) {
    let Some(root) = root else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // A look that fails is followed by another.
        let bytes = tokio::task::spawn_blocking(move || bytes_of(root)).await.unwrap_or(0);
        *peak = (*peak).max(bytes);
        if bytes > max {
            return;
        }
    }
}

/// Memory of a process and of all that come from it, in bytes: their own, and what they share in memory.
fn bytes_of(root: u32) -> u64 {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that cannot be read is gone.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent_in(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut bytes, mut next) = (0, vec![root]);
    while let Some(pid) = next.pop() {
        next.extend(children.remove(&pid).unwrap_or_default());
        bytes += bytes_in(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default());
    }
    bytes
}

/// The parent's number. The name before it may have anything in it, brackets too.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn bytes_in(status: &str) -> u64 {
    let kilobytes = |line: &str| {
        let figure = line.strip_prefix("RssAnon:").or(line.strip_prefix("RssShmem:"))?;
        figure.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    status.lines().filter_map(kilobytes).sum::<u64>() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_are_read() {
        assert_eq!(parent_in("12 (a) b) (c) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("no such"), None);
        assert_eq!(bytes_in("VmRSS:\t  99 kB\nRssAnon:\t    8 kB\nRssFile:\t 5 kB\nRssShmem:\t    2 kB\n"), 10 << 10);
        assert!(bytes_of(std::process::id()) > 1 << 10);
    }
}
