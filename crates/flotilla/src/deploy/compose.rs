//! The container system: one Compose file, its variables, and the image's Dockerfile.
//!
//! Invariants:
//! - What Compose is told to scale has neither a name nor a port of its own on the host.
//! - Containers run as nobody in particular, on a root that is read-only, without capabilities; etcd alone is root, of its own files only.
//! - A secret is a file, and only in the containers that need it.
//! - Every container of the fleet reads the same settings, from one file on the host.

use kernel::catalog::{COORDINATOR, Service};
use kernel::fleet::Kind;

use super::{File, MADE, built, host, settings};
use crate::config::Mode;
use crate::fleet::services_of;

/// The file, from the repository's root.
pub const COMPOSE_FILE: &str = "docker/compose/docker-compose.complete.yml";

/// Compose's files.
pub fn files() -> Vec<File> {
    vec![
        File::new(COMPOSE_FILE, complete()),
        File::new("docker/compose/docker-compose.ports.yml", ports()),
        File::new("docker/.env.example", settings::example()),
        File::new(
            "docker/compose/.env",
            format!("# {MADE}\n# What starts when nobody says what.\nCOMPOSE_PROFILES=full\n"),
        ),
    ]
}

fn complete() -> String {
    let services: String = built().map(|service| container(&host(service), service)).collect();
    let bot = built().find(|service| service.role() == BOT).map(|service| container(BOT_CONTAINER, service));
    let containers = built().count() + BESIDE + usize::from(bot.is_some());
    let services = services + &bot.unwrap_or_default();
    HEAD.replace("@MADE@", MADE).replace("@COUNT@", &containers.to_string()) + &services + TAIL
}

/// How many containers there are beside servers and agents: six of infrastructure, and Nginx.
const BESIDE: usize = 7;

/// The agent that is connected to Discord, and the container of the communication services that is its second copy: of the two one is connected,
/// and the other takes over when that one ends.
const BOT: &str = "agent:discord";
const BOT_CONTAINER: &str = "discord-bot";

/// The server that speaks to those who serve language models.
const MODELS: &str = "ai-integration";

/// A service of the fleet in a container of this name.
fn container(host: &str, service: &'static Service) -> String {
    let (role, port) = (service.role(), service.port);
    let coordinator = service.role() == COORDINATOR;
    let minimal = services_of(Mode::Minimal).iter().any(|other| other.role() == role);
    let profiles = if minimal { "[full, minimal]" } else { "[full]" };
    let mut text = format!(
        "
  # {about}
  {host}:
    <<: *fleet
    profiles: {profiles}
    command: [serve, \"{role}\", --no-sandbox]
    environment:
      <<: *environment
      FLOTILLA_HTTP__HOSTS: {host},${{FLOTILLA_HOSTS:-localhost}}
",
        about = service.about,
    );
    // Who signs has the wallet's key, and nobody else.
    if service.kind == Kind::Server && service.name == "execution" {
        text.push_str("      WALLET_PRIVATE_KEY_FILE: /run/secrets/wallet_private_key\n");
        text.push_str("    secrets: [database_url, redis_url, rabbitmq_url, ethereum_rpc_url, wallet_private_key]\n");
    }
    // Who speaks to Discord has the bot's token, and nobody else.
    if role == BOT {
        text.push_str("      DISCORD_BOT_TOKEN_FILE: /run/secrets/discord_bot_token\n");
        for channel in ["METRICS", "ALERTS", "LOGS"] {
            text.push_str(&format!("      DISCORD_{channel}_CHANNEL_ID: ${{DISCORD_{channel}_CHANNEL_ID:-}}\n"));
        }
        text.push_str("    secrets: [database_url, redis_url, rabbitmq_url, ethereum_rpc_url, discord_bot_token]\n");
    }
    // Likewise the keys of language models.
    if role == MODELS {
        text.push_str("      ANTHROPIC_API_KEY_FILE: /run/secrets/anthropic_api_key\n      OPENAI_API_KEY_FILE: /run/secrets/openai_api_key\n");
        text.push_str("    secrets: [database_url, redis_url, rabbitmq_url, ethereum_rpc_url, anthropic_api_key, openai_api_key]\n");
    }
    text.push_str(&format!("    healthcheck: {{<<: *healthcheck, test: [CMD, /flotilla, health, \"{port}\"]}}\n"));
    text.push_str(if coordinator {
        "    depends_on: *after-infrastructure
    networks: [edge, fleet, infrastructure]
    ports:
      - \"${FLOTILLA_PUBLISH:-127.0.0.1}:4000:4000\"
      - \"${FLOTILLA_PUBLISH:-127.0.0.1}:8080:8080\"
    deploy: {resources: {limits: {memory: 512M, cpus: \"2.0\", pids: 1024}}}
"
    } else if service.kind == Kind::Agent {
        "    depends_on: *after-coordinator\n"
    } else {
        "    depends_on: *after-infrastructure\n"
    });
    text
}

/// Every service's own port on the host, for those who ask for it.
fn ports() -> String {
    let published: String = built()
        .filter(|service| service.role() != COORDINATOR)
        .map(|service| {
            let (host, port) = (host(service), service.port);
            format!("  {host}:\n    ports: [\"${{FLOTILLA_PUBLISH:-127.0.0.1}}:{port}:{port}\"]\n    networks: [edge, fleet, infrastructure]\n")
        })
        .collect();
    format!(
        "# {MADE}\n# Publishes every service's own port on this machine, beside the complete file:\n\
         #   docker compose -f docker/compose/docker-compose.complete.yml -f docker/compose/docker-compose.ports.yml up -d\n\
         # A service with a port of its own cannot be scaled.\nservices:\n{published}"
    )
}

const HEAD: &str = r#"# @MADE@
#
# The whole system: @COUNT@ containers in the profile full, as many as are built; the rest come with what is built next.
# Before the first start: `flotilla init`, which writes .env, docker/secrets and docker/flotilla.toml. Then, from the repository's root:
#
#   docker compose -f docker/compose/docker-compose.complete.yml up -d
#   docker compose -f docker/compose/docker-compose.complete.yml up -d --scale mcp-execution=3
#
# Versions of Compose that do not read .env from there want `--env-file .env` too, if FLOTILLA_HOSTS or FLOTILLA_PUBLISH was changed in it.
# Profiles: full, minimal, dev (infrastructure alone); and beside them exporters (figures of PostgreSQL and Redis), alerts (Alertmanager).
name: mcp

x-logging: &logging {driver: json-file, options: {max-size: 10m, max-file: "3"}}

# What every container that is not ours has.
x-other: &other
  restart: unless-stopped
  read_only: true
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  logging: *logging
  stop_grace_period: 30s

x-environment: &environment
  FLOTILLA_HTTP__BIND: 0.0.0.0
  # Copies know each other by their containers' own names.
  FLOTILLA_HTTP__ADVERTISE: auto
  FLOTILLA_URL: http://mcp-master-coordinator:4000
  DATABASE_URL_FILE: /run/secrets/database_url
  REDIS_URL_FILE: /run/secrets/redis_url
  RABBITMQ_URL_FILE: /run/secrets/rabbitmq_url
  ETCD_ENDPOINTS: http://etcd:2379
  ETHEREUM_RPC_URL_FILE: /run/secrets/ethereum_rpc_url
  FLOTILLA_LOG: ${FLOTILLA_LOG:-info}

# What every container of the fleet has. One image, one role per container.
x-fleet: &fleet
  image: ${FLOTILLA_IMAGE:-flotilla:latest}
  build: {context: ../.., dockerfile: docker/Dockerfile}
  restart: unless-stopped
  init: true
  read_only: true
  user: "10001:10001"
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  tmpfs: ["/tmp:mode=1777,size=64m"]
  volumes: ["fleet_data:/var/lib/flotilla"]
  configs: [{source: flotilla.toml, target: /var/lib/flotilla/flotilla.toml}]
  secrets: [database_url, redis_url, rabbitmq_url, ethereum_rpc_url]
  networks: [fleet, infrastructure]
  logging: *logging
  stop_grace_period: 30s
  deploy: {resources: {limits: {memory: 256M, cpus: "1.0", pids: 512}}}

x-healthcheck: &healthcheck {interval: 10s, timeout: 5s, retries: 6, start_period: 20s}

x-after-infrastructure: &after-infrastructure
  postgres: {condition: service_healthy}
  redis: {condition: service_healthy}
  rabbitmq: {condition: service_healthy}
  etcd: {condition: service_healthy}

x-after-coordinator: &after-coordinator
  mcp-master-coordinator: {condition: service_healthy}

services:
  postgres:
    <<: *other
    image: postgres:17-alpine
    container_name: postgres
    profiles: [full, minimal, dev]
    user: postgres
    # Every container of the fleet takes up to 7 connections, copies and an old one beside its new one included.
    command: [postgres, -c, max_connections=500, -c, shared_buffers=256MB]
    environment:
      POSTGRES_USER_FILE: /run/secrets/postgres_user
      POSTGRES_DB_FILE: /run/secrets/postgres_db
      POSTGRES_PASSWORD_FILE: /run/secrets/postgres_password
    secrets: [postgres_user, postgres_db, postgres_password]
    volumes: ["postgres_data:/var/lib/postgresql/data"]
    tmpfs: ["/tmp:mode=1777", "/var/run/postgresql:mode=1777"]
    networks: [infrastructure]
    healthcheck: {<<: *healthcheck, test: [CMD, pg_isready, -q, -h, 127.0.0.1]}
    deploy: {resources: {limits: {memory: 2G, cpus: "2.0"}}}

  redis:
    <<: *other
    image: redis:8-alpine
    container_name: redis
    profiles: [full, minimal, dev]
    user: redis
    # The password comes by standard input, so that no list of processes shows it.
    command:
      - sh
      - -c
      - printf 'requirepass %s\n' "$$(cat /run/secrets/redis_password)" | exec redis-server - --appendonly yes --dir /data --maxmemory 384mb --maxmemory-policy noeviction
    secrets: [redis_password]
    volumes: ["redis_data:/data"]
    tmpfs: ["/tmp:mode=1777"]
    networks: [infrastructure]
    healthcheck: {<<: *healthcheck, test: [CMD-SHELL, "REDISCLI_AUTH=\"$$(cat /run/secrets/redis_password)\" redis-cli ping | grep -q PONG"]}
    deploy: {resources: {limits: {memory: 512M, cpus: "1.0"}}}

  rabbitmq:
    <<: *other
    image: rabbitmq:4-management-alpine
    container_name: rabbitmq
    # Its data stays its own when the container is made anew.
    hostname: rabbitmq
    profiles: [full, minimal, dev]
    user: rabbitmq
    # User and password: the image takes them from its configuration alone.
    secrets: [{source: rabbitmq.conf, target: /etc/rabbitmq/conf.d/20-user.conf}]
    volumes: ["rabbitmq_data:/var/lib/rabbitmq"]
    tmpfs: ["/tmp:mode=1777", "/var/log/rabbitmq:mode=1777"]
    networks: [edge, infrastructure]
    ports: ["${FLOTILLA_PUBLISH:-127.0.0.1}:15672:15672"]
    healthcheck: {<<: *healthcheck, test: [CMD, rabbitmq-diagnostics, -q, check_port_connectivity], timeout: 20s, start_period: 40s}
    deploy: {resources: {limits: {memory: 1G, cpus: "2.0"}}}

  etcd:
    <<: *other
    image: quay.io/coreos/etcd:v3.5.16
    container_name: etcd
    profiles: [full, minimal, dev]
    command:
      - /usr/local/bin/etcd
      - --name=etcd
      - --data-dir=/etcd-data
      - --listen-client-urls=http://0.0.0.0:2379
      - --advertise-client-urls=http://etcd:2379
      - --auto-compaction-retention=1h
    volumes: ["etcd_data:/etcd-data"]
    tmpfs: ["/tmp:mode=1777"]
    networks: [infrastructure]
    healthcheck: {<<: *healthcheck, test: [CMD, etcdctl, endpoint, health]}
    deploy: {resources: {limits: {memory: 512M, cpus: "1.0"}}}

  prometheus:
    <<: *other
    image: prom/prometheus:v2.53.3
    container_name: prometheus
    profiles: [full, dev]
    user: "65534:65534"
    command:
      - --config.file=/etc/prometheus/prometheus.yml
      - --storage.tsdb.path=/prometheus
      - --storage.tsdb.retention.time=15d
      - --storage.tsdb.retention.size=4GB
    volumes: ["../prometheus:/etc/prometheus:ro", "prometheus_data:/prometheus"]
    networks: [edge, fleet, infrastructure]
    ports: ["${FLOTILLA_PUBLISH:-127.0.0.1}:9090:9090"]
    healthcheck: {<<: *healthcheck, test: [CMD, wget, -q, --spider, "http://localhost:9090/-/ready"]}
    deploy: {resources: {limits: {memory: 1G, cpus: "1.0"}}}

  grafana:
    <<: *other
    image: grafana/grafana:11.6.0
    container_name: grafana
    profiles: [full, dev]
    user: "472:0"
    environment:
      GF_SECURITY_ADMIN_PASSWORD__FILE: /run/secrets/grafana_password
      GF_ANALYTICS_REPORTING_ENABLED: "false"
      GF_ANALYTICS_CHECK_FOR_UPDATES: "false"
      GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: /var/lib/grafana/dashboards/flotilla-overview.json
    secrets: [grafana_password]
    volumes:
      - ../grafana/provisioning:/etc/grafana/provisioning:ro
      - ../grafana/dashboards:/var/lib/grafana/dashboards:ro
      - grafana_data:/var/lib/grafana
    tmpfs: ["/tmp:mode=1777"]
    networks: [edge, infrastructure]
    ports: ["${FLOTILLA_PUBLISH:-127.0.0.1}:3000:3000"]
    depends_on: {prometheus: {condition: service_healthy}}
    healthcheck: {<<: *healthcheck, test: [CMD, wget, -q, --spider, "http://localhost:3000/api/health"]}
    deploy: {resources: {limits: {memory: 512M, cpus: "1.0"}}}

  nginx:
    <<: *other
    image: nginx:1.26-alpine
    container_name: nginx
    profiles: [full]
    user: nginx
    secrets: [tls_certificate, tls_key]
    volumes: ["../nginx/nginx.conf:/etc/nginx/nginx.conf:ro"]
    tmpfs: ["/tmp:mode=1777"]
    networks: [edge, fleet]
    ports: ["${FLOTILLA_PUBLISH:-127.0.0.1}:80:80", "${FLOTILLA_PUBLISH:-127.0.0.1}:443:443"]
    depends_on: *after-coordinator
    healthcheck: {<<: *healthcheck, test: [CMD, wget, -q, --spider, "http://127.0.0.1/healthz"]}
    deploy: {resources: {limits: {memory: 128M, cpus: "1.0"}}}

  # Only with their profiles, and not counted above.
  postgres-exporter:
    <<: *other
    image: quay.io/prometheuscommunity/postgres-exporter:v0.15.0
    profiles: [exporters]
    user: "65534:65534"
    environment:
      DATA_SOURCE_URI: postgres:5432/postgres?sslmode=disable
      DATA_SOURCE_USER_FILE: /run/secrets/postgres_user
      DATA_SOURCE_PASS_FILE: /run/secrets/postgres_password
    secrets: [postgres_user, postgres_password]
    networks: [infrastructure]
    depends_on: {postgres: {condition: service_healthy}}
    deploy: {resources: {limits: {memory: 64M, cpus: "0.5"}}}

  redis-exporter:
    <<: *other
    image: oliver006/redis_exporter:v1.67.0
    profiles: [exporters]
    user: "59000:59000"
    environment: {REDIS_ADDR: "redis://redis:6379", REDIS_PASSWORD_FILE: /run/secrets/redis_passwords}
    secrets: [redis_passwords]
    networks: [infrastructure]
    depends_on: {redis: {condition: service_healthy}}
    deploy: {resources: {limits: {memory: 64M, cpus: "0.5"}}}

  alertmanager:
    <<: *other
    image: prom/alertmanager:v0.28.1
    profiles: [alerts]
    user: "65534:65534"
    command: [--config.file=/etc/prometheus/alertmanager.yml, --storage.path=/alertmanager]
    volumes: ["../prometheus:/etc/prometheus:ro"]
    tmpfs: ["/alertmanager:mode=1777"]
    networks: [infrastructure]
    deploy: {resources: {limits: {memory: 128M, cpus: "0.5"}}}
"#;

const TAIL: &str = r"
networks:
  # Published ports, and what they lead to.
  edge: {}
  # The fleet among itself and out to nodes and exchanges.
  fleet: {}
  # What the fleet stands on: closed to the world.
  infrastructure: {internal: true}

volumes:
  fleet_data: {name: mcp_fleet_data}
  postgres_data: {name: mcp_postgres_data}
  redis_data: {name: mcp_redis_data}
  rabbitmq_data: {name: mcp_rabbitmq_data}
  etcd_data: {name: mcp_etcd_data}
  prometheus_data: {name: mcp_prometheus_data}
  grafana_data: {name: mcp_grafana_data}

# Settings of the whole fleet, as flotilla.toml has them. `flotilla init` makes one that says nothing.
configs:
  flotilla.toml: {file: ../flotilla.toml}

# `flotilla init` makes them: files that containers' users may read, in a folder that on the host only its owner may enter.
secrets:
  postgres_user: {file: ../secrets/postgres_user}
  postgres_db: {file: ../secrets/postgres_db}
  postgres_password: {file: ../secrets/postgres_password}
  redis_password: {file: ../secrets/redis_password}
  redis_passwords: {file: ../secrets/redis_passwords}
  rabbitmq.conf: {file: ../secrets/rabbitmq.conf}
  grafana_password: {file: ../secrets/grafana_password}
  database_url: {file: ../secrets/database_url}
  redis_url: {file: ../secrets/redis_url}
  rabbitmq_url: {file: ../secrets/rabbitmq_url}
  ethereum_rpc_url: {file: ../secrets/ethereum_rpc_url}
  wallet_private_key: {file: ../secrets/wallet_private_key}
  discord_bot_token: {file: ../secrets/discord_bot_token}
  anthropic_api_key: {file: ../secrets/anthropic_api_key}
  openai_api_key: {file: ../secrets/openai_api_key}
  tls_certificate: {file: ../secrets/tls_certificate}
  tls_key: {file: ../secrets/tls_key}
";
