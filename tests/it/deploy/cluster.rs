//! `deploy/kubernetes/cluster/cluster.yaml`: several routers, and the bus by which they find halves for each other.

use std::{fs, time::Duration};

use crate::helpers::{
    free_port,
    half::{Half, Router, says},
    nats::Nats,
    process::{Process, usual},
};
use jumpstarter_router::client::{Connector, Trust};
use serde_json::{Value, json};

use super::{
    CLUSTER, LAST_WORDS, clustered, declared,
    pod::{documents, duration, list, named, only, port, texts},
    probes, standalone,
};

const ROUTER: &str = "jumpstarter-router";
const BUS: &str = "jumpstarter-router-bus";
const SCALE: &str = include_str!("../../../docs/scale.md");

/// The routers' `config.toml` as it stands in the file.
fn config() -> toml::Table {
    let documents = documents(CLUSTER);
    let map = named(&documents, "ConfigMap", ROUTER);
    toml::from_str(map["data"]["config.toml"].as_str().unwrap()).unwrap()
}

/// The port of the only container called so.
fn bus_port(name: &str) -> u64 {
    let documents = documents(CLUSTER);
    let set = only(&documents, "StatefulSet");
    let containers = list(&set["spec"]["template"]["spec"]["containers"]);
    let mut ports = list(&containers[0]["ports"]).iter();
    let port = ports.find(|port| port["name"] == name);
    port.unwrap()["containerPort"].as_u64().unwrap()
}

/// Who may reach which ports of the pods of this name: the names of both, and "anybody".
fn allowed(name: &str) -> Vec<(String, String)> {
    let documents = documents(CLUSTER);
    let policy = &named(&documents, "NetworkPolicy", name)["spec"];
    assert_eq!(policy["podSelector"]["matchLabels"], labels(name));
    assert_eq!(texts(&policy["policyTypes"]), ["Ingress"]);
    let mut allowed = Vec::new();
    for rule in list(&policy["ingress"]) {
        let from = match list(&rule["from"]) {
            [] => "anybody",
            [one] => one["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
                .as_str()
                .unwrap(),
            more => panic!("{more:?}"),
        };
        for port in list(&rule["ports"]) {
            let port = port["port"].as_str().unwrap();
            allowed.push((port.to_owned(), from.to_owned()));
        }
    }
    allowed
}

fn labels(name: &str) -> Value {
    json!({ "app.kubernetes.io/name": name })
}

#[test]
fn the_router_takes_its_configuration() {
    let pod = clustered();
    let effective = pod.effective();
    // All that it sets arrives, so no key is misspelt and none is ignored.
    for (section, keys) in config() {
        for (key, value) in keys.as_table().unwrap() {
            let arrived = &effective[&section][key];
            let is_path = value.as_str().is_some_and(|text| text.starts_with("/etc/"));
            let equal = arrived == value
                || is_path && arrived.as_str().unwrap().ends_with(value.as_str().unwrap());
            assert!(equal, "{section}.{key}: {value}, and {arrived} arrived");
        }
    }
    probes(&pod, &effective, "livenessProbe", "/healthz");
    probes(&pod, &effective, "readinessProbe", "/readyz");
    for (name, section, key) in [
        ("grpc", "listen", "address"),
        ("health", "listen", "health_address"),
        ("metrics", "listen", "metrics_address"),
        ("cluster", "cluster", "address"),
    ] {
        let declared = declared(&pod, &json!(name));
        assert_eq!(declared, port(&effective, section, key), "{name}");
    }
    let drain = &effective["drain"];
    let stops = duration(&drain["lame_duck"]) + duration(&drain["timeout"]);
    assert!(pod.grace() >= stops + LAST_WORDS);
    // The bus does what a successor does; both together are warned of.
    assert!(drain.get("forward_to").is_none());
}

#[test]
fn several_routers_have_one_address_and_do_not_fall_together() {
    let documents = documents(CLUSTER);
    let deployment = &only(&documents, "Deployment")["spec"];
    assert_eq!(deployment["replicas"], 3);
    let strategy = json!({ "maxSurge": 1, "maxUnavailable": 0 });
    assert_eq!(deployment["strategy"]["rollingUpdate"], strategy);
    // A headless Service would be a name with an address for each.
    let service = &named(&documents, "Service", ROUTER)["spec"];
    assert!(service["clusterIP"].is_null());
    let [exposed] = list(&service["ports"]) else {
        panic!("one port")
    };
    assert_eq!(exposed["targetPort"], "grpc");
    let endpoint = &config()["listen"]["endpoint"];
    assert!(endpoint.as_str().unwrap().ends_with(":443"));
    assert_eq!(exposed["port"], 443);

    for (name, kind) in [(ROUTER, "Deployment"), (BUS, "StatefulSet")] {
        let owner = &named(&documents, kind, name)["spec"];
        let template = &owner["template"];
        assert_eq!(template["metadata"]["labels"], labels(name));
        assert_eq!(owner["selector"]["matchLabels"], labels(name));
        let service = &named(&documents, "Service", name)["spec"];
        assert_eq!(service["selector"], labels(name));
        let [spread] = list(&template["spec"]["topologySpreadConstraints"]) else {
            panic!("one constraint")
        };
        assert_eq!(spread["topologyKey"], "kubernetes.io/hostname");
        assert_eq!(spread["labelSelector"]["matchLabels"], labels(name));
        let budget = &named(&documents, "PodDisruptionBudget", name)["spec"];
        assert_eq!(budget["maxUnavailable"], 1);
        assert_eq!(budget["selector"]["matchLabels"], labels(name));
    }
}

#[test]
fn only_routers_reach_the_ports_between_routers() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(port, from)| ((*port).to_owned(), (*from).to_owned()))
            .collect()
    };
    let routers = [
        ("grpc", "anybody"),
        ("health", "anybody"),
        ("metrics", "anybody"),
        ("cluster", ROUTER),
    ];
    assert_eq!(allowed(ROUTER), pairs(&routers));
    assert_eq!(allowed(BUS), pairs(&[("client", ROUTER), ("routes", BUS)]));
    // A policy names them, so all must be declared, and there are no others.
    let pod = clustered();
    for (name, _) in routers {
        declared(&pod, &json!(name));
    }
    assert_eq!(list(&pod.container["ports"]).len(), routers.len());
    assert_eq!(
        declared(&pod, &json!("cluster")),
        port(&config(), "cluster", "address")
    );
}

#[test]
fn routers_and_servers_name_the_pods_that_there_are() {
    let documents = documents(CLUSTER);
    let set = only(&documents, "StatefulSet");
    let service = named(&documents, "Service", BUS);
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    // Else the pods would have no names of their own.
    assert_eq!(service["spec"]["clusterIP"], "None");
    let urls = |port: u64| -> Vec<String> {
        let replicas = set["spec"]["replicas"].as_u64().unwrap();
        (0..replicas)
            .map(|number| format!("nats://{BUS}-{number}.{BUS}:{port}"))
            .collect()
    };
    let servers = config()["cluster"]["servers"].clone();
    let servers: Vec<String> = servers.try_into().unwrap();
    assert_eq!(servers, urls(bus_port("client")));
    let map = named(&documents, "ConfigMap", BUS);
    let text = map["data"]["nats.conf"].as_str().unwrap();
    let lines = text.lines().map(str::trim);
    let routes: Vec<_> = lines.filter(|line| line.starts_with("nats://")).collect();
    assert_eq!(routes, urls(bus_port("routes")));
    for (key, port) in [("port", "client"), ("http", "monitor"), ("port", "routes")] {
        let line = format!("{key}: {}", bus_port(port));
        assert!(text.lines().any(|there| there.trim() == line), "{line}");
    }
    // No more than the routers' may be done, either.
    let spec = &set["spec"]["template"]["spec"];
    assert_eq!(
        spec["securityContext"],
        standalone().spec["securityContext"]
    );
    assert_eq!(
        list(&spec["containers"])[0]["securityContext"],
        standalone().container["securityContext"]
    );
    assert_eq!(spec["automountServiceAccountToken"], false);
}

/// Runs where `nats-server` is installed, and says so where it is not.
#[tokio::test]
async fn nats_lets_in_routers_with_their_credentials_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let documents = documents(CLUSTER);
    let map = named(&documents, "ConfigMap", BUS);
    let mut text = map["data"]["nats.conf"].as_str().unwrap().to_owned();
    for (from, to) in [
        ("http: 8222", format!("http: {}", free_port())),
        ("port: 6222", format!("port: {}", free_port())),
        ("$POD_NAME", "one".to_owned()),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let configuration = write("nats.conf", &text);
    // As the page has them.
    let between = |start: &str, end: &str| {
        let rest = &SCALE[SCALE.find(start).unwrap() + start.len()..];
        rest[..rest.find(end).unwrap()].replace("$password", "4f")
    };
    write("users.conf", &between("cat >users.conf <<END\n", "END\n"));
    assert!(SCALE.contains("printf 'router:%s' \"$password\" >credentials"));
    let credentials = write("credentials", "router:4f");
    let wrong = write("wrong", "router:50");
    let Some(bus) = Nats::start_on(free_port(), &["--config", &configuration]) else {
        return;
    };

    let start = |credentials: &str| {
        let settings = [
            ("listen.health_address", "127.0.0.1:0"),
            ("cluster.servers", &*bus.url()),
            ("cluster.address", "127.0.0.1:0"),
            ("cluster.credentials_file", credentials),
        ];
        let (router, address) = Router::serving(Process::start(usual(&settings)));
        let connector = Connector::new(&address, Trust::Insecure).unwrap();
        (router, connector)
    };
    let stranger = start(&wrong);
    let members = [start(&credentials), start(&credentials)];
    for (router, _) in &members {
        router.metric_is("cluster_bus_connected", 1).await;
    }
    assert_eq!(stranger.0.metric("cluster_bus_connected"), 0);
    // The user may do what routers do.
    let one = Half::open(&members[0].1, "apart", &[]).await;
    let other = Half::open(&members[1].1, "apart", &[]).await;
    let ((mut one, _channel), (mut other, _other)) = tokio::join!(one.met(), other.met());
    says(&mut one, &mut other, "there").await;
    says(&mut other, &mut one, "and back").await;
}

/// The file is the one for a single router, with what a cluster adds.
#[test]
fn updates_drain_as_those_of_one_router() {
    let drain = config()["drain"].clone();
    assert_eq!(clustered().grace(), standalone().grace());
    assert!(duration(&drain["lame_duck"]) >= Duration::from_secs(5));
    let alone = standalone().effective();
    assert_eq!(drain["timeout"], toml::Value::String("1h".into()));
    assert_eq!(
        duration(&alone["drain"]["timeout"]),
        duration(&drain["timeout"])
    );
}
