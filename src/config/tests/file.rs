//! Problems in the file, and cross-checks, with their places.

use std::ffi::OsString;

use super::KEY;
use crate::config::{Sources, load};

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
            .all()
            .iter()
            .map(|p| p.to_string().replace(&name, ""))
            .collect(),
    }
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
address = \"here\"
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
        "14:11: listen.address: found the string \"here\", expected an address",
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
            "[reload]\ninterval = \"1ms\"",
            "2:12: reload.interval: found 1ms, expected at least 10ms, or 0s",
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
            "[streams]\nmax = 1",
            "2:7: streams.max: found 1, expected a whole number from 2",
        ),
        (
            "[streams]\nbytes_per_second = \"15KiB\"",
            "2:20: streams.bytes_per_second: found 15KiB, expected 0 or at least 16KiB, an eighth of",
        ),
        (
            "[listen]\nproxy_protocol_from = [\"10.0.0.0/8\", \"10.0.0.1/8\"]",
            "2:38: listen.proxy_protocol_from: found the string \"10.0.0.1/8\", expected a list of",
        ),
        (
            "[listen]\nproxy_protocol_timeout = \"0s\"",
            "2:26: listen.proxy_protocol_timeout: found 0s, expected at least 1ms",
        ),
        (
            "[log]\nfilter = \"a=b=c\"",
            "2:10: log.filter: found the string \"a=b=c\", expected log directives",
        ),
        (
            "[log]\nfilter = \"inof\"",
            "2:10: log.filter: found the string \"inof\", expected log directives such as \"info\" or \
             \"info,h2=debug\" (\"inof\" is not a level, and a word alone",
        ),
        (
            "[tls]\nclient_ca = \"/ca\"\nplaintext = true",
            "2:13: tls.client_ca: set together with tls.plaintext",
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
