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
    ControllerConfig::parse(text, Path::new("client.yaml"), Role::Client)
        .map_err(|error| error.to_string())
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
    assert_eq!(with_port("[::1]"), "[::1]:443");
    assert_eq!(with_port("[::1]:1"), "[::1]:1");
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
        (String::new(), &["client.yaml: \"metadata\" is missing"]),
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
