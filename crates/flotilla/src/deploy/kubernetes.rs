//! Kubernetes: a kustomize base of the fleet's own services. What they stand on (PostgreSQL, Redis, RabbitMQ, etcd) is named by URLs in a secret, because
//! every cluster has its own way to run databases.

use kernel::catalog::{COORDINATOR, DASHBOARD_PORT, Service};
use kernel::fleet::Kind;
use serde_json::{Value, json};

use super::{File, MADE, built, host, yaml};

/// The namespace of everything.
pub(super) const NAMESPACE: &str = "flotilla";
/// The user that containers run as.
const USER: u32 = 10_001;
/// How long a pod may take to stop: what the fleet takes at most, and some.
const STOP_SECONDS: u32 = 30;

/// The base's files.
pub fn files() -> Vec<File> {
    let mut files = vec![
        file("kustomization.yaml", &[kustomization()]),
        file("namespace.yaml", &[namespace()]),
        file("network-policies.yaml", &policies()),
    ];
    files.extend(built().map(|service| file(&format!("{}.yaml", host(service)), &of_service(service))));
    files
}

fn file(name: &str, objects: &[Value]) -> File {
    let documents: Vec<String> = objects.iter().map(|object| yaml::document(&[], object)).collect();
    File::new(format!("deploy/kubernetes/base/{name}"), format!("# {MADE}\n{}", documents.join("---\n")))
}

fn kustomization() -> Value {
    let mut resources = vec!["namespace.yaml".to_owned(), "network-policies.yaml".to_owned()];
    resources.extend(built().map(|service| format!("{}.yaml", host(service))));
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": resources,
        "images": [{ "name": "flotilla", "newName": "flotilla", "newTag": "latest" }],
        "labels": [{ "pairs": { "app.kubernetes.io/part-of": "flotilla" }, "includeTemplates": true }],
    })
}

fn namespace() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": NAMESPACE, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    })
}

fn labels(service: &Service) -> Value {
    let component = match service.kind {
        Kind::Server => "server",
        Kind::Agent => "agent",
    };
    json!({ "app.kubernetes.io/name": host(service), "app.kubernetes.io/component": component })
}

fn selector(service: &Service) -> Value {
    json!({ "app.kubernetes.io/name": host(service) })
}

/// Everything of one service.
fn of_service(service: &'static Service) -> Vec<Value> {
    vec![deployment(service), door(service), scaler(service), budget(service)]
}

fn metadata(service: &Service) -> Value {
    json!({ "name": host(service), "labels": labels(service) })
}

fn deployment(service: &Service) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(service),
        "spec": {
            "selector": { "matchLabels": selector(service) },
            // A copy is stopped only when its successor serves.
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": {
                "metadata": {
                    "labels": labels(service),
                    "annotations": {
                        "prometheus.io/scrape": "true", "prometheus.io/port": service.port.to_string(),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": pod(service),
            },
        },
    })
}

fn pod(service: &Service) -> Value {
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": selector(service) },
        }],
        "containers": [container(service)],
        "volumes": [
            { "name": "data", "emptyDir": { "sizeLimit": "2Gi" } },
            { "name": "temporary", "emptyDir": { "medium": "Memory", "sizeLimit": "64Mi" } },
            { "name": "secrets", "secret": { "secretName": "flotilla-backends", "defaultMode": 0o440 } },
        ],
    })
}

fn container(service: &Service) -> Value {
    let probe = |path: &str, period: u32, failures: u32| json!({ "httpGet": { "path": path, "port": "http" }, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures });
    let mut ports = vec![json!({ "name": "http", "containerPort": service.port })];
    if service.role() == COORDINATOR {
        ports.push(json!({ "name": "dashboard", "containerPort": DASHBOARD_PORT }));
    }
    json!({
        "name": "flotilla",
        "image": "flotilla",
        "args": ["serve", service.role(), "--no-sandbox"],
        "ports": ports,
        "env": environment(service),
        "startupProbe": probe("/health/live", 2, 60),
        "readinessProbe": probe("/health/ready", 5, 3),
        "livenessProbe": probe("/health/live", 10, 6),
        "resources": {
            "requests": { "cpu": "50m", "memory": "64Mi" },
            "limits": { "memory": if service.role() == COORDINATOR { "512Mi" } else { "256Mi" } },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "data", "mountPath": "/var/lib/flotilla" },
            { "name": "temporary", "mountPath": "/tmp" },
            { "name": "secrets", "mountPath": "/run/secrets", "readOnly": true },
        ],
    })
}

fn environment(service: &Service) -> Value {
    let told = |name: &str, value: &str| json!({ "name": name, "value": value });
    let host = host(service);
    let mut all = vec![
        told("FLOTILLA_DATA_DIR", "/var/lib/flotilla"),
        told("FLOTILLA_HTTP__BIND", "0.0.0.0"),
        json!({ "name": "FLOTILLA_HTTP__ADVERTISE", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }),
        told("FLOTILLA_HTTP__HOSTS", &format!("{host},{host}.{NAMESPACE}.svc")),
        told("FLOTILLA_URL", &format!("http://mcp-{COORDINATOR}:4000")),
        told("FLOTILLA_FLEET_KEY_FILE", "/run/secrets/fleet_key"),
        told("DATABASE_URL_FILE", "/run/secrets/database_url"),
        told("REDIS_URL_FILE", "/run/secrets/redis_url"),
        told("RABBITMQ_URL_FILE", "/run/secrets/rabbitmq_url"),
        told("ETCD_ENDPOINTS_FILE", "/run/secrets/etcd_endpoints"),
        told("ETHEREUM_RPC_URL_FILE", "/run/secrets/ethereum_rpc_url"),
    ];
    if service.role() == "agent:discord" {
        // Who has no bot has no such secret.
        let token = json!({ "secretKeyRef": { "name": "flotilla-discord", "key": "token", "optional": true } });
        all.push(json!({ "name": "DISCORD_BOT_TOKEN", "valueFrom": token }));
    }
    if service.role() == "ai-integration" {
        for (name, key) in [("ANTHROPIC_API_KEY", "anthropic"), ("OPENAI_API_KEY", "openai")] {
            let key = json!({ "secretKeyRef": { "name": "flotilla-models", "key": key, "optional": true } });
            all.push(json!({ "name": name, "valueFrom": key }));
        }
    }
    all.into()
}

fn door(service: &Service) -> Value {
    let mut ports = vec![json!({ "name": "http", "port": service.port, "targetPort": "http" })];
    if service.role() == COORDINATOR {
        ports.push(json!({ "name": "dashboard", "port": DASHBOARD_PORT, "targetPort": "dashboard" }));
    }
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(service),
        "spec": { "selector": selector(service), "ports": ports },
    })
}

fn scaler(service: &Service) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata(service),
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": host(service) },
            "minReplicas": if service.role() == COORDINATOR { 2 } else { 1 },
            "maxReplicas": 5,
            "metrics": [{
                "type": "Resource",
                "resource": { "name": "cpu", "target": { "type": "AverageValue", "averageValue": "500m" } },
            }],
            // Slowly down: copies hold tasks, and leases take their time.
            "behavior": { "scaleDown": { "stabilizationWindowSeconds": 300, "policies": [{ "type": "Pods", "value": 1, "periodSeconds": 60 }] } },
        },
    })
}

fn budget(service: &Service) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(service),
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": selector(service) } },
    })
}

/// Nobody comes in but the fleet itself, Prometheus, and what leads to the coordinator.
fn policies() -> Vec<Value> {
    let fleet = json!({ "app.kubernetes.io/part-of": "flotilla" });
    let mut ports: Vec<u16> = built().map(|service| service.port).collect();
    ports.sort_unstable();
    let ports: Vec<Value> = ports.into_iter().map(|port| json!({ "protocol": "TCP", "port": port })).collect();
    let coordinator = json!({ "app.kubernetes.io/name": format!("mcp-{COORDINATOR}") });
    let policy = |name: &str, spec: Value| json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": name }, "spec": spec });
    vec![
        policy("nobody-comes-in", json!({ "podSelector": {}, "policyTypes": ["Ingress"] })),
        policy(
            "the-fleet-among-itself",
            json!({
                "podSelector": { "matchLabels": fleet }, "policyTypes": ["Ingress"],
                "ingress": [{ "from": [{ "podSelector": { "matchLabels": fleet } }], "ports": ports.clone() }],
            }),
        ),
        policy(
            "prometheus",
            json!({
                "podSelector": { "matchLabels": fleet }, "policyTypes": ["Ingress"],
                "ingress": [{
                    "from": [{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app.kubernetes.io/name": "prometheus" } } }],
                    "ports": ports,
                }],
            }),
        ),
        policy(
            "to-the-coordinator",
            json!({
                "podSelector": { "matchLabels": coordinator }, "policyTypes": ["Ingress"],
                "ingress": [{
                    "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "ingress-nginx" } } }],
                    "ports": [{ "protocol": "TCP", "port": 4000 }, { "protocol": "TCP", "port": DASHBOARD_PORT }],
                }],
            }),
        ),
    ]
}
