//! Configuration as a user meets it: the example file, precedence, upstream's names and `check`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jumpstarter_router::inside::cli::args::{Command, parse};
use jumpstarter_router::inside::cli::{check, exit::Exit};
use jumpstarter_router::inside::config::{self, Config, Origin, Secret, Sources, keys, load};

const KEY: &str = "hush-0123456789abcdef0123456789ab";

fn env(variables: &[(&str, &str)]) -> Vec<(String, OsString)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
    variables.iter().map(owned).collect()
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
        Some(_) => panic!("only serve and check have a configuration"),
    };
    args.sources(env(variables)).unwrap()
}

fn usage_code(args: &[&str]) -> i32 {
    let args = std::iter::once("router")
        .chain(args.iter().copied())
        .map(OsString::from);
    parse(args).err().unwrap().exit_code()
}

const EX_CONFIG: u8 = Exit::Config as u8;

/// Runs `check` and gives exit code, stdout and stderr.
///
/// Not as many connections as usual, of whose files this process need not be capable.
fn run_check(args: &[&str], variables: &[(&str, &str)]) -> (u8, String, String) {
    let few = ["--set", "connections.max=100"];
    let args = ["router", "check"]
        .iter()
        .chain(&few)
        .chain(args)
        .map(OsString::from);
    let Some(Command::Check(args)) = parse(args).unwrap().command else {
        panic!("not check");
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut code = 0;
    if let Err(failure) = check::run(&args, env(variables), &mut out, &mut err) {
        code = failure.exit as u8;
        err.extend(failure.to_string().bytes());
    }
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
    let restart = text.matches("# A change needs a restart.\n").count();
    assert_eq!(restart, keys().filter(|key| !key.live).count());
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
fn configuration_file_missing() {
    let (code, out, err) = run_check(&["--config", "/nonexistent/c.toml"], &[]);
    assert_eq!((code, out.as_str()), (EX_CONFIG, ""));
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
        out.contains("address = \"127.0.0.1:1\" # flag --listen; a change needs a restart\n"),
        "{out}"
    );
    assert!(out.contains("# certificate is not set # default\n"));
    let restart = out.matches("; a change needs a restart\n").count();
    assert_eq!(restart, keys().filter(|key| !key.live).count());
    assert!(out.contains("key = \"(hidden)\" # environment ROUTER_KEY\n"));
    let table: toml::Table = out.parse().unwrap();
    assert_eq!(table.len(), config::SECTIONS.len());

    let (code, _, err) = run_check(
        &["--set", "pairing.timout=1s", "--set", "log.format=xml"],
        &[],
    );
    assert_eq!(code, EX_CONFIG);
    assert_eq!(
        err,
        "error: flag --set: unknown key \"pairing.timout\"; did you mean \"pairing.timeout\"?\n\
                     error: flag --set: log.format: found \"xml\", expected \"auto\", \"json\" or \"text\"\n\
                     error: no signing key: set ROUTER_KEY, or auth.key, or auth.key_files, or auth.key_directory\n"
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
    let mut shown = format!("{loaded:?}{loaded:#?}{}", config::effective(&loaded));
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
        assert_eq!(code, EX_CONFIG);
        shown += &(out + &err);
    }
    let (code, out, err) = run_check(&["--set", KEY], &[]);
    assert_eq!(code, 2);
    shown += &(out + &err);
    assert!(!shown.contains("hush"), "{shown}");
}

/// Every name with our prefix that stands in the program's sources as a whole: none is a stranger to `check`.
#[test]
fn the_names_that_our_own_tools_read_are_known() {
    fn sources(directory: &Path, found: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push_str(text.split("#[cfg(test)]").next().unwrap());
            }
        }
    }
    let mut text = String::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut text,
    );
    let prefix = format!("\"{}", config::ENV_PREFIX);
    let names = text.split(&prefix).skip(1).map(|rest| {
        let end = rest.split('"').next().unwrap();
        format!("{}{end}", config::ENV_PREFIX)
    });
    // The prefix alone is none, and neither is what stands for any key in the help.
    let names: Vec<_> = names
        .filter(|name| *name != config::ENV_PREFIX && !name.contains('<'))
        .collect();
    assert!(names.contains(&"JUMPSTARTER_ROUTER_TOKEN".to_owned()));
    for name in names {
        // The value is wrong for most keys, and the name of the file is none; that is not asked.
        let (_, _, said) = run_check(&[], &[("ROUTER_KEY", KEY), (&name, "0123456789abcdef")]);
        assert!(!said.contains("unknown variable"), "{said}");
    }
    let (code, _, said) = run_check(
        &[],
        &[("JUMPSTARTER_ROUTER_TOKN", "x"), ("ROUTER_KEY", KEY)],
    );
    assert_eq!(code, EX_CONFIG);
    assert!(
        said.contains("did you mean JUMPSTARTER_ROUTER_TOKEN?"),
        "{said}"
    );
}

#[test]
fn upstreams_metrics_flag_reaches_the_configuration() {
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
        &["health", "-zap-devel"],
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
}

#[test]
fn a_log_filter_without_a_known_level_is_refused_before_the_start() {
    let key = [("ROUTER_KEY", KEY)];
    let (code, _, said) = run_check(&["--log-filter", "inof"], &key);
    assert_eq!(code, 78);
    assert!(
        said.contains("flag --log-filter: log.filter: found \"inof\""),
        "{said}"
    );
    assert!(said.contains("\"inof\" is not a level"), "{said}");
    for good in [
        "info",
        "WARN",
        "off",
        "info,h2=debug",
        "jumpstarter_router::reload=trace",
    ] {
        assert_eq!(run_check(&["--log-filter", good], &key).0, 0, "{good}");
    }
}
