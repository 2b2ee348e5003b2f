//! More copies, and fewer: scaling, and containers that die under load.

use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::World;
use super::client::request;
use super::load::Load;
use super::system::{HEALTHY_LIMIT, LIMIT, until};
use crate::command;
use crate::problem::{Problem, Result};

/// Copies that are asked for.
const COPIES: usize = 3;
/// The port of what is scaled.
const PORT: u16 = 4006;
/// Callers at once, and calls of each.
const CALLERS: usize = 8;
const CALLS: usize = 40;
/// The services beside the fleet, killed one after another.
const BESIDE: [&str; 6] = ["postgres", "redis", "rabbitmq", "etcd", "prometheus", "nginx"];
/// How long the load goes on undisturbed before and after each loss.
const CALM: Duration = Duration::from_secs(3);

/// Three copies, and calls to each.
pub(crate) fn scale(world: &World<'_>) -> Result<String> {
    let one = rate(world)?;
    world.system.up(&["--scale", &format!("mcp-execution={COPIES}")])?;
    until("three copies in the registry", LIMIT, || {
        let rows = world.client.rest("GET", "/servers", None)?;
        let row = rows.as_array().into_iter().flatten().find(|row| row["name"] == "execution").cloned();
        Ok(row.filter(|row| row["instances"] == COPIES).map(drop))
    })?;
    let before = counts(world)?;
    let three = rate(world)?;
    let calls: Vec<u64> = counts(world)?.iter().zip(&before).map(|(now, then)| now - then).collect();
    world.system.up(&[])?;
    if calls.len() != COPIES || calls.contains(&0) {
        return Err(Problem::new(format!("calls by copy: {calls:?}")));
    }
    Ok(format!("calls by copy: {calls:?}; {one:.0} calls/s with one, {three:.0} with three"))
}

/// Calls a second from all callers together.
fn rate(world: &World<'_>) -> Result<f64> {
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let client = world.client.clone();
            thread::spawn(move || (0..CALLS).try_for_each(|_| client.call("execution__wallet", &json!({})).map(drop)))
        })
        .collect();
    for caller in callers {
        caller.join().map_err(|_| Problem::new("a caller panicked"))??;
    }
    Ok((CALLERS * CALLS) as f64 / began.elapsed().as_secs_f64())
}

/// How many calls each copy has counted.
fn counts(world: &World<'_>) -> Result<Vec<u64>> {
    let copies: Vec<_> =
        world.system.containers()?.into_iter().filter(|container| container.service == "mcp-execution").collect();
    copies
        .iter()
        .map(|copy| {
            let found = world.system.docker.inspect(&[&copy.name])?;
            let address =
                found[0]["NetworkSettings"]["Networks"]["mcp_fleet"]["IPAddress"].as_str().unwrap_or_default();
            let answer = request(&format!("{address}:{PORT}"), "GET", "/metrics", &[], "")?;
            Ok(counted(&answer.body))
        })
        .collect()
}

fn counted(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with("mcp_commands_total{server=\"execution\""));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

/// Each service beside the fleet, then a third of the fleet at once; all the while callers go on.
pub(crate) fn kill(world: &World<'_>) -> Result<String> {
    let load = Load::start(&world.client);
    let mut seen = Vec::new();
    for service in BESIDE {
        sleep(CALM);
        let container = world.system.name_of(service)?;
        seen.push(format!("{service}: {}", lose(world, &load, &[&container])?));
    }
    let fleet: Vec<String> = world
        .system
        .containers()?
        .into_iter()
        .filter(|container| container.ours())
        .map(|container| container.name)
        .collect();
    // Another third each time; by the moment, so that nobody can rely on which.
    let moment = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.subsec_nanos() as usize);
    let third: Vec<&str> = fleet.iter().skip(moment % 3).step_by(3).map(|name| &**name).collect();
    seen.push(format!("{} of the fleet's {}: {}", third.len(), fleet.len(), lose(world, &load, &third)?));
    sleep(CALM);
    Ok(format!("{}\n   {}", load.settle()?, seen.join("\n   ")))
}

/// Kills containers' processes, as a crash would, and waits until all is well: how long the containers took, and how long nothing
/// was acknowledged.
fn lose(world: &World<'_>, load: &Load, containers: &[&str]) -> Result<String> {
    let pids: Vec<u64> = containers.iter().map(|name| world.system.docker.pid(name)).collect::<Result<_>>()?;
    let began = Instant::now();
    let numbers: Vec<String> = pids.iter().map(u64::to_string).collect();
    // By the machine's own kill: what the engine is told to kill it takes for stopped, and does not start again.
    command::run(Command::new("kill").arg("-KILL").args(&numbers))?;
    until(&format!("{} started again", containers.join(", ")), HEALTHY_LIMIT, || {
        let found = world.system.docker.inspect(containers)?;
        let pid = |found: &Value| found["State"]["Pid"].as_u64().unwrap_or(0);
        let anew = found.iter().zip(&pids).all(|(found, old)| pid(found) != 0 && pid(found) != *old);
        let healthy = found.iter().all(|found| found["State"]["Health"]["Status"] == "healthy");
        Ok((anew && healthy).then_some(()))
    })?;
    world.system.until_healthy(&[])?;
    let healthy = began.elapsed();
    let count = load.count();
    until("callers go on", LIMIT, || Ok((load.count() > count + 10).then_some(())))?;
    sleep(CALM);
    let silence = load.longest_silence(began);
    Ok(format!(
        "healthy again after {:.1} s, nothing acknowledged for {:.1} s",
        healthy.as_secs_f64(),
        silence.as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copys_calls_are_counted_whatever_became_of_them() {
        let metrics = "# TYPE mcp_commands counter\nmcp_commands_total{server=\"execution\",tool=\"wallet\",outcome=\"ok\"} 7\n\
                       mcp_commands_total{server=\"execution\",tool=\"wallet\",outcome=\"not_configured\"} 2\n\
                       mcp_commands_total{server=\"utilities\",tool=\"uuid\",outcome=\"ok\"} 5\n";
        assert_eq!(counted(metrics), 9);
    }
}
