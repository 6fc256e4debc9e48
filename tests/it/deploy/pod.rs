//! A pod, as far as the router's container can tell: its environment, its arguments and its files.

use std::{
    ffi::OsString,
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::helpers::{Certificate, KEY, process};

/// What the operator writes into the controller's `ConfigMap`, as far as it has keepalive settings.
const CONTROLLERS: &str = "\
grpc:
  keepalive:
    intervalTime: 10s
    minTime: 1s
    permitWithoutStream: true
    timeout: 3m0s
provisioning:
  enabled: false
";

pub fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

/// The only document of this kind.
pub fn only<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let mut found = documents.iter().filter(|document| document["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    one
}

/// The document of this kind and name.
pub fn named<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut all = documents.iter();
    let found = all.find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn texts(value: &Value) -> Vec<&str> {
    let texts = list(value).iter();
    texts.map(|text| text.as_str().unwrap()).collect()
}

pub struct Pod {
    /// The pod's part of the file.
    pub spec: Value,
    /// The router's part of that.
    pub container: Value,
    /// The root of its file system.
    root: tempfile::TempDir,
}

impl Pod {
    /// `owner` is what makes pods by its template; a `ConfigMap` is looked for in `documents`.
    pub fn new(documents: &[Value], owner: &Value) -> Self {
        let spec = owner["spec"]["template"]["spec"].clone();
        let mut all = list(&spec["containers"])
            .iter()
            .chain(list(&spec["initContainers"]));
        let container = all.find(|one| one["name"] == "router");
        let container = container.expect("a container called router").clone();
        let root = tempfile::tempdir().unwrap();
        let pod = Self {
            spec,
            container,
            root,
        };
        pod.mount(documents);
        pod
    }

    fn mount(&self, documents: &[Value]) {
        for mount in list(&self.container["volumeMounts"]) {
            assert_eq!(mount["readOnly"], true, "{mount}");
            let directory = self.inside(mount["mountPath"].as_str().unwrap());
            fs::create_dir_all(&directory).unwrap();
            let volumes = list(&self.spec["volumes"]).iter();
            let mut found = volumes.filter(|volume| volume["name"] == mount["name"]);
            let volume = found
                .next()
                .unwrap_or_else(|| panic!("no volume for {mount}"));
            let map = volume["configMap"]["name"].as_str();
            if map == Some("jumpstarter-controller") {
                fs::write(format!("{directory}/config"), CONTROLLERS).unwrap();
            } else if let Some(name) = map {
                let map = named(documents, "ConfigMap", name);
                for (file, text) in map["data"].as_object().unwrap() {
                    // Paths of the container stand in it, too.
                    let text = text
                        .as_str()
                        .unwrap()
                        .replace("\"/etc/", &format!("\"{}/etc/", self.root.path().display()));
                    fs::write(format!("{directory}/{file}"), text).unwrap();
                }
            } else if let Some(name) = volume["secret"]["secretName"].as_str() {
                if name.ends_with("-tls") {
                    let pair = Certificate::new();
                    fs::copy(pair.certificate(), format!("{directory}/tls.crt")).unwrap();
                    fs::copy(pair.key(), format!("{directory}/tls.key")).unwrap();
                } else if name.ends_with("-bus") {
                    fs::write(format!("{directory}/credentials"), "router:secret").unwrap();
                } else {
                    fs::write(format!("{directory}/2025-01"), KEY).unwrap();
                }
            } else {
                assert!(volume["emptyDir"].is_object(), "{volume}");
            }
        }
    }

    /// Where a path of the container is.
    fn inside(&self, path: &str) -> String {
        format!("{}{path}", self.root.path().display())
    }

    fn moved(&self, text: &str) -> String {
        let mounts = list(&self.container["volumeMounts"]).iter();
        let mut mounts = mounts.filter_map(|mount| mount["mountPath"].as_str());
        if mounts.any(|path| text.starts_with(path)) {
            return self.inside(text);
        }
        text.to_owned()
    }

    pub fn env(&self) -> Vec<(String, OsString)> {
        let mut env = Vec::new();
        for variable in list(&self.container["env"]) {
            let name = variable["name"].as_str().unwrap();
            let value = variable["value"].as_str();
            if value.is_none() {
                let secret = &variable["valueFrom"]["secretKeyRef"];
                assert_eq!(secret["name"], "jumpstarter-router-secret", "{variable}");
            }
            let value = value.map_or_else(|| KEY.to_owned(), |value| self.moved(value));
            env.push((name.to_owned(), value.into()));
        }
        env
    }

    /// The configuration that the container runs with, as the program itself reports it.
    pub fn effective(&self) -> toml::Table {
        assert_eq!(texts(&self.container["command"]), ["/router"]);
        let args = texts(&self.container["args"]);
        let args = args.strip_prefix(&["serve"]).unwrap_or(&args);
        let mut command = process::command();
        command.envs(self.env()).arg("check");
        command.args(args.iter().map(|arg| self.moved(arg)));
        effective(command)
    }

    /// When the pod is killed after it was told to stop.
    pub fn grace(&self) -> Duration {
        let seconds = self.spec["terminationGracePeriodSeconds"].as_u64();
        Duration::from_secs(seconds.unwrap_or(30))
    }
}

/// What `check` prints, which must be content.
pub fn effective(mut check: Command) -> toml::Table {
    let ended = check.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{said}");
    toml::from_str(str::from_utf8(&ended.stdout).unwrap()).unwrap()
}

/// The port in a value such as `":8083"`.
pub fn port(config: &toml::Table, section: &str, key: &str) -> u64 {
    let address = config[section][key].as_str().unwrap();
    address.rsplit(':').next().unwrap().parse().unwrap()
}

pub fn duration(text: &toml::Value) -> Duration {
    humantime::parse_duration(text.as_str().unwrap()).unwrap()
}
