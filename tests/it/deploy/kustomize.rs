//! What is around the routers in Kubernetes: who may reach them, who asks for metrics, and how the files are put together.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{
    CLUSTER, STANDALONE, clustered, declared,
    pod::{Pod, documents, list, named, only, port, texts},
    standalone,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes");
const ROUTER: &str = "jumpstarter-router";

fn read(file: &str) -> Value {
    let text = fs::read_to_string(format!("{FOLDER}/{file}")).unwrap();
    only_one(&documents(&text)).clone()
}

fn only_one(documents: &[Value]) -> &Value {
    let [one] = documents else {
        panic!("{} documents", documents.len())
    };
    one
}

fn pods() -> [(&'static str, Pod); 2] {
    [(STANDALONE, standalone()), (CLUSTER, clustered())]
}

#[test]
fn prometheus_asks_each_pod_apart_from_what_peers_reach() {
    let monitor = read("monitoring/podmonitor.yaml");
    assert_eq!(monitor["kind"], "PodMonitor");
    for (file, pod) in pods() {
        let documents = documents(file);
        let deployment = only(&documents, "Deployment");
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let service = &named(&documents, "Service", "jumpstarter-router-metrics")["spec"];
        assert_eq!(service["selector"], *labels);
        assert_eq!(service["clusterIP"], "None");
        // A router that drains is not ready.
        assert_eq!(service["publishNotReadyAddresses"], true);
        let [exposed] = list(&service["ports"]) else {
            panic!("one port")
        };
        assert_eq!(exposed["name"], "metrics");
        let metrics = port(&pod.effective(), "listen", "metrics_address");
        assert_eq!(declared(&pod, &exposed["targetPort"]), metrics);
        assert_eq!(exposed["port"], metrics);
        // The one that may have a public address.
        let public = &named(&documents, "Service", ROUTER)["spec"]["ports"];
        assert_eq!(list(public).len(), 1);

        let spec = &monitor["spec"];
        assert_eq!(spec["selector"]["matchLabels"], *labels);
        let [endpoint] = list(&spec["podMetricsEndpoints"]) else {
            panic!("one endpoint")
        };
        assert_eq!(declared(&pod, &endpoint["port"]), metrics);
        // The alert for one of several that is gone counts by job.
        assert!(labels[spec["jobLabel"].as_str().unwrap()].is_string());
    }
}

#[test]
fn one_router_has_its_policies_too() {
    let documents = documents(STANDALONE);
    let labels = json!({ "app.kubernetes.io/name": ROUTER });
    let budget = &named(&documents, "PodDisruptionBudget", ROUTER)["spec"];
    assert_eq!(budget["selector"]["matchLabels"], labels);
    // Anything else would hold up the drain of its node for ever.
    assert_eq!(budget["maxUnavailable"], 1);
    let policy = &named(&documents, "NetworkPolicy", ROUTER)["spec"];
    assert_eq!(policy["podSelector"]["matchLabels"], labels);
    assert_eq!(texts(&policy["policyTypes"]), ["Ingress"]);
    let [rule] = list(&policy["ingress"]) else {
        panic!("one rule")
    };
    assert!(rule["from"].is_null());
    let named = |ports: &Value, key: &str| -> BTreeSet<String> {
        let names = list(ports)
            .iter()
            .map(|port| port[key].as_str().unwrap().to_owned());
        names.collect()
    };
    let pod = standalone();
    assert_eq!(
        named(&rule["ports"], "port"),
        named(&pod.container["ports"], "name")
    );
    // The page of administrators is not among them.
    assert!(!named(&rule["ports"], "port").contains("admin"));
}

/// `tests/deploy` builds them, too, where kubectl is.
#[test]
fn kustomizations_name_what_there_is() {
    for folder in [".", "standalone", "cluster", "monitoring"] {
        let file = format!("{folder}/kustomization.yaml");
        let text = fs::read_to_string(format!("{FOLDER}/{file}")).unwrap();
        let kustomization = read(&file);
        let kind = if folder == "monitoring" {
            "Component"
        } else {
            "Kustomization"
        };
        assert_eq!(kustomization["kind"], kind, "{file}");
        let resources = texts(&kustomization["resources"]);
        assert!(!resources.is_empty(), "{file}");
        for resource in resources {
            let path = Path::new(FOLDER).join(folder).join(resource);
            assert!(path.exists(), "{file}: {resource}");
        }
        for image in list(&kustomization["images"]) {
            let image = format!(
                "{}:{}",
                image["name"].as_str().unwrap(),
                image["newTag"].as_str().unwrap()
            );
            assert_eq!(standalone().container["image"], image);
        }
        assert_eq!(text.contains("#   - monitoring"), folder == ".", "{file}");
    }
}

/// The configuration in the example is that of the file it replaces, but for comments.
#[test]
fn the_example_replaces_the_configuration_by_as_good_a_one() {
    let kustomization = read("kustomization.yaml");
    let patch = kustomization["patches"][0]["patch"].as_str().unwrap();
    let patch: Value = serde_saphyr::from_str(patch).unwrap();
    assert_eq!(patch[0]["path"], "/data/config.toml");
    let parsed = |text: &str| -> toml::Table { toml::from_str(text).unwrap() };
    let documents = documents(STANDALONE);
    let there = named(&documents, "ConfigMap", ROUTER)["data"]["config.toml"].as_str();
    assert_eq!(
        parsed(patch[0]["value"].as_str().unwrap()),
        parsed(there.unwrap())
    );
}
