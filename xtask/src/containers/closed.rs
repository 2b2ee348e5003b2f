//! What is to be closed is closed: secrets, rights, networks. Looked at from this machine as root, and from containers beside the system.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::World;
use super::images::DEBIAN_IMAGE;
use crate::problem::{Problem, Result};

/// Who is given which secret, beside those that all of the fleet is given.
const GIVEN: [(&str, &[&str]); 10] = [
    ("postgres_user", &["postgres"]),
    ("postgres_db", &["postgres"]),
    ("postgres_password", &["postgres"]),
    ("redis_password", &["redis"]),
    ("tls_certificate", &["nginx"]),
    ("tls_key", &["nginx"]),
    ("wallet_private_key", &["mcp-execution"]),
    ("grafana_password", &[]),
    ("redis_passwords", &[]),
    ("rabbitmq.conf", &[]),
];
/// What all of the fleet is given.
const OF_THE_FLEET: [&str; 4] = ["database_url", "redis_url", "rabbitmq_url", "ethereum_rpc_url"];
/// Where a container finds its secrets.
const SECRETS: &str = "run/secrets";
/// The one whose files are root's.
const ROOT: &str = "etcd";
/// A line of a list of secrets that is long enough to be one.
const PASSWORD_CHARS_MIN: usize = 16;

/// A container's first process as this machine sees it.
fn seen(pid: u64, inside: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{inside}");
    fs::read_to_string(&path).map_err(Problem::io(&path))
}

/// Every container has the secrets that it needs and no other, and none tells one.
pub(crate) fn secrets(world: &World<'_>) -> Result<String> {
    let (docker, containers) = (world.system.docker, world.system.containers()?);
    for container in &containers {
        let folder = format!("/proc/{}/root/{SECRETS}", docker.pid(&container.name)?);
        for entry in fs::read_dir(Path::new(&folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let given = GIVEN.iter().find(|(secret, _)| *secret == name).map_or(&[][..], |(_, to)| to);
            let allowed = given.contains(&&*container.service) || container.ours() && OF_THE_FLEET.contains(&&*name);
            if !allowed {
                return Err(Problem::new(format!("{} has {name}, which is not its business", container.name)));
            }
        }
    }
    let told = passwords(&world.system.folder.join("docker/secrets"))?;
    for container in &containers {
        let log = docker.command(&["logs", &container.name]).output().map_err(Problem::io("docker logs"))?;
        let inspected = docker.says(&["inspect", &container.name])?;
        let words =
            [&*inspected, &String::from_utf8_lossy(&log.stdout), &String::from_utf8_lossy(&log.stderr)].concat();
        if told.iter().any(|password| words.contains(password)) {
            return Err(Problem::new(format!("{} has a password in its settings or its log", container.name)));
        }
    }
    Ok(format!("{} passwords in no setting and no log of {} containers", told.len(), containers.len()))
}

/// The passwords among the secrets, alone as they are.
fn passwords(folder: &Path) -> Result<Vec<String>> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(Problem::io(name));
    let rabbit = read("rabbitmq.conf")?;
    let rabbit = rabbit.lines().find_map(|line| line.strip_prefix("default_pass = ")).unwrap_or_default().to_owned();
    let all = [read("postgres_password")?, read("redis_password")?, read("grafana_password")?, rabbit];
    if let Some(short) = all.iter().find(|password| password.len() < PASSWORD_CHARS_MIN) {
        return Err(Problem::new(format!("a password of {} characters", short.len())));
    }
    Ok(all.to_vec())
}

/// Nobody in particular, no capability, a root that is read-only, bounds.
pub(crate) fn confined(world: &World<'_>) -> Result<String> {
    let containers = world.system.containers()?;
    for container in &containers {
        let pid = world.system.docker.pid(&container.name)?;
        let status = seen(pid, "status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let mounts = seen(pid, "mountinfo")?;
        let read_only = mounts.lines().any(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words.get(4) == Some(&"/")
                && words.get(5).is_some_and(|options| options.split(',').any(|option| option == "ro"))
        });
        let found = world.system.docker.inspect(&[&container.name])?;
        let bound = found.first().map(|found| &found["HostConfig"]["Memory"]).and_then(Value::as_u64).unwrap_or(0);
        let wrong = [
            (field("CapEff:") != "0000000000000000", "has capabilities"),
            (field("NoNewPrivs:") != "1", "may gain rights"),
            (field("Uid:") == "0" && container.service != ROOT, "is root"),
            (!read_only, "may write its root"),
            (bound == 0, "has no bound of memory"),
        ];
        if let Some((_, what)) = wrong.iter().find(|(wrong, _)| *wrong) {
            return Err(Problem::new(format!("{} {what}", container.name)));
        }
    }
    Ok(format!(
        "{} containers without capabilities, on read-only roots, within bounds; root is {ROOT} alone",
        containers.len()
    ))
}

/// What is reached from where, and what is not.
pub(crate) fn networks(world: &World<'_>) -> Result<String> {
    let docker = world.system.docker;
    let published =
        docker.says(&["ps", "--filter", "label=com.docker.compose.project=mcp", "--format", "{{.Ports}}"])?;
    let open: Vec<&str> =
        published.lines().flat_map(|line| line.split(", ")).filter(|port| port.contains("->")).collect();
    if let Some(wide) = open.iter().find(|port| !port.starts_with("127.0.0.1:")) {
        return Err(Problem::new(format!("published to more than this machine: {wide}")));
    }
    // What is internal the engine lets out to nobody; which machine is outside, on a test's machine, nobody can say.
    for (network, internal) in [("edge", "false"), ("fleet", "false"), ("infrastructure", "true")] {
        let told = docker.says(&["network", "inspect", "--format", "{{.Internal}}", &format!("mcp_{network}")])?;
        if told.trim() != internal {
            return Err(Problem::new(format!("the network {network} is internal: {}, not {internal}", told.trim())));
        }
    }
    let cases: [(&str, &[&str], &[&str]); 3] = [
        ("edge", &["mcp-master-coordinator 4000"], &["postgres 5432", "redis 6379", "etcd 2379", "mcp-utilities 4017"]),
        (
            "fleet",
            &["mcp-utilities 4017", "mcp-execution 4006"],
            &["postgres 5432", "redis 6379", "etcd 2379", "rabbitmq 5672"],
        ),
        ("infrastructure", &["postgres 5432", "etcd 2379"], &["nginx 443", "prometheus 9191"]),
    ];
    let mut looked = 0;
    for (network, reached, closed) in cases {
        let script = "for at; do set -- $at; timeout 3 bash -c \"exec 3<>/dev/tcp/$1/$2\" 2>/dev/null && echo yes || echo no; done";
        let run = ["run", "--rm", "--network", &format!("mcp_{network}"), DEBIAN_IMAGE, "bash", "-c", script, "bash"];
        let answers = docker.says(&[&run[..], reached, closed].concat())?;
        let answers: Vec<&str> = answers.lines().collect();
        let wanted = reached.iter().map(|at| (at, "yes")).chain(closed.iter().map(|at| (at, "no")));
        for ((at, wanted), answer) in wanted.zip(&answers) {
            looked += 1;
            if wanted != *answer {
                return Err(Problem::new(format!("from {network}, {at}: {answer}, not {wanted}")));
            }
        }
        if answers.len() != reached.len() + closed.len() {
            return Err(Problem::new(format!("from {network}: only {} answers", answers.len())));
        }
    }
    Ok(format!("{} published ports, all on 127.0.0.1; {looked} ways between networks as they should be", open.len()))
}
