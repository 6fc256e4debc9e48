//! Configuration as a user meets it: the example file, precedence, upstream's names and `check`.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jumpstarter_router::cli::args::{Command, GoFlags, go_flags, parse};
use jumpstarter_router::cli::check;
use jumpstarter_router::config::{
    self, Config, Loaded, Origin, Override, Problems, Secret, Sources, find, keys, load,
};

const KEY: &str = "hush-0123456789abcdef0123456789ab";

fn env(variables: &[(&str, &str)]) -> Vec<(String, OsString)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
    variables.iter().map(owned).collect()
}

fn from_env(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load(&Sources {
        env: env(variables),
        ..Sources::default()
    })
}

fn with_key(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    from_env(&[variables, &[("ROUTER_KEY", KEY)]].concat())
}

fn problem(result: Result<Loaded, Problems>) -> String {
    result.unwrap_err().to_string()
}

fn write(dir: &tempfile::TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Parses a command line and gives what `serve` or `check` would load from.
fn sources(args: &[&str], variables: &[(&str, &str)]) -> Sources {
    let cli = parse(
        std::iter::once("router")
            .chain(args.iter().copied())
            .map(OsString::from),
    );
    let cli = cli.unwrap();
    let args = match &cli.command {
        None => &cli.serve,
        Some(Command::Serve(args)) => args,
        Some(Command::Check(args)) => &args.config,
        Some(Command::Demo) => panic!("demo has no configuration"),
    };
    args.sources(env(variables)).unwrap()
}

fn usage_code(args: &[&str]) -> i32 {
    let args = std::iter::once("router")
        .chain(args.iter().copied())
        .map(OsString::from);
    parse(args).err().unwrap().exit_code()
}

/// Runs `check` and gives exit code, stdout and stderr.
fn run_check(args: &[&str], variables: &[(&str, &str)]) -> (u8, String, String) {
    let args = ["router", "check"].iter().chain(args).map(OsString::from);
    let Some(Command::Check(args)) = parse(args).unwrap().command else {
        panic!("not check");
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check::run(&args, env(variables), &mut out, &mut err).unwrap();
    (
        code,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[test]
fn example_is_the_registry() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let committed = std::fs::read_to_string(committed).unwrap();
    let hint = "regenerate: jumpstarter-router check --example > config.example.toml";
    assert!(
        committed == config::example(),
        "config.example.toml is out of date; {hint}"
    );
    assert_eq!(
        run_check(&["--example"], &[]),
        (0, committed, String::new())
    );
}

#[test]
fn example_names_every_key_and_means_the_defaults() {
    let text = config::example();
    let table: toml::Table = text.parse().unwrap();
    // Keys without a default stand as `# key = "..."`.
    let all: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.ends_with(" = \"...\"") => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let all: toml::Table = all.parse().unwrap();
    let named = |table: &toml::Table| {
        let mut names: Vec<String> = Vec::new();
        for (section, keys) in table {
            names.extend(
                keys.as_table()
                    .unwrap()
                    .keys()
                    .map(|key| format!("{section}.{key}")),
            );
        }
        names.sort();
        names
    };
    let mut every: Vec<_> = keys().map(|key| key.path.to_owned()).collect();
    let mut with_default: Vec<_> = keys()
        .filter(|key| key.default().is_some())
        .map(|key| key.path.to_owned())
        .collect();
    every.sort();
    with_default.sort();
    assert_eq!(named(&all), every);
    assert_eq!(named(&table), with_default);

    let dir = tempfile::tempdir().unwrap();
    let file = Some(write(&dir, "example.toml", text));
    let loaded = load(&Sources {
        file,
        env: env(&[("ROUTER_KEY", KEY)]),
        ..Sources::default()
    });
    let mut expected = Config::default();
    expected.auth.key = Some(Secret::new(KEY));
    assert_eq!(loaded.unwrap().config, expected);
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(
        &dir,
        "config.toml",
        "[pairing]\ntimeout = \"1s\"\n[drain]\ntimeout = \"2s\"\n[streams]\nlinger = \"3s\"",
    );
    let file = path.to_str().unwrap();
    let variables = [
        ("ROUTER_KEY", KEY),
        ("JUMPSTARTER_ROUTER_CONFIG", file),
        ("JUMPSTARTER_ROUTER_PAIRING_TIMEOUT", "4s"),
        ("JUMPSTARTER_ROUTER_DRAIN_TIMEOUT", "5s"),
    ];
    let loaded = load(&sources(&["--set", "pairing.timeout=6s"], &variables)).unwrap();
    assert_eq!(loaded.config.pairing.timeout, Duration::from_secs(6));
    assert_eq!(loaded.config.drain.timeout, Duration::from_secs(5));
    assert_eq!(loaded.config.streams.linger, Duration::from_secs(3));
    let origin = |key| loaded.origins.of(key).clone();
    assert_eq!(origin("pairing.timeout"), Origin::Flag("--set".to_owned()));
    assert_eq!(
        origin("drain.timeout").to_string(),
        "environment JUMPSTARTER_ROUTER_DRAIN_TIMEOUT"
    );
    assert_eq!(origin("streams.linger").to_string(), format!("{file}:6"));
    assert_eq!(origin("log.format"), Origin::Default);
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for key in keys() {
        let mut probe = Config::default();
        probe.auth.key = Some(Secret::new(KEY));
        let text = key.default().unwrap_or_default().trim_matches('"');
        let origin = Origin::Env(key.env());
        match with_key(&[(&key.env(), text)]) {
            Ok(loaded) => assert_eq!(*loaded.origins.of(key.path), origin, "{}", key.path),
            Err(all) => assert_eq!(key.path, "auth.key", "{all}"),
        }
    }
}

#[test]
fn upstream_names() {
    let loaded = from_env(&[
        ("ROUTER_KEY", KEY),
        ("GRPC_ROUTER_ENDPOINT", "router.example.com:443"),
        ("EXTERNAL_CERT_PEM", "/tls/tls.crt"),
        ("EXTERNAL_KEY_PEM", "/tls/tls.key"),
    ]);
    let config = loaded.unwrap().config;
    assert_eq!(config.listen.endpoint.host, "router.example.com");
    assert_eq!(config.listen.endpoint.port, 443);
    assert_eq!(config.tls.certificate, Some("/tls/tls.crt".into()));
    assert_eq!(config.tls.key, Some("/tls/tls.key".into()));
    assert_eq!(config.signing_keys(), [("key".to_owned(), KEY.as_bytes())]);

    // As upstream: one of the two alone gives a self-signed certificate, and empty is absent.
    let loaded = with_key(&[("EXTERNAL_KEY_PEM", "/k"), ("GRPC_ROUTER_ENDPOINT", "")]).unwrap();
    assert_eq!(loaded.config.tls, Config::default().tls);
    assert!(
        loaded.warnings[0].contains("self-signed"),
        "{:?}",
        loaded.warnings
    );
    let half = problem(with_key(&[("JUMPSTARTER_ROUTER_TLS_KEY", "/k")]));
    assert!(
        half.starts_with("environment JUMPSTARTER_ROUTER_TLS_KEY: tls.key: set without"),
        "{half}"
    );

    // The router's own name wins, aloud.
    let loaded = with_key(&[("JUMPSTARTER_ROUTER_AUTH_KEY", &KEY.repeat(2))]).unwrap();
    assert_eq!(
        loaded.warnings,
        ["ROUTER_KEY is ignored because JUMPSTARTER_ROUTER_AUTH_KEY is set"]
    );
}

#[test]
fn wrong_environment() {
    let wrong = with_key(&[
        ("JUMPSTARTER_ROUTER_PAIRING_TIMEOUTS", "5s"),
        ("JUMPSTARTER_ROUTER_STREAMS_LINGER", "5"),
        ("JUMPSTARTER_ROUTER_WHATEVER", "5"),
    ]);
    let wrong = problem(wrong);
    let lines: Vec<_> = wrong.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[0],
        "environment JUMPSTARTER_ROUTER_PAIRING_TIMEOUTS: unknown variable; did you mean JUMPSTARTER_ROUTER_PAIRING_TIMEOUT?"
    );
    assert!(lines[1].starts_with("environment JUMPSTARTER_ROUTER_STREAMS_LINGER: streams.linger: found \"5\", expected a duration"));
    assert!(
        lines[2].contains("JUMPSTARTER_ROUTER_<SECTION>_<KEY>"),
        "{}",
        lines[2]
    );
}

#[test]
fn kubernetes_service_variables_are_not_ours() {
    let loaded = with_key(&[
        ("JUMPSTARTER_ROUTER_0_SERVICE_HOST", "10.0.0.1"),
        ("JUMPSTARTER_ROUTER_0_SERVICE_PORT", "8083"),
        ("JUMPSTARTER_ROUTER_0_SERVICE_PORT_GRPC", "8083"),
        ("JUMPSTARTER_ROUTER_PORT", "tcp://10.0.0.1:8083"),
        ("JUMPSTARTER_ROUTER_0_PORT_8083_TCP", "tcp://10.0.0.1:8083"),
        ("JUMPSTARTER_ROUTER_0_PORT_8083_TCP_ADDR", "10.0.0.1"),
        ("JUMPSTARTER_ROUTER_SERVICE_PORT_GRPC_ALT", "1"),
    ]);
    assert!(loaded.unwrap().warnings.is_empty());
    assert!(with_key(&[("JUMPSTARTER_ROUTER_LISTEN_PORT", "8083")]).is_err());
}

#[test]
fn keys_missing_empty_short() {
    assert_eq!(
        problem(from_env(&[])),
        "no signing key: set ROUTER_KEY, or auth.key, or auth.key_files"
    );
    let empty = problem(from_env(&[("ROUTER_KEY", "")]));
    assert!(
        empty.starts_with("environment ROUTER_KEY: auth.key: the key is empty"),
        "{empty}"
    );
    let short = from_env(&[("ROUTER_KEY", "hush")]).unwrap();
    assert!(short.warnings[0].starts_with("auth.key is shorter than 32 bytes"));
    assert!(!short.warnings[0].contains("hush"));
}

#[test]
fn key_files() {
    let dir = tempfile::tempdir().unwrap();
    let binary = write(&dir, "a", [&[0xff; 32][..], b"\r\n"].concat());
    let two = write(&dir, "b", [&[b'x'; 32][..], b"\n\n"].concat());
    let (a, b) = (binary.to_str().unwrap(), two.to_str().unwrap());
    let loaded = from_env(&[
        ("JUMPSTARTER_ROUTER_AUTH_KEY_FILES", &format!("{a}, {b}")),
        ("JUMPSTARTER_ROUTER_AUTH_EXTRA_KEYS", KEY),
    ]);
    let loaded = loaded.unwrap();
    let (first, second) = ([0xff; 32], [&[b'x'; 32][..], b"\n"].concat());
    let expected = [
        ("extra_keys[0]".to_owned(), KEY.as_bytes()),
        (a.to_owned(), &first),
        (b.to_owned(), &second),
    ];
    assert_eq!(loaded.config.signing_keys(), expected);

    write(&dir, "b", "\n");
    std::fs::remove_file(&binary).unwrap();
    let wrong = problem(from_env(&[(
        "JUMPSTARTER_ROUTER_AUTH_KEY_FILES",
        &format!("[{a:?}, {b:?}]"),
    )]));
    let place = "environment JUMPSTARTER_ROUTER_AUTH_KEY_FILES: auth.key_files: ";
    let lines: Vec<_> = wrong.lines().collect();
    assert!(
        lines[0].starts_with(&format!("{place}{a} cannot be read: No such file")),
        "{wrong}"
    );
    assert_eq!(
        lines[1],
        format!("{place}{b} is empty; put the key into it")
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn configuration_file_missing() {
    let (code, out, err) = run_check(&["--config", "/nonexistent/c.toml"], &[]);
    assert_eq!((code, out.as_str()), (check::EX_CONFIG, ""));
    assert!(
        err.starts_with(
            "error: /nonexistent/c.toml: cannot read the configuration file: No such file"
        ),
        "{err}"
    );
    assert_eq!(
        err.lines().count(),
        1,
        "what the file may hold is not reported missing"
    );
}

#[test]
fn check_prints_values_with_origins() {
    let (code, out, err) = run_check(
        &["--listen", "127.0.0.1:1", "-zap-devel"],
        &[("ROUTER_KEY", KEY)],
    );
    assert_eq!(
        (code, err.as_str()),
        (
            0,
            "warning: flag -zap-devel is accepted but has no effect\n"
        )
    );
    assert!(
        out.contains("address = \"127.0.0.1:1\" # flag --listen\n"),
        "{out}"
    );
    assert!(out.contains("# certificate is not set # default\n"));
    assert!(out.contains("key = \"(hidden)\" # environment ROUTER_KEY\n"));
    let table: toml::Table = out.parse().unwrap();
    assert_eq!(table.len(), config::SECTIONS.len());

    let (code, _, err) = run_check(
        &["--set", "pairing.timout=1s", "--set", "log.format=xml"],
        &[],
    );
    assert_eq!(code, check::EX_CONFIG);
    assert_eq!(
        err,
        "error: flag --set: unknown key \"pairing.timout\"; did you mean \"pairing.timeout\"?\n\
                     error: flag --set: log.format: found \"xml\", expected \"auto\", \"json\" or \"text\"\n\
                     error: no signing key: set ROUTER_KEY, or auth.key, or auth.key_files\n"
    );
}

#[test]
fn secrets_are_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir, "key", KEY);
    let text = format!("[auth]\nkey = \"{KEY}\"\nextra_keys = [\"{KEY}\"]\nkey_files = [{file:?}]");
    let good = write(&dir, "good.toml", text);
    let args = [
        "--config",
        good.to_str().unwrap(),
        "--set",
        &format!("auth.key={KEY}2"),
    ];
    let sources = sources(&args, &[("ROUTER_KEY", KEY)]);
    let loaded = load(&sources).unwrap();
    let mut shown = format!(
        "{sources:?}{loaded:?}{loaded:#?}{}",
        config::effective(&loaded)
    );
    for text in [
        format!("[auth]\nkey = {KEY}"),
        format!("[auth]\nkey = [\"{KEY}\"]\nkye = \"{KEY}\"\nextra_keys = [[\"{KEY}\"]]"),
        format!("auth = \"{KEY}\""),
        format!("[auth]\nextra_keys = \"{KEY}\""),
    ] {
        let bad = write(&dir, "bad.toml", text);
        let extra = format!("auth.extra_keys=[{KEY}");
        let (code, out, err) =
            run_check(&["--config", bad.to_str().unwrap(), "--set", &extra], &[]);
        assert_eq!(code, check::EX_CONFIG);
        shown += &(out + &err);
    }
    let (code, out, err) = run_check(&["--set", KEY], &[]);
    assert_eq!(code, 2);
    shown += &(out + &err);
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn go_flags_of_upstream() {
    let split = |args: &[&str]| go_flags(args.iter().map(OsString::from).collect());
    let metrics = |value: &str| Override {
        key: "listen.metrics_address".to_owned(),
        value: value.to_owned(),
        flag: "-metrics-bind-address".to_owned(),
    };
    for args in [
        &["r", "-metrics-bind-address=:8080", "x"][..],
        &["r", "--metrics-bind-address=:8080", "x"],
        &["r", "-metrics-bind-address", ":8080", "x"],
        &["r", "--metrics-bind-address", ":8080", "x"],
    ] {
        let (rest, found) = split(args).unwrap();
        assert_eq!(rest, ["r", "x"]);
        assert!(found.overrides == [metrics(":8080")] && found.notes.is_empty());
    }
    let (rest, found) = split(&[
        "r",
        "-zap-devel",
        "-kubeconfig",
        "k",
        "-zap-encoder=json",
        "-zap-devel=false",
    ])
    .unwrap();
    assert_eq!(rest, ["r"]);
    assert_eq!(found.notes.len(), 4);
    assert!(split(&["r", "-kubeconfig"]).is_err());
    let (rest, found) = split(&["r", "-zap-develop", "--", "-zap-devel"]).unwrap();
    assert_eq!(rest, ["r", "-zap-develop", "--", "-zap-devel"]);
    assert!(found == GoFlags::default());

    let loaded = load(&sources(
        &["-metrics-bind-address=:8080"],
        &[("ROUTER_KEY", KEY)],
    ))
    .unwrap();
    assert_eq!(loaded.config.listen.metrics_address.unwrap().port(), 8080);
}

#[test]
fn command_line() {
    for wrong in [
        &["-nope"][..],
        &["--nope"],
        &["serve", "-x"],
        &["-kubeconfig"],
        &["demo", "-zap-devel"],
    ] {
        assert_eq!(usage_code(wrong), 2, "{wrong:?}");
    }
    for help in [
        &["-h"][..],
        &["-help"],
        &["--help"],
        &["serve", "-h"],
        &["-V"],
        &["--version"],
    ] {
        assert_eq!(usage_code(help), 0, "{help:?}");
    }
    for args in [
        &["--plaintext"][..],
        &["serve", "--plaintext"],
        &["check", "--plaintext=true"],
    ] {
        assert!(
            load(&sources(args, &[("ROUTER_KEY", KEY)]))
                .unwrap()
                .config
                .tls
                .plaintext
        );
    }
    assert!(find("tls.plaintext").is_some());
}
