#![allow(clippy::unwrap_used)]
use super::*;

const GOOD: &str = "
apiVersion: jumpstarter.dev/v1alpha1
kind: ClientConfig
metadata: {namespace: default, name: cli1}
endpoint: controller.example.com:8082
tls: {ca: '', insecure: true}
token: sesame
drivers: {allow: [], unsafe: true}
grpcOptions: {grpc.default_compression_algorithm: 2}
";

fn parse(text: &str) -> Result<ControllerConfig, String> {
    parse_with(text, Role::Client, &[])
}

fn parse_with(text: &str, role: Role, env: &[(&str, &str)]) -> Result<ControllerConfig, String> {
    let path = Path::new("client.yaml");
    let config = yaml(text, path)
        .and_then(|document| Source::File(path).config(document, role, Variables(&variables(env))));
    config.map_err(|error| error.to_string())
}

fn variables(env: &[(&str, &str)]) -> Vec<(String, OsString)> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.into());
    env.iter().map(owned).collect()
}

#[test]
fn a_stock_client_configuration() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.endpoint, "controller.example.com:8082");
    assert_eq!((&*config.namespace, &*config.name), ("default", "cli1"));
    assert_eq!(config.token.as_str(), "sesame");
    assert!(matches!(config.trust, Trust::Insecure));
    assert!(
        !format!("{config:?}").contains("sesame"),
        "a token is not shown"
    );
}

#[test]
fn the_usual_port_and_the_systems_certificates_are_the_default() {
    let short = GOOD
        .replace(":8082", "")
        .replace("tls: {ca: '', insecure: true}\n", "");
    let config = parse(&short).unwrap();
    assert_eq!(config.endpoint, "controller.example.com:443");
    assert!(matches!(config.trust, Trust::System));
    assert_eq!(document::with_port("[::1]"), "[::1]:443");
    assert_eq!(document::with_port("[::1]:1"), "[::1]:1");
}

#[test]
fn what_is_wrong_is_named() {
    let ca = |text: &str| GOOD.replace("{ca: '', insecure: true}", &format!("{{ca: {text}}}"));
    for (text, parts) in [
        (
            GOOD.replace("token: sesame\n", ""),
            &["client.yaml", "\"token\" is missing"][..],
        ),
        (
            GOOD.replace("token: sesame", "token: ''"),
            &["\"token\" is missing"],
        ),
        (
            GOOD.replace("endpoint:", "end:"),
            &["\"endpoint\" is missing"],
        ),
        (
            GOOD.replace(", name: cli1", ""),
            &["\"metadata.name\" is missing"],
        ),
        (
            GOOD.replace("ClientConfig", "ExporterConfig"),
            &["kind is \"ExporterConfig\"", "expected \"ClientConfig\""],
        ),
        (GOOD.replace("v1alpha1", "v9"), &["apiVersion", "v9"]),
        (ca("'?'"), &["tls.ca", "base64"]),
        (ca("aGVsbG8="), &["tls.ca", "certificate"]),
        (
            GOOD.replace("metadata: {", "metadata: ["),
            &["client.yaml is no configuration file"],
        ),
        (
            GOOD.replace("insecure: true", "insecure: perhaps"),
            &["client.yaml is no configuration file"],
        ),
        (
            "\0\u{7}".to_owned(),
            &["client.yaml is no configuration file"],
        ),
        (
            String::new(),
            &["client.yaml: \"metadata.name\" is missing"],
        ),
    ] {
        let error = parse(&text).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{part:?} in {error:?}");
        }
        assert!(
            !error.contains("sesame") && !error.contains('\n'),
            "{error:?}"
        );
    }
}

#[test]
fn files_are_found_by_name() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join(".config/jumpstarter");
    fs::create_dir_all(directory.join("clients")).unwrap();
    fs::write(directory.join("clients/lab.yaml"), GOOD).unwrap();
    let mut env = vec![("HOME".to_owned(), OsString::from(home.path()))];
    let find = |name, env: &[_]| {
        let found = ControllerConfig::find(name, Role::Client, env);
        found
            .map(|config| config.name)
            .map_err(|error| error.to_string())
    };
    assert_eq!(find(Some("lab"), &env).unwrap(), "cli1");
    assert!(
        find(Some("other"), &env)
            .unwrap_err()
            .contains("clients/other.yaml")
    );
    assert!(
        find(Some("../lab"), &env)
            .unwrap_err()
            .contains("--client-config")
    );
    assert!(find(None, &env).unwrap_err().contains("config.yaml"));
    let user =
        "apiVersion: jumpstarter.dev/v1alpha1\nkind: UserConfig\nconfig: {current-client: lab}\n";
    fs::write(directory.join("config.yaml"), user).unwrap();
    assert_eq!(find(None, &env).unwrap(), "cli1");
    env.push(("JMP_CLIENT_CONFIG_HOME".to_owned(), "/nowhere".into()));
    assert!(find(Some("lab"), &env).unwrap_err().contains("/nowhere"));
}

const NAMED: [(&str, &str); 4] = [
    ("JMP_NAMESPACE", "ns"),
    ("JMP_NAME", "me"),
    ("JMP_ENDPOINT", "there:1"),
    ("JMP_TOKEN", "secret"),
];

fn parts(config: &ControllerConfig) -> [&str; 4] {
    let token = config.token.as_str();
    [&config.namespace, &config.name, &config.endpoint, token]
}

/// What stock clients and exporters of version 0.9.0 did with each.
#[test]
fn what_a_file_leaves_open_is_in_the_environment() {
    let full = "metadata: {namespace: fns, name: fn}\nendpoint: f:1\ntoken: ft\n";
    for (text, expected) in [
        (full.to_owned(), ["fns", "fn", "f:1", "ft"]),
        (
            full.replace("token: ft\n", ""),
            ["fns", "fn", "f:1", "secret"],
        ),
        (
            full.replace("endpoint: f:1\n", ""),
            ["fns", "fn", "there:1", "ft"],
        ),
        (
            full.replace("namespace: fns, ", ""),
            ["ns", "fn", "f:1", "ft"],
        ),
        (
            full.replace("metadata: {namespace: fns, name: fn}\n", ""),
            ["ns", "me", "f:1", "ft"],
        ),
    ] {
        let config = parse_with(&text, Role::Client, &NAMED).unwrap();
        assert_eq!(parts(&config), expected, "{text}");
    }
    let exporter = |text: &str| parse_with(text, Role::Exporter, &NAMED);
    let named = exporter(&full.replace("namespace: fns, ", "")).unwrap();
    assert_eq!(parts(&named), ["ns", "fn", "f:1", "ft"]);
    for (gone, missing) in [
        ("token: ft\n", "token"),
        ("endpoint: f:1\n", "endpoint"),
        ("metadata: {namespace: fns, name: fn}\n", "metadata"),
    ] {
        let error = exporter(&full.replace(gone, "")).unwrap_err();
        assert!(
            error.contains(&format!("{missing:?} is missing")),
            "{error}"
        );
    }
    let insecure = |name, role| parse_with(full, role, &[(name, "1")]).unwrap().trust;
    for role in [Role::Client, Role::Exporter] {
        for name in ["JMP_GRPC_INSECURE", "JUMPSTARTER_GRPC_INSECURE"] {
            assert!(matches!(insecure(name, role), Trust::Insecure), "{name}");
        }
    }
    let not = parse_with(full, Role::Client, &[("JMP_GRPC_INSECURE", "true")]).unwrap();
    assert!(matches!(not.trust, Trust::System));
    let json = parse_with(full, Role::Client, &[("JMP_TLS", r#"{"insecure": true}"#)]).unwrap();
    assert!(matches!(json.trust, Trust::Insecure));
}

#[test]
fn a_client_may_be_in_the_environment_alone() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("clients")).unwrap();
    fs::write(home.path().join("clients/lab.yaml"), GOOD).unwrap();
    fs::write(
        home.path().join("config.yaml"),
        "config: {current-client: lab}\n",
    )
    .unwrap();
    let place = home.path().to_str().unwrap();
    let find = |name, role, env: &[(&str, &str)]| {
        let mut env = env.to_vec();
        env.push(("JMP_CLIENT_CONFIG_HOME", place));
        ControllerConfig::find(name, role, &variables(&env)).map_err(|error| error.to_string())
    };
    let found = find(None, Role::Client, &NAMED).unwrap();
    assert_eq!(parts(&found), ["ns", "me", "there:1", "secret"]);
    let small = [
        ("jmp_namespace", "ns"),
        ("Jmp_Name", "me"),
        ("jmp_endpoint", "there"),
        ("JMP_TOKEN", "secret"),
    ];
    let found = find(None, Role::Client, &small).unwrap();
    assert_eq!(parts(&found), ["ns", "me", "there:443", "secret"]);
    let metadata = [
        ("JMP_METADATA", r#"{"namespace":"a","name":"b"}"#),
        NAMED[0],
        NAMED[1],
        NAMED[2],
        NAMED[3],
    ];
    assert_eq!(
        parts(&find(None, Role::Client, &metadata).unwrap())[..2],
        ["a", "b"]
    );
    // Half a name is none, and one that is asked for comes first.
    for (name, env) in [(None, &NAMED[1..]), (None, &[]), (Some("lab"), &NAMED)] {
        let config = find(name, Role::Client, env).unwrap();
        assert_eq!(config.name, "cli1", "{name:?} {env:?}");
    }
    let error = find(None, Role::Client, &NAMED[..3]).unwrap_err();
    assert!(
        error.contains("JMP_TOKEN is missing; set it, or name another with --client NAME"),
        "{error}"
    );
    // Stock exporters have no such thing.
    assert!(find(None, Role::Exporter, &NAMED).is_err());
}

#[test]
fn options_of_grpc_that_lead_somewhere_else_are_read() {
    let with = |options: &str, env: &[_]| {
        let text = GOOD.replace("{grpc.default_compression_algorithm: 2}", options);
        parse_with(&text, Role::Client, env).unwrap()
    };
    let named = with("{grpc.ssl_target_name_override: router.test}", &[]);
    assert_eq!(named.server_name.as_deref(), Some("router.test"));
    let route = |config: ControllerConfig| config.proxies.route("controller.test:1").to_string();
    let env = [("https_proxy", "http://p.test:1")];
    assert_eq!(
        route(with("{}", &env)),
        "through the proxy p.test:1 of https_proxy"
    );
    assert_eq!(
        route(with("{grpc.enable_http_proxy: 0}", &env)),
        "directly: no proxy is named (grpc_proxy, https_proxy, http_proxy)"
    );
    let option = with("{grpc.http_proxy: 'http://q.test:1'}", &env);
    assert_eq!(
        route(option),
        "through the proxy q.test:1 of grpc.http_proxy"
    );
}
