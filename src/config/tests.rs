#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use toml::de::DeValue;

use super::load::Loading;
use super::setting::Setting;
use super::{Config, Endpoint, LogFilter, SECTIONS, Secret, Size, Sources, file, find, keys, load};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Problems of a file with this text and nothing else.
fn problems(text: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let env = vec![("ROUTER_KEY".to_owned(), OsString::from(KEY))];
    let sources = Sources {
        file: Some(file.path().into()),
        env,
        ..Sources::default()
    };
    let name = format!("{}:", file.path().display());
    match load(&sources) {
        Ok(_) => Vec::new(),
        Err(all) => all
            .iter()
            .map(|p| p.to_string().replace(&name, ""))
            .collect(),
    }
}

#[test]
fn table_is_consistent() {
    let paths: BTreeSet<_> = keys().map(|key| key.path).collect();
    let names: BTreeSet<_> = keys().map(super::Key::env).collect();
    assert_eq!(paths.len(), keys().count());
    assert_eq!(names.len(), keys().count());
    for (_, path) in super::UPSTREAM_ENV {
        assert!(find(path).is_some(), "{path}");
    }
    for key in keys() {
        assert!(
            !key.doc.is_empty() && !key.expects.ends_with('.'),
            "{}",
            key.path
        );
    }
}

#[test]
fn defaults_mean_what_they_say() {
    let config = Config::default();
    assert_eq!(
        config.listen.address,
        "[::]:8083".parse::<SocketAddr>().unwrap()
    );
    assert_eq!(config.listen.metrics_address, None);
    assert_eq!(config.pairing.timeout, Duration::from_secs(120));
    assert_eq!(config.streams.max_message_size, Size::new(4 << 20));
    assert_eq!(config.streams.idle_timeout, None);
    assert_eq!(
        config.connections.keepalive_interval,
        Duration::from_secs(7200)
    );
    assert_eq!(config.connections.max_per_address, None);
    assert_eq!(config.auth.key, None);
}

#[test]
fn shown_values_read_back() {
    let mut config = Config::default();
    for key in keys() {
        if let Some(text) = (key.show)(&config) {
            let item = DeValue::parse(&text).unwrap();
            (key.set_toml)(&mut config, &item).unwrap();
        }
    }
    assert_eq!(config, Config::default());
}

#[test]
fn every_problem_at_once_with_its_place() {
    let text = "\
[pairing]
timeout = 5
max_waitin = 1
[strems]
[streams]
max_message_size = \"4 MeB\"
colour = 1
timeout = \"1s\"
[auth]
key = 12345
extra_keys = [\"a\",
  7]
[listen]
address = \"8083\"
endpoint = \"router.example.com\"
[drain]
timeout = \"25\"
";
    let found = problems(text);
    let expected = [
        "2:11: pairing.timeout: found the integer 5, expected a duration",
        "3:1: unknown key \"max_waitin\" in [pairing] (did you mean \"max_waiting\"?); the keys are timeout",
        "4:2: unknown section \"strems\" (did you mean [streams]?); the sections are listen, tls,",
        "6:20: streams.max_message_size: found the string \"4 MeB\", expected a size",
        "7:1: unknown key \"colour\" in [streams]; the keys are max_message_size,",
        "8:1: unknown key \"timeout\" in [streams] (it belongs in [pairing] or [drain]); the keys",
        "10:7: auth.key: found an integer, expected a string",
        "12:3: auth.extra_keys: found an integer, expected a list",
        "14:11: listen.address: found the string \"8083\", expected an address",
        "15:12: listen.endpoint: found the string \"router.example.com\", expected host:port",
        "17:11: drain.timeout: found the string \"25\", expected a duration",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.starts_with(expected),
            "found    {found}\nexpected {expected}"
        );
    }
    assert!(
        found[3].ends_with("(the units are B, KiB, MiB, GiB, kB, MB and GB)"),
        "{}",
        found[3]
    );
    assert!(found[9].ends_with("(the port is missing)"), "{}", found[9]);
}

#[test]
fn keys_and_values_outside_their_section() {
    let found = problems("linger = \"1s\"\nauth = \"hush\"\n");
    assert!(found[0].starts_with(
        "1:1: unknown key outside of any section \"linger\" (it belongs in [streams])"
    ));
    assert_eq!(found[1], "2:8: [auth]: found a string, expected a table");
}

#[test]
fn every_syntax_error_with_its_place() {
    let found = problems("[pairing]\ntimeout = 5 s\n\n[log\nformat = \"json\"\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("2:11: not valid TOML: "),
        "{}",
        found[0]
    );
    assert!(
        found[1].starts_with("4:5: not valid TOML: "),
        "{}",
        found[1]
    );
    assert_eq!(problems("[log]\n[log]\n").len(), 1);
}

#[test]
fn columns_count_characters() {
    assert!(problems("log = { \"ü\" = 1, nope = 2 }")[1].starts_with("1:18: unknown key \"nope\""));
}

#[test]
fn cross_checks() {
    let cases = [
        (
            "[tls]\ncertificate = \"c\"",
            "2:15: tls.certificate: set without tls.key; set both",
        ),
        (
            "[tls]\nkey = \"c\"",
            "2:7: tls.key: set without tls.certificate",
        ),
        (
            "[streams]\ninitial_window = 65535",
            "2:18: streams.initial_window: found 65535, expected a size from 128KiB",
        ),
        (
            "[streams]\ninitial_window = \"2GiB\"",
            "2:18: streams.initial_window: found 2GiB, expected",
        ),
        (
            "[streams]\nmax_message_size = 0",
            "2:20: streams.max_message_size: found 0, expected a size from 1 ",
        ),
        (
            "[pairing]\ntimeout = \"0s\"",
            "2:11: pairing.timeout: found 0s, expected at least 1ms",
        ),
        (
            "[listen]\nmetrics_address = \"127.0.0.1:8083\"",
            "2:19: listen.metrics_address: 127.0.0.1:8083 is already taken by listen.address",
        ),
        (
            "[auth]\nmax_token_size = \"16KiB\"",
            "2:18: auth.max_token_size: a token of auth.max_token_size (16KiB) does not fit",
        ),
        (
            "[auth]\nextra_keys = [\"\"]",
            "2:14: auth.extra_keys: [0]: the key is empty",
        ),
        (
            "[auth]\nextra_keys = [\"(hidden)\"]",
            "2:14: auth.extra_keys: [0]: this stands for",
        ),
        (
            "[connections]\nmax = 0",
            "2:7: connections.max: found 0, expected a whole number from 1",
        ),
        (
            "[log]\nfilter = \"a=b=c\"",
            "2:10: log.filter: found the string \"a=b=c\", expected log directives",
        ),
        (
            "[auth]\nissuer = \"\"",
            "2:10: auth.issuer: found the string \"\", expected a string that is not empty",
        ),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(
            found[0].starts_with(expected),
            "{}\nexpected {expected}",
            found[0]
        );
    }
}

#[test]
fn sizes() {
    let read = |text| Size::from_text(text).map(Size::bytes);
    assert_eq!(read("4MiB"), Ok(4 << 20));
    assert_eq!(read("128 KiB"), Ok(128 << 10));
    assert_eq!(read("4MB"), Ok(4_000_000));
    assert_eq!(read("0"), Ok(0));
    for wrong in [
        "",
        "KiB",
        "-1",
        "1.5MiB",
        "4mib",
        "99999999999GiB",
        "9223372036854775808",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    assert_eq!(Size::new(1536).to_string(), "1536");
    assert_eq!(Size::new(3 << 20).to_string(), "3MiB");
}

#[test]
fn endpoints() {
    for good in [
        "localhost:8083",
        "10.0.0.1:443",
        "[::1]:443",
        "a_b.example.com:1",
    ] {
        assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
    }
    for wrong in [
        "",
        "host",
        "host:",
        ":443",
        "host:0",
        "host:65536",
        "::1:443",
        "a b:1",
        "[x:1",
    ] {
        assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
    }
}

#[test]
fn addresses() {
    assert_eq!(Option::<SocketAddr>::from_text("0"), Ok(None));
    assert_eq!(Option::<SocketAddr>::from_text(""), Ok(None));
    assert!(SocketAddr::from_text("0").is_err());
    assert!(SocketAddr::from_text(":x").is_err());
    assert_eq!(SocketAddr::from_text(":1").unwrap().to_string(), "[::]:1");
}

#[test]
fn durations_are_bounded() {
    assert!(Duration::from_text("3000days").is_ok());
    assert!(Duration::from_text("11years").is_err());
    assert!(Duration::from_text("99999999999999999999s").is_err());
    assert_eq!(Option::<Duration>::from_text("0s"), Ok(None));
}

#[test]
fn debug_hides_secrets() {
    let shown = format!("{:?}", Secret::new("hush"));
    assert_eq!(shown, "(hidden)");
}

proptest! {
    #[test]
    fn no_text_panics_the_parser(text in ".*") {
        file::apply_text(&text, "any", &mut Loading::default());
    }

    #[test]
    fn nothing_like_a_configuration_panics(
        section in 0..SECTIONS.len(),
        key in 0usize..20,
        value in "[-0-9a-z\"'\\[\\]{},.=#: \n\u{e9}]*",
    ) {
        let section = &SECTIONS[section];
        let key = &section.keys[key % section.keys.len()];
        let text = format!("[{}]\n{} = {value}", section.name, key.name);
        file::apply_text(&text, "any", &mut Loading::default());
    }

    #[test]
    fn no_value_panics_and_what_is_accepted_reads_back(text in "\\PC*", which in 0usize..100) {
        let all: Vec<_> = keys().collect();
        let key = all[which % all.len()];
        let mut config = Config::default();
        if (key.set_text)(&mut config, &text).is_ok() && !key.secret
            && let Some(shown) = (key.show)(&config)
        {
            let mut again = Config::default();
            (key.set_toml)(&mut again, &DeValue::parse(&shown).unwrap()).unwrap();
            prop_assert_eq!(config, again);
        }
    }

    #[test]
    fn shown_durations_and_sizes_read_back(millis in 0u64..100_000_000_000, bytes in 0usize..1 << 40) {
        let duration = Duration::from_millis(millis);
        let shown = duration.show().unwrap();
        prop_assert_eq!(Duration::from_text(shown.trim_matches('"')), Ok(duration));
        prop_assert_eq!(Size::from_text(&Size::new(bytes).to_string()), Ok(Size::new(bytes)));
    }

    #[test]
    fn filters_that_are_accepted_stay_so(text in "[a-z0-9=,:\\[\\]{}\" ]*") {
        if let Ok(filter) = LogFilter::from_text(&text) {
            prop_assert_eq!(filter.as_str(), text);
        }
    }
}
