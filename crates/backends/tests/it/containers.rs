//! What runs containers, as its documentation says it speaks: each request is looked at whole, and each refusal is told of.

mod fake;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backends::containers::{Config, open};
use kernel::fleet::{Containers, Kind};
use kernel::{Clock, Code, Fault};
use serde_json::json;
use tempfile::TempDir;

use crate::kit::{START_MS, soon};
use fake::{Fake, Said};

fn docker(fake: &Fake) -> Arc<dyn Containers> {
    let config = Config { docker: Some(fake.address.clone()), ..Config::default() };
    open(&config, Clock::manual(START_MS)).unwrap().unwrap()
}

/// A container as the engine lists it.
fn listed(id: &str, service: &str, number: u32, state: &str) -> serde_json::Value {
    let labels = json!({
        "com.docker.compose.project": "mcp", "com.docker.compose.service": service,
        "com.docker.compose.container-number": number.to_string(), "com.docker.compose.oneoff": "False",
    });
    json!({ "Id": id, "Names": [format!("/mcp-{service}-{number}")], "State": state, "Status": "Up", "Labels": labels })
}

/// An engine with three copies of `execution`, of which one does not run, that does not look at filters. `POST`s are answered as told.
fn engine(posts: impl Fn(&str) -> Said + Send + 'static) -> impl Fn(&str) -> Said + Send + 'static {
    move |request| match request {
        "GET /_ping" => Some((200, "Api-Version: 1.47\r\n", "OK".into())),
        list if list.starts_with("GET /v1.47/containers/json?") => {
            let all = [
                listed("c3", "mcp-execution", 3, "exited"),
                listed("c2", "mcp-execution", 2, "running"),
                listed("99", "postgres", 1, "running"),
                listed("c1", "mcp-execution", 1, "running"),
            ];
            Some((200, "Content-Type: application/json\r\n", json!(all).to_string()))
        }
        other => posts(other),
    }
}

const LIST: &str = "GET /v1.47/containers/json?all=true&filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3Dmcp%22%2C\
    %22com.docker.compose.service%3Dmcp-execution%22%2C%22com.docker.compose.oneoff%3DFalse%22%5D%7D";

fn done() -> Said {
    Some((204, "", String::new()))
}

fn said(status: u16, message: &str) -> Said {
    Some((status, "", json!({ "message": message }).to_string()))
}

#[tokio::test]
async fn docker_starts_a_services_copies_anew_and_nothing_else() {
    let fake = Fake::start(engine(|_| done()));
    soon(docker(&fake).restart(Kind::Server, "execution")).await.unwrap();
    let anew = ["c1", "c2"].map(|id| format!("POST /v1.47/containers/{id}/restart?t=30"));
    assert_eq!(fake.asked(), ["GET /_ping", LIST, &anew[0], &anew[1]]);
    let none = soon(docker(&fake).restart(Kind::Agent, "execution")).await.unwrap_err();
    assert_eq!(none.code, Code::NotFound);
    assert!(none.message.ends_with("no container of agent-execution in the project mcp"), "{none}");
}

#[tokio::test]
async fn docker_has_as_many_copies_run_as_there_are_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::on_socket(folder.path(), engine(|_| Some((304, "", String::new()))));
    let scaled = async |replicas: u32| {
        soon(docker(&fake).scale("execution", replicas)).await?;
        let asked = fake.asked();
        assert_eq!(asked[..2], ["GET /_ping", LIST]);
        Ok::<_, Fault>(asked[2..].to_vec())
    };
    let of = |id: &str, what: &str| format!("POST /v1.47/containers/{id}/{what}");
    assert_eq!(scaled(2).await.unwrap(), [""; 0]);
    assert_eq!(scaled(1).await.unwrap(), [of("c2", "stop?t=30")]);
    assert_eq!(scaled(0).await.unwrap(), [of("c2", "stop?t=30"), of("c1", "stop?t=30")]);
    assert_eq!(scaled(3).await.unwrap(), [of("c3", "start")]);
    let more = scaled(4).await.unwrap_err();
    assert_eq!(more.code, Code::Unsupported);
    assert!(more.hint.unwrap().contains("--scale mcp-execution=4"));
    assert_eq!(fake.asked().len(), 2, "nothing was done");
}

#[tokio::test]
async fn what_docker_refuses_is_told_of() {
    for (answer, code, part) in [
        (said(404, "No such container: c1"), Code::NotFound, "404 (No such container: c1)"),
        (said(409, "removal in progress"), Code::Conflict, "409 (removal in progress)"),
        (said(500, "cannot stop container"), Code::Unavailable, "500 (cannot stop container)"),
        (Some((403, "", "<html>Forbidden".into())), Code::NotConfigured, "does not let us"),
    ] {
        let fake = Fake::start(engine(move |_| answer.clone()));
        let fault = soon(docker(&fake).restart(Kind::Server, "execution")).await.unwrap_err();
        assert!(fault.code == code && fault.message.contains(part) && fault.hint.is_some() == (code != Code::NotFound));
        assert!(fault.message.starts_with("Docker at 127.0.0.1:"), "{fault}");
        assert_eq!(fake.asked().len(), 3, "what follows is left as it is");
    }
    for (ping, list, code, part) in [
        (Some((200, "Api-Version: 1.24\r\n", "OK".into())), None, Code::Unsupported, "version `1.24`"),
        (Some((200, "", "OK".into())), None, Code::Unsupported, "version ``"),
        (Some((403, "", "no".into())), None, Code::NotConfigured, "does not let us"),
        (Some((200, "Api-Version: 1.47\r\n", "OK".into())), Some("[{"), Code::Unavailable, "cannot be read"),
        (Some((200, "Api-Version: 1.47\r\n", "OK".into())), Some("[]"), Code::NotFound, "no container"),
    ] {
        let (ping, list): (Said, Option<&str>) = (ping, list);
        let fake = Fake::start(move |request| match request {
            "GET /_ping" => ping.clone(),
            _ => Some((200, "", list.unwrap().into())),
        });
        let fault = soon(docker(&fake).scale("execution", 1)).await.unwrap_err();
        assert!(fault.code == code && fault.message.contains(part), "{fault}");
    }
    // Nobody there.
    let folder = tempfile::tempdir().unwrap();
    let nobody = Config { docker: Some(format!("unix://{}/none.sock", folder.path().display())), ..Config::default() };
    let nobody = open(&nobody, Clock::manual(START_MS)).unwrap().unwrap();
    let fault = nobody.restart(Kind::Server, "execution").await.unwrap_err();
    assert!(fault.code == Code::Unavailable && fault.message.contains("cannot be reached"), "{fault}");
}

/// How something ends that is not answered once it is asked: time passes only then.
async fn unanswered<T>(fake: &Fake, work: impl Future<Output = Result<T, Fault>>) -> Option<Fault> {
    let passing = async {
        fake.left.notified().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(60)).await;
    };
    let (ended, ()) = tokio::join!(work, passing);
    tokio::time::resume();
    ended.err()
}

#[tokio::test]
async fn who_never_answers_is_not_waited_for() {
    let fake = Fake::start(engine(|_| None));
    let fault = unanswered(&fake, docker(&fake).restart(Kind::Server, "execution")).await.unwrap();
    assert!(fault.code == Code::Timeout && fault.message.contains("no answer within 45 s"), "{fault}");
    let account = Account::new();
    let fake = Fake::start(|_| None);
    let fault = unanswered(&fake, account.kubernetes(&fake).scale("execution", 1)).await.unwrap();
    assert!(fault.code == Code::Timeout && fault.message.contains("no answer within 15 s"), "{fault}");
}

/// What a pod is given.
struct Account(TempDir);

impl Account {
    fn new() -> Self {
        let account = Self(tempfile::tempdir().unwrap());
        account.has("token", "first\n");
        account.has("namespace", "flotilla");
        account
    }

    fn has(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn config(&self, address: &str) -> Config {
        Config { kubernetes: Some(address.into()), account: self.0.path().into(), ..Config::default() }
    }

    fn kubernetes(&self, fake: &Fake) -> Arc<dyn Containers> {
        open(&self.config(&fake.address), Clock::manual(START_MS)).unwrap().unwrap()
    }
}

#[tokio::test]
async fn kubernetes_rolls_a_deployment_out_anew_with_the_token_of_the_moment() {
    let account = Account::new();
    let fake = Fake::over_tls(&account.0, |_| Some((200, "", "{}".into())));
    let kubernetes = account.kubernetes(&fake);
    soon(kubernetes.restart(Kind::Server, "execution")).await.unwrap();
    account.has("token", "second");
    soon(kubernetes.restart(Kind::Agent, "risk")).await.unwrap();
    let rolled = |name: &str, token: &str| {
        let body = r#"{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-11-15T08:00:00.000Z"}}}}}"#;
        format!(
            "PATCH /apis/apps/v1/namespaces/flotilla/deployments/{name}?fieldManager=flotilla | Bearer {token} | \
             application/strategic-merge-patch+json | {body}"
        )
    };
    assert_eq!(fake.asked(), [rolled("mcp-execution", "first"), rolled("agent-risk", "second")]);
    // One that another vouches for is told nothing.
    let other = Fake::over_tls(&Account::new().0, |_| Some((200, "", "{}".into())));
    let fault = soon(account.kubernetes(&other).restart(Kind::Server, "execution")).await.unwrap_err();
    assert!(fault.code == Code::Unavailable && fault.message.contains("cannot be reached"), "{fault}");
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn kubernetes_scales_a_deployment_and_what_its_scaler_keeps_to() {
    const SCALER: &str = "/apis/autoscaling/v2/namespaces/flotilla/horizontalpodautoscalers/mcp-execution";
    let account = Account::new();
    let fake = Fake::start(|request| match request.starts_with("GET") {
        true => Some((200, "", json!({ "spec": { "minReplicas": 1, "maxReplicas": 5 } }).to_string())),
        false => Some((200, "", "{}".into())),
    });
    let merge = |path: &str, body: &str| {
        format!("PATCH {path}?fieldManager=flotilla | Bearer first | application/merge-patch+json | {body}")
    };
    for (replicas, least, most) in [(3, 3, 5), (8, 8, 8), (0, 1, 5)] {
        soon(account.kubernetes(&fake).scale("execution", replicas)).await.unwrap();
        let bounds = format!(r#"{{"spec":{{"minReplicas":{least},"maxReplicas":{most}}}}}"#);
        let scale = "/apis/apps/v1/namespaces/flotilla/deployments/mcp-execution/scale";
        assert_eq!(
            fake.asked(),
            [
                format!("GET {SCALER} | Bearer first"),
                merge(SCALER, &bounds),
                merge(scale, &format!(r#"{{"spec":{{"replicas":{replicas}}}}}"#)),
            ]
        );
    }
    // Without a scaler there is nothing to widen.
    let fake = Fake::start(|request| match request.starts_with("GET") {
        true => said(404, "not found"),
        false => Some((200, "", "{}".into())),
    });
    soon(account.kubernetes(&fake).scale("execution", 2)).await.unwrap();
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn what_kubernetes_refuses_is_told_of_without_the_token() {
    let account = Account::new();
    for (status, code) in [
        (404, Code::NotFound),
        (409, Code::Conflict),
        (401, Code::NotConfigured),
        (403, Code::NotConfigured),
        (500, Code::Unavailable),
        (503, Code::Unavailable),
    ] {
        let fake = Fake::start(move |_| said(status, "deployments.apps is what it is about"));
        let fault = soon(account.kubernetes(&fake).restart(Kind::Server, "execution")).await.unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains("mcp-execution") && fault.message.contains("deployments.apps"), "{fault}");
        assert!(!format!("{fault:?}").contains("first"), "{fault:?}");
    }
    std::fs::remove_file(account.0.path().join("token")).unwrap();
    let fake = Fake::start(|_| Some((200, "", "{}".into())));
    let fault = soon(account.kubernetes(&fake).restart(Kind::Server, "execution")).await.unwrap_err();
    assert!(fault.code == Code::NotConfigured && fake.asked().is_empty(), "{fault}");
}

#[test]
fn what_cannot_be_asked_is_refused_at_the_start() {
    let account = Account::new();
    let clock = Clock::manual(START_MS);
    let of_docker = |address: &str| Config { docker: Some(address.into()), ..Config::default() };
    let both = Config { docker: Some("http://docker-proxy:2375".into()), ..account.config("https://kubernetes") };
    for (config, code) in [
        (of_docker("docker-proxy:2375"), Code::InvalidArgument),
        (of_docker("http://docker-proxy:2375/v1.40"), Code::InvalidArgument),
        (of_docker("https://docker-proxy:2376"), Code::InvalidArgument),
        (of_docker("http://user:pass@docker-proxy:2375"), Code::InvalidArgument),
        (both, Code::InvalidArgument),
        // A token in clear goes to this machine only.
        (account.config("http://kubernetes.default.svc"), Code::InvalidArgument),
        // Its certificates are not there.
        (account.config("https://kubernetes.default.svc"), Code::NotConfigured),
        (Config { account: "/none".into(), ..account.config("https://kubernetes") }, Code::NotConfigured),
    ] {
        let fault = open(&config, clock.clone()).err().unwrap();
        assert!(fault.code == code && fault.hint.is_some(), "{config:?}: {fault}");
    }
    assert!(open(&Config::default(), clock.clone()).unwrap().is_none());
    assert!(open(&of_docker(""), clock).unwrap().is_none(), "a variable that is not set says nothing");
}
