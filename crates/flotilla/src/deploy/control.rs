//! What lets the coordinator restart and scale services where they are containers, for who asks for it: on Docker an Nginx before the engine's
//! socket, on Kubernetes a role for the coordinator's own account.
//!
//! Invariants:
//! - The socket is root of its machine, so only the proxy has it, and the proxy lets through exactly what `backends::containers` asks: a list
//!   of one service's containers, and their starts, stops and restarts, by ids that nobody guesses.
//! - The role names every deployment; nothing else in the namespace can be touched with it, and nothing made or removed.

use kernel::catalog::COORDINATOR;
use serde_json::{Value, json};

use super::kubernetes::NAMESPACE;
use super::nginx::TEMPORARY;
use super::{File, MADE, built, host, yaml};

/// Where the proxy answers.
const PROXY: &str = "http://docker-proxy:2375";
/// The folder of the component.
const COMPONENT: &str = "deploy/kubernetes/control";

/// The files.
pub fn files() -> Vec<File> {
    let coordinator = format!("mcp-{COORDINATOR}");
    let with = |text: &str| {
        text.replace("@MADE@", MADE)
            .replace("@COORDINATOR@", &coordinator)
            .replace("@PROXY@", PROXY)
            .replace("@TEMPORARY@", TEMPORARY)
    };
    let component = |name: &str, objects: &[Value]| {
        let documents: Vec<String> = objects.iter().map(|object| yaml::document(&[], object)).collect();
        File::new(format!("{COMPONENT}/{name}"), format!("# {MADE}\n{}", documents.join("---\n")))
    };
    vec![
        File::new("docker/compose/docker-compose.control.yml", with(COMPOSE)),
        File::new("docker/nginx/docker-proxy.conf", with(NGINX)),
        component("kustomization.yaml", &[kustomization(&coordinator)]),
        component("role.yaml", &[account(&coordinator), role(&coordinator), binding(&coordinator)]),
    ]
}

const COMPOSE: &str = r#"# @MADE@
#
# Lets restart_service and scale_service act on containers. Beside the complete file:
#
#   FLOTILLA_DOCKER_GID=$(stat -c %g /var/run/docker.sock) \
#   docker compose -f docker/compose/docker-compose.complete.yml -f docker/compose/docker-compose.control.yml up -d
#
# The proxy alone has the engine's socket. It lets through the list of a service's containers, and their starts, stops and restarts.
services:
  @COORDINATOR@:
    environment: {FLOTILLA_CONTAINERS__DOCKER: "@PROXY@"}
    networks: [edge, fleet, infrastructure, control]

  docker-proxy:
    image: nginx:1.26-alpine
    profiles: [full, minimal]
    restart: unless-stopped
    read_only: true
    # The socket is its group's.
    user: "101:${FLOTILLA_DOCKER_GID:?say what `stat -c %g /var/run/docker.sock` says; 0 on Docker Desktop}"
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    logging: {driver: json-file, options: {max-size: 10m, max-file: "3"}}
    volumes:
      - ../nginx/docker-proxy.conf:/etc/nginx/nginx.conf:ro
      - /var/run/docker.sock:/var/run/docker.sock
    tmpfs: ["/tmp:mode=1777"]
    networks: [control]
    deploy: {resources: {limits: {memory: 32M, cpus: "0.5", pids: 32}}}

networks:
  # Between the coordinator and the proxy, and nobody else.
  control: {internal: true}
"#;

const NGINX: &str = r#"# @MADE@
# Before Docker's socket: what the coordinator asks, word for word, and nothing else.
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 64; }

http {
@TEMPORARY@

  log_format line escape=json '{"time":"$time_iso8601","method":"$request_method","path":"$uri","status":$status,"seconds":$request_time}';
  access_log /dev/stdout line;
  server_tokens off;
  client_max_body_size 1k;

  # Lists are of one service of the fleet in the project mcp: so no other container's id comes out, and none can be named without it.
  map "$request_method $request_uri" $allowed {
    default 0;
    "GET /_ping" 1;
    "~^GET /v1\.[0-9]+/containers/json\?all=true&filters=%7B%22label%22%3A%5B%22com\.docker\.compose\.project%3Dmcp%22%2C%22com\.docker\.compose\.service%3D(mcp|agent)-[a-z-]+%22%2C%22com\.docker\.compose\.oneoff%3DFalse%22%5D%7D$" 1;
    "~^POST /v1\.[0-9]+/containers/[0-9a-f]{64}/start$" 1;
    "~^POST /v1\.[0-9]+/containers/[0-9a-f]{64}/(stop|restart)\?t=[0-9]+$" 1;
  }

  server {
    listen 2375;
    location / {
      if ($allowed = 0) { return 403; }
      proxy_pass http://unix:/var/run/docker.sock:;
      proxy_http_version 1.1;
      proxy_set_header Host docker;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      # A container is stopped and started within one answer.
      proxy_read_timeout 60s;
    }
  }
}
"#;

fn kustomization(coordinator: &str) -> Value {
    let spec = json!({
        "template": { "spec": {
            "serviceAccountName": coordinator,
            "automountServiceAccountToken": true,
            "containers": [{ "name": "flotilla", "env": [
                { "name": "FLOTILLA_CONTAINERS__KUBERNETES", "value": "https://kubernetes.default.svc" },
            ] }],
        } },
    });
    let patch = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": coordinator }, "spec": spec,
    });
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": ["role.yaml"],
        "patches": [{ "patch": yaml::document(&[], &patch) }],
    })
}

fn metadata(name: &str) -> Value {
    json!({ "name": name, "namespace": NAMESPACE })
}

fn account(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name),
        // Who wants the token says so: the coordinator's pods do.
        "automountServiceAccountToken": false,
    })
}

fn role(name: &str) -> Value {
    let names: Vec<String> = built().map(host).collect();
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "resourceNames": names, "verbs": verbs });
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata(name),
        "rules": [
            rule("apps", &["deployments", "deployments/scale"], &["patch"]),
            rule("autoscaling", &["horizontalpodautoscalers"], &["get", "patch"]),
        ],
    })
}

fn binding(name: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata(name),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": NAMESPACE }],
    })
}
