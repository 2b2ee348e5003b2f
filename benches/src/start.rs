//! What a start costs: time until every service is healthy, memory, the binary's size.

use std::path::Path;
use std::time::Duration;

use crate::Fallible;
use crate::fleet::Ground;
use crate::table::Table;

/// Starts of each kind; the middle one is told.
const STARTS: usize = 5;
/// One megabyte, as the targets count.
const MB: f64 = 1e6;

/// Measures and tells.
pub(crate) async fn run(binary: &Path) -> Fallible<String> {
    let mut table = Table::new(&["", "measured", "target"]);
    let mut row = |what: &str, measured: String, target: &str| {
        table.row(vec![what.into(), measured, target.into()]);
    };
    row("binary", format!("{:.1} MB", std::fs::metadata(binary)?.len() as f64 / MB), "< 40 MB");

    // The same data folder throughout: the first start, which makes it, is told apart.
    let ground = Ground::new(binary)?;
    let plain = ["up", "--no-sandbox"];
    let first = ground.run(&plain).await?;
    row("first start, no sandbox", seconds(first.took), "");
    first.process.stop().await?;
    let (mut times, mut resident) = (Vec::new(), 0);
    for _ in 0..STARTS {
        let up = ground.run(&plain).await?;
        times.push(up.took);
        resident = up.process.memory()?.1.max(resident);
        up.process.stop().await?;
    }
    row("start to all healthy, no sandbox", seconds(middle(&mut times)), "< 0.3 s");
    row("resident at its highest, no sandbox", format!("{:.1} MB", resident as f64 / MB), "< 80 MB");

    let mut times = Vec::new();
    for _ in 0..STARTS {
        // Each in a folder of its own: the chain is new and everything is deployed.
        let ground = Ground::new(binary)?;
        match ground.run(&["up"]).await {
            Ok(up) => {
                times.push(up.took);
                up.process.stop().await?;
            }
            Err(error) => {
                row("start with a new sandbox", format!("not measured: {error}"), "< 3 s");
                return Ok(table.text());
            }
        }
    }
    row("first start with a new sandbox", seconds(middle(&mut times)), "< 3 s");
    Ok(table.text())
}

fn middle(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
