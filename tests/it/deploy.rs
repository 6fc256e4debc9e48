//! The files in `deploy/`, the image and the package, against the program. What others' tools say of them: `tests/deploy`.

mod cluster;
mod kustomize;
mod package;
mod pod;
mod systemd;
mod unit;

use std::time::Duration;

use crate::helpers::{KEY, process};
use jumpstarter_router::inside::cli::{
    args::{self, Command},
    health,
};
use pod::{Pod, documents, duration, effective, list, named, only, port, texts};
use serde_json::{Value, json};

const STANDALONE: &str = include_str!("../../deploy/kubernetes/standalone/standalone.yaml");
const SIDECAR: &str = include_str!("../../deploy/kubernetes/sidecar.yaml");
const OPERATOR: &str = include_str!("../../deploy/kubernetes/operator.yaml");
const CLUSTER: &str = include_str!("../../deploy/kubernetes/cluster/cluster.yaml");
const UNIT: &str = include_str!("../../deploy/systemd/jumpstarter-router.service");
const SOCKET: &str = include_str!("../../deploy/systemd/jumpstarter-router.socket");
const DOCKERFILE: &str = include_str!("../../Dockerfile");

/// What a drain takes beyond `drain.timeout`: those that are left are told, and connections are closed.
const LAST_WORDS: Duration = Duration::from_secs(3);

fn standalone() -> Pod {
    let documents = documents(STANDALONE);
    Pod::new(&documents, only(&documents, "Deployment"))
}

/// One of the pods of several routers.
fn clustered() -> Pod {
    let documents = documents(CLUSTER);
    Pod::new(&documents, only(&documents, "Deployment"))
}

fn sidecar() -> Pod {
    let documents = documents(SIDECAR);
    Pod::new(&documents, &documents[0])
}

/// The ports of the container by name.
fn declared(pod: &Pod, name: &Value) -> u64 {
    let ports = list(&pod.container["ports"]).iter();
    let mut named = ports.filter(|port| port["name"] == *name);
    let port = named
        .next()
        .unwrap_or_else(|| panic!("no port called {name}"));
    port["containerPort"].as_u64().unwrap()
}

/// Asks `path`, where the router answers it, and in time.
fn probes(pod: &Pod, config: &toml::Table, name: &str, path: &str) {
    let probe = &pod.container[name];
    let patience = Duration::from_secs(probe["timeoutSeconds"].as_u64().unwrap_or(1));
    let answered_at = port(config, "listen", "health_address");
    let exec = texts(&probe["exec"]["command"]);
    if exec.is_empty() {
        assert_eq!(probe["httpGet"]["path"], path, "{name}");
        assert_eq!(declared(pod, &probe["httpGet"]["port"]), answered_at);
        return;
    }
    assert_eq!(exec[0], "/router");
    let cli = args::parse(exec.iter().map(Into::into)).unwrap();
    let Some(Command::Health(args)) = cli.command else {
        panic!("{name} is no health command")
    };
    assert_eq!(args.live, path == "/healthz", "{name}");
    assert!(args.timeout < patience, "{name}");
    for address in health::addresses(&args, pod.env()).unwrap() {
        assert_eq!(u64::from(address.port()), answered_at, "{name}");
    }
}

#[test]
fn probes_and_ports_are_those_of_the_configuration() {
    let pod = standalone();
    let config = pod.effective();
    probes(&pod, &config, "livenessProbe", "/healthz");
    probes(&pod, &config, "readinessProbe", "/readyz");
    for (name, key) in [
        ("grpc", "address"),
        ("health", "health_address"),
        ("metrics", "metrics_address"),
    ] {
        assert_eq!(declared(&pod, &json!(name)), port(&config, "listen", key));
    }

    let pod = sidecar();
    let config = pod.effective();
    probes(&pod, &config, "startupProbe", "/readyz");
    probes(&pod, &config, "livenessProbe", "/healthz");
    probes(&pod, &config, "readinessProbe", "/readyz");
    for (name, key) in [
        ("router-grpc", "address"),
        ("router-metrics", "metrics_address"),
    ] {
        assert_eq!(declared(&pod, &json!(name)), port(&config, "listen", key));
    }
    // 8080 to 8082 are the controller's, in the same network namespace.
    for (key, value) in config["listen"].as_table().unwrap() {
        let address = value.as_str().filter(|_| key.ends_with("address"));
        for taken in [":8080", ":8081", ":8082"] {
            assert!(
                !address.is_some_and(|at| at.ends_with(taken)),
                "{key}: {value}"
            );
        }
    }
    let admin = list(&pod.container["env"])
        .iter()
        .find(|variable| variable["name"] == "JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS");
    assert_ne!(admin.unwrap()["value"], "127.0.0.1:8082");
}

#[test]
fn the_sidecar_has_the_controllers_keepalive_settings() {
    let config = sidecar().effective();
    let connections = &config["connections"];
    assert_eq!(duration(&connections["keepalive_interval"]).as_secs(), 10);
    assert_eq!(duration(&connections["keepalive_timeout"]).as_secs(), 180);
    // It must not need what the controller does not have.
    let map = list(&sidecar().spec["volumes"])
        .iter()
        .find(|volume| volume["configMap"].is_object())
        .cloned();
    assert_eq!(
        map.unwrap()["configMap"],
        json!({ "name": "jumpstarter-controller" })
    );
}

#[test]
fn pods_have_time_to_drain() {
    let stops = |config: &toml::Table| {
        let drain = &config["drain"];
        duration(&drain["lame_duck"]) + duration(&drain["timeout"])
    };
    let pod = standalone();
    let config = pod.effective();
    assert!(pod.grace() >= stops(&config) + LAST_WORDS);
    // Long enough for every node to learn that the pod leaves, and it learns of it by nothing else.
    assert!(duration(&config["drain"]["lame_duck"]) >= Duration::from_secs(5));
    assert!(pod.container["lifecycle"].is_null());

    // The controller goes first.
    let pod = sidecar();
    assert_eq!(pod.container["restartPolicy"], "Always");
    let drain = stops(&pod.effective());
    assert!(pod.grace() >= Duration::from_secs(10) + drain + LAST_WORDS);

    // The operator grants 30 seconds and says nothing of the drain.
    let mut operators = process::command();
    operators.arg("check").env("ROUTER_KEY", KEY);
    let drain = duration(&effective(operators)["drain"]["timeout"]);
    assert!(Duration::from_secs(30) >= drain + LAST_WORDS);
}

#[test]
fn updates_start_the_new_pod_first_and_reach_one_endpoint() {
    let documents = documents(STANDALONE);
    let deployment = &only(&documents, "Deployment")["spec"];
    assert_eq!(deployment["replicas"], 1);
    let strategy = json!({
        "type": "RollingUpdate",
        "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 },
    });
    assert_eq!(deployment["strategy"], strategy);

    let labels = &deployment["template"]["metadata"]["labels"];
    assert_eq!(deployment["selector"]["matchLabels"], *labels);
    let service = named(&documents, "Service", "jumpstarter-router");
    let (name, service) = (&service["metadata"]["name"], &service["spec"]);
    assert_eq!(service["selector"], *labels);
    let pod = standalone();
    let config = pod.effective();
    let [exposed] = list(&service["ports"]) else {
        panic!("one port")
    };
    let target = declared(&pod, &exposed["targetPort"]);
    assert_eq!(target, port(&config, "listen", "address"));
    let endpoint = config["listen"]["endpoint"].as_str().unwrap();
    assert!(endpoint.ends_with(&format!(":{}", exposed["port"])));
    // The old pod finds the new one there, which shows the same certificate.
    let successor = format!("{}:{}", name.as_str().unwrap(), exposed["port"]);
    assert_eq!(config["drain"]["forward_to"].as_str(), Some(&*successor));
    assert_eq!(config["drain"]["forward_insecure"].as_bool(), Some(false));
}

#[test]
fn pods_may_do_no_more_than_they_need() {
    for (name, pod) in [
        ("standalone", standalone()),
        ("sidecar", sidecar()),
        ("cluster", clustered()),
    ] {
        let own = &pod.container["securityContext"];
        assert_eq!(own["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(own["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(own["capabilities"], json!({ "drop": ["ALL"] }), "{name}");
        // The rest may be said of the whole pod.
        let shared = &pod.spec["securityContext"];
        let either = |key| {
            if own[key].is_null() {
                &shared[key]
            } else {
                &own[key]
            }
        };
        assert_eq!(*either("runAsNonRoot"), true, "{name}");
        assert_eq!(*either("runAsUser"), 65532, "{name}");
        assert_eq!(*either("runAsGroup"), 65532, "{name}");
        assert_eq!(either("seccompProfile")["type"], "RuntimeDefault", "{name}");
        assert!(
            pod.container["resources"]["limits"]["memory"].is_string(),
            "{name}"
        );

        // No token of Kubernetes: none at all, or another volume in its place.
        let token = "/var/run/secrets/kubernetes.io/serviceaccount";
        let mut mounts = list(&pod.container["volumeMounts"]).iter();
        let hidden = mounts.any(|mount| mount["mountPath"] == token);
        assert!(
            hidden || pod.spec["automountServiceAccountToken"] == false,
            "{name}"
        );
    }
}

#[test]
fn secrets_are_referenced_only() {
    for (name, text) in [
        ("standalone", STANDALONE),
        ("sidecar", SIDECAR),
        ("operator", OPERATOR),
        ("cluster", CLUSTER),
    ] {
        assert!(!text.contains("PRIVATE KEY"), "{name}");
        assert!(
            documents(text)
                .iter()
                .all(|document| document["kind"] != "Secret")
        );
    }
    for pod in [standalone(), sidecar(), clustered()] {
        for variable in list(&pod.container["env"]) {
            let name = variable["name"].as_str().unwrap();
            let holds_a_secret = ["ROUTER_KEY", "_AUTH_KEY", "_EXTRA_KEYS", "_TOKEN"]
                .iter()
                .any(|end| name.ends_with(end));
            assert!(!holds_a_secret || variable["value"].is_null(), "{name}");
        }
    }
}

#[test]
fn the_operator_is_given_the_same_image() {
    let documents = documents(OPERATOR);
    let resource = only(&documents, "Jumpstarter");
    assert_eq!(resource["apiVersion"], "operator.jumpstarter.dev/v1alpha1");
    let routers = &resource["spec"]["routers"];
    assert!(routers["resources"]["limits"]["memory"].is_string());
    // Two replicas with one address would be two halves that never meet.
    let address = &list(&routers["grpc"]["endpoints"])[0]["address"];
    assert!(address.as_str().unwrap().contains("$(replica)"));

    let image = routers["image"].as_str().unwrap();
    assert!(
        image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))),
        "{image}"
    );
    assert_eq!(standalone().container["image"], image);
    assert_eq!(sidecar().container["image"], image);
    assert_eq!(clustered().container["image"], image);
    assert!(OPERATOR.matches(image).count() == 2, "also in the comment");
}

#[test]
fn the_image_is_what_the_pods_expect() {
    let instruction = |name: &str| {
        let mut lines = DOCKERFILE
            .lines()
            .filter_map(|line| line.strip_prefix(name));
        lines
            .next_back()
            .unwrap_or_else(|| panic!("no {name}"))
            .trim()
    };
    assert_eq!(instruction("USER "), "65532:65532");
    // What the pods start is there under this name.
    assert_eq!(instruction("ENTRYPOINT "), "[\"/router\"]");
    assert!(DOCKERFILE.contains("ln -s usr/local/bin/jumpstarter-router /out/router"));
    assert!(DOCKERFILE.contains("COPY --from=builder /out/ /"));

    let mut check = process::command();
    check.args(["check", "-metrics-bind-address=:8080"]);
    let config = effective({
        check.env("ROUTER_KEY", KEY);
        check
    });
    let keys = ["address", "health_address", "metrics_address"];
    let ports = keys.map(|key| port(&config, "listen", key).to_string());
    assert_eq!(instruction("EXPOSE "), ports.join(" "));
}
