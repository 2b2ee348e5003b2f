//! The container system's own commands, and how a process is told that it lives in a container.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use expect_test::expect;

use super::kept;
use crate::harness::{Fleet, Home, LIMIT, Ran, http, tools};

/// The lines of a `.env`.
fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn mode(home: &Home, inside: &str) -> u32 {
    std::fs::metadata(home.path(inside)).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_secrets_once_and_never_writes_over_anything() {
    let (home, other) = (Home::new(""), Home::new(""));
    let made = home.cli(&["init", "--json"]).json();
    assert!(made["made"].as_array().unwrap().len() > 10 && made["kept"] == serde_json::json!([]), "{made}");
    let env = variables(&home.read(".env"));
    let password = &env["POSTGRES_PASSWORD"];
    assert!(password.len() >= 32, "{}", password.len());
    assert_eq!(home.read("docker/secrets/postgres_password"), *password);
    assert_eq!(
        home.read("docker/secrets/database_url"),
        format!("postgres://mcp_user:{password}@postgres:5432/mcp_system")
    );
    assert!(home.read("docker/secrets/tls_certificate").starts_with("-----BEGIN CERTIFICATE-----"));
    let modes = [".env", "docker/secrets", "docker/secrets/redis_password"].map(|inside| mode(&home, inside));
    assert_eq!(modes, [0o600, 0o700, 0o644]);
    // Another's are others.
    other.cli(&["init"]).ok();
    let others = variables(&other.read(".env"));
    for name in ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "RABBITMQ_DEFAULT_PASS", "GRAFANA_ADMIN_PASSWORD"] {
        assert_ne!(env[name], others[name], "{name}");
    }
    // What is there stays, and what was taken away comes from what is in .env.
    std::fs::write(home.path("docker/secrets/redis_password"), "mine").unwrap();
    std::fs::remove_file(home.path("docker/secrets/postgres_password")).unwrap();
    let again = home.cli(&["init", "--json"]).json();
    assert_eq!(again["made"], serde_json::json!(["./docker/secrets/postgres_password"]), "{again}");
    assert_eq!(
        (home.read("docker/secrets/redis_password"), home.read("docker/secrets/postgres_password")),
        ("mine".into(), password.clone())
    );
    // A .env without passwords, as the example is, agrees with the secrets all the same.
    std::fs::write(other.path(".env"), kept("docker/.env.example")).unwrap();
    for again in ["database_url", "redis_url", "rabbitmq_url"] {
        let path = other.path("docker/secrets").join(again);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        other.cli(&["init"]).ok();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before, "{again}");
    }
    // The other half of a certificate is nothing to guess.
    std::fs::remove_file(home.path("docker/secrets/tls_key")).unwrap();
    let refused = home.cli(&["init"]);
    assert!(refused.code == Some(2) && refused.err.contains("tls_certificate is there and"), "{refused:?}");
}

#[test]
fn every_secret_that_containers_are_given_is_made() {
    let home = Home::new("");
    home.cli(&["init"]).ok();
    let compose = kept("docker/compose/docker-compose.complete.yml");
    let named: Vec<&str> = compose
        .lines()
        .filter_map(|line| line.split_once("{file: ../secrets/"))
        .map(|(_, rest)| rest.trim_end_matches('}'))
        .collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(home.path("docker/secrets").join(name).exists(), "{name}");
    }
}

#[test]
fn the_example_names_what_the_system_reads_and_no_password() {
    let example = variables(&kept("docker/.env.example"));
    let compose = kept("docker/compose/docker-compose.complete.yml");
    for (name, value) in &example {
        let secret = ["PASSWORD", "PASS", "KEY", "TOKEN"].iter().any(|end| name.ends_with(end));
        assert!(!secret || value.is_empty(), "{name} has a value");
    }
    let asked = regex::Regex::new(r"\$\{([A-Z_]+)[:}]").unwrap();
    for found in asked.captures_iter(&compose) {
        let name = &found[1];
        assert!(example.contains_key(name) || ["FLOTILLA_IMAGE", "FLOTILLA_LOG"].contains(&name), "{name}");
    }
}

#[test]
fn compose_is_told_in_its_own_words() {
    let home = Home::new("");
    let refused = home.cli(&["compose", "up", "--dry-run"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    let written = home.cli(&["compose", "generate"]).ok();
    assert!(written.contains("wrote docker/compose/docker-compose.complete.yml"), "{written}");
    assert_eq!(home.cli(&["compose", "generate"]).ok(), "", "nothing is written twice");
    assert_eq!(home.read("docker/nginx/nginx.conf"), kept("docker/nginx/nginx.conf"));
    let mut said = String::new();
    for words in [
        &["up"][..],
        &["up", "--mode", "minimal", "--build"],
        &["up", "--mode", "dev", "--", "--scale", "mcp-execution=3"],
        &["down"],
        &["down", "--volumes"],
    ] {
        said.push_str(&home.cli(&[&["compose"], &words[..1], &["--dry-run"], &words[1..]].concat()).ok());
    }
    expect![[r#"
        docker compose -f docker/compose/docker-compose.complete.yml --env-file .env --profile full up --detach --wait
        docker compose -f docker/compose/docker-compose.complete.yml --env-file .env --profile minimal up --detach --wait --build
        docker compose -f docker/compose/docker-compose.complete.yml --env-file .env --profile dev up --detach --wait --scale mcp-execution=3
        docker compose -f docker/compose/docker-compose.complete.yml --profile * down --remove-orphans
        docker compose -f docker/compose/docker-compose.complete.yml --profile * down --remove-orphans --volumes
    "#]]
    .assert_eq(&said);
    assert!(!home.path(".env").exists(), "a dry run makes nothing");
}

#[test]
fn an_update_has_successors_serve_before_it_stops_anything() {
    let home = Home::new("");
    // Writes down what it is told; of each service two containers run.
    let docker = "#!/bin/sh
case \"$*\" in
  *version) ;;
  *--services) printf 'postgres\\nagent-risk\\nmcp-master-coordinator\\nmcp-utilities\\n' ;;
  *--quiet*) printf 'a1\\na2\\n' ;;
  *rotten=*) exit 1 ;;
  *) echo \"docker $*\" >> said ;;
esac
";
    std::fs::write(home.path("docker"), docker).unwrap();
    std::fs::set_permissions(home.path("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let update = |words: &[&str]| {
        let mut command = home.command(&[&["compose", "update"], words].concat());
        command.env("PATH", format!("{}:/usr/bin:/bin", home.path("").display()));
        Ran::run(&mut command, "", LIMIT)
    };
    update(&[]).ok();
    expect![[r#"
        docker compose -f docker/compose/docker-compose.complete.yml --env-file .env --profile * up --detach --no-deps --no-recreate --wait --scale mcp-utilities=4 mcp-utilities
        docker stop --time 30 a1 a2
        docker rm a1 a2
        docker compose -f docker/compose/docker-compose.complete.yml --env-file .env --profile * up --detach --no-deps --no-recreate --wait --scale agent-risk=4 agent-risk
        docker stop --time 30 a1 a2
        docker rm a1 a2
        docker compose -f docker/compose/docker-compose.complete.yml --env-file .env --profile * up --detach --no-deps --wait mcp-master-coordinator
    "#]]
    .assert_eq(&home.read("said"));
    let dry = update(&["agent-risk", "--dry-run"]).ok();
    assert!(dry.lines().count() == 3 && home.read("said").lines().count() == 7, "{dry}");
    let none = update(&["postgres"]);
    assert!(none.code == Some(4) && none.err.contains("no service `postgres` of the fleet"), "{none:?}");
    // What does not become healthy leaves what runs as it is.
    std::fs::write(home.path("docker"), docker.replace("rotten=", "mcp-utilities=")).unwrap();
    let failed = update(&[]);
    assert!(failed.code != Some(0) && failed.err.contains("ended with"), "{failed:?}");
    assert_eq!(home.read("said").lines().count(), 7, "nothing was stopped");
}

#[test]
fn the_start_script_passes_its_words_on() {
    let home = Home::new("");
    home.cli(&["compose", "generate"]).ok();
    let script = tools::root().join("start-complete-docker-system.sh");
    std::fs::copy(script, home.path("start.sh")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_flotilla"), home.path("flotilla")).unwrap();
    let mut command = Command::new("sh");
    command.arg(home.path("start.sh")).args(["--mode", "minimal", "--dry-run"]).env_clear();
    command.env("PATH", format!("{}:/usr/bin:/bin", home.path("").display()));
    let said = Ran::run(&mut command, "", LIMIT).ok();
    assert!(said.contains("--profile minimal up"), "{said}");
}

#[test]
fn without_flotilla_the_image_does_its_part() {
    let home = Home::new("");
    std::fs::copy(tools::root().join("start-complete-docker-system.sh"), home.path("start.sh")).unwrap();
    // Writes down what it is told, and has no image as yet.
    std::fs::write(home.path("docker"), "#!/bin/sh\n[ \"$1\" = image ] || echo \"docker $*\"\n").unwrap();
    std::fs::set_permissions(home.path("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let start = |words: &[&str]| {
        let mut command = Command::new("sh");
        command.arg(home.path("start.sh")).args(words).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", home.path("").display()));
        Ran::run(&mut command, "", LIMIT)
    };
    let said = start(&["--mode", "minimal"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert_eq!(lines[0], "docker build --file docker/Dockerfile --tag flotilla:latest .");
    assert!(lines[1].starts_with("docker run --rm") && lines[1].ends_with("flotilla:latest init"), "{said}");
    assert!(lines[2].ends_with("--env-file .env --profile minimal up --detach --wait"), "{said}");
    assert_eq!((start(&["--mode", "all"]).code, start(&["--fast"]).code), (Some(2), Some(2)));
}

#[test]
fn a_service_says_whether_it_serves() {
    let fleet = Fleet::start(&["--no-sandbox", "--mode", "dev"], "");
    let port = http::split(fleet.url()).0.rsplit_once(':').unwrap().1.to_owned();
    let ran = fleet.cli(&["health", &port]);
    assert!(ran.code == Some(0) && ran.out.contains("\"master-coordinator\""), "{ran:?}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = fleet.cli(&["health", &nobody.to_string()]);
    assert!(ran.code == Some(3) && ran.err.contains(&nobody.to_string()), "{ran:?}");
}

#[test]
fn a_container_is_known_by_its_own_name() {
    let home = Home::new("");
    let mut command = home.command(&["up", "--no-sandbox", "--mode", "dev"]);
    command.env("FLOTILLA_HTTP__ADVERTISE", "auto").env("FLOTILLA_HTTP__BIND", "127.0.0.1");
    let process = home.try_start(command).unwrap();
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let url = process.screen["coordinator"].as_str().unwrap();
    let (host, port) = http::split(url).0.rsplit_once(':').unwrap();
    assert_eq!(host, machine.trim());
    // It answers under that name, and to no stranger's.
    let ask = |host: &str| http::send("GET", &format!("http://127.0.0.1:{port}/status"), &[("host", host)], b"").status;
    assert_eq!((ask(host), ask("evil.example")), (200, 403));
    let notes: Vec<String> = std::fs::read_dir(home.path("data/run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(notes, [format!("{host}-{}.json", process.pid())], "by machine: containers share numbers");
}
