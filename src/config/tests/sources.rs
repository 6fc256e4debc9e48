//! The environment, upstream's names in it, and keys from wherever they come.

use std::path::Path;

use super::{KEY, env, write};
use crate::config::{Config, Loaded, Origin, PemFile, Problems, Sources, keys, load};

fn from_env(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load(&Sources {
        env: env(variables),
        ..Sources::default()
    })
}

fn with_key(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    from_env(&[variables, &[("ROUTER_KEY", KEY)]].concat())
}

fn names_and_keys(config: &Config) -> Vec<(String, Vec<u8>)> {
    let keys = config.signing_keys().into_iter();
    keys.map(|key| (key.name, key.secret.expose().to_vec()))
        .collect()
}

fn problem(result: Result<Loaded, Problems>) -> String {
    result.unwrap_err().to_string()
}

const EMPTY_IS_WRONG: [&str; 3] = ["auth.key", "admin.token", "admin.read_token"];

#[test]
fn every_key_can_be_set_by_its_variable() {
    for key in keys() {
        let text = key.default().unwrap_or_default().trim_matches('"');
        let origin = Origin::Env(key.env());
        match with_key(&[(&key.env(), text)]) {
            Ok(loaded) => assert_eq!(*loaded.origins.of(key.path), origin, "{}", key.path),
            // Nothing is no key and no token.
            Err(all) => assert!(EMPTY_IS_WRONG.contains(&key.path), "{all}"),
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
    let path = |file: &Option<PemFile>| file.as_ref().unwrap().path.clone();
    assert_eq!(path(&config.tls.certificate), Path::new("/tls/tls.crt"));
    assert_eq!(path(&config.tls.key), Path::new("/tls/tls.key"));
    assert_eq!(
        names_and_keys(&config),
        [("auth.key".to_owned(), KEY.into())]
    );

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
        "no signing key: set ROUTER_KEY, or auth.key, or auth.key_files, or auth.key_directory"
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
    let expected = [
        ("auth.extra_keys[0]".to_owned(), KEY.into()),
        (a.to_owned(), std::fs::read(&binary).unwrap()),
        (b.to_owned(), std::fs::read(&two).unwrap()),
    ];
    assert_eq!(names_and_keys(&loaded.config), expected);

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

fn from_directory(path: &Path) -> Result<Loaded, Problems> {
    from_env(&[(
        "JUMPSTARTER_ROUTER_AUTH_KEY_DIRECTORY",
        path.to_str().unwrap(),
    )])
}

#[test]
fn what_lies_beside_keys_is_none_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let name = |file: &str| dir.path().join(file).display().to_string();
    write(&dir, "2026-11", KEY);
    let others = [
        "#2025#",
        "2025-01.bak",
        "2025-01.retired",
        "2025-01~",
        "README",
    ];
    for other in others {
        write(&dir, other, "Put one key per file here; see the wiki");
    }
    write(&dir, ".2025-01.swp", "hal");
    std::fs::create_dir(dir.path().join("old")).unwrap();
    let loaded = from_directory(dir.path()).unwrap();
    assert_eq!(
        names_and_keys(&loaded.config),
        [(name("2026-11"), KEY.into())]
    );
    let said = loaded.warnings;
    assert_eq!(said.len(), others.len() + 1, "{said:#?}");
    for (other, said) in others.iter().zip(&said) {
        let start = format!(
            "auth.key_directory: {} is not taken for a key;",
            name(other)
        );
        assert!(
            said.starts_with(&start) && said.contains("lower-case"),
            "{said}"
        );
    }
    assert!(said[5].ends_with("/old is not taken for a key; it is a directory"));

    // One that comes is a change, so that it is named as well.
    write(&dir, "2027", KEY.repeat(2));
    std::fs::rename(name("2027"), name("2027.new")).unwrap();
    let later = from_directory(dir.path()).unwrap().config;
    assert_ne!(later, loaded.config);

    // With no key at all it is said why, too.
    std::fs::remove_file(name("2026-11")).unwrap();
    let wrong = problem(from_directory(dir.path()));
    assert!(wrong.starts_with("no signing key"), "{wrong}");
    assert!(wrong.contains("/README is not taken for a key;"), "{wrong}");
}

#[test]
fn keys_that_look_like_none_are_warned_about() {
    let warnings = |key: &str| from_env(&[("ROUTER_KEY", key)]).unwrap().warnings;
    let sentence = "put one key per file here; see the wiki";
    let said = warnings(sentence);
    assert!(
        said[0].starts_with("auth.key has white space in it"),
        "{said:?}"
    );
    assert!(!said[0].contains("wiki"), "{said:?}");
    assert!(warnings(&format!(" {KEY}"))[0].contains("white space"));
    // A newline at the end is none of its bytes, neither for better nor for worse.
    assert!(warnings(&format!("{KEY}\n")).is_empty());
    assert!(warnings(&format!("{}\n", &KEY[..31]))[0].contains("shorter than 32 bytes"));
    assert!(problem(from_env(&[("ROUTER_KEY", "\n")])).contains("the key is empty"));
    // Random bytes.
    let dir = tempfile::tempdir().unwrap();
    let mut random: Vec<u8> = (0..64).collect();
    write(&dir, "control", &random);
    random.reverse();
    random.push(0xff);
    write(&dir, "other", &random);
    assert!(from_directory(dir.path()).unwrap().warnings.is_empty());
}

#[test]
fn key_directory_as_kubernetes_mounts_it() {
    let dir = tempfile::tempdir().unwrap();
    let version = dir.path().join("..2025_07_01");
    std::fs::create_dir(&version).unwrap();
    let (old, new) = ([b'o'; 32], [b'n'; 32]);
    std::fs::write(version.join("2024"), old).unwrap();
    std::fs::write(version.join("2025"), new).unwrap();
    let link =
        |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
    link("..2025_07_01", "..data");
    link("..data/2024", "2024");
    link("..data/2025", "2025");
    // Being written.
    write(&dir, ".2026", "hal");

    let name = |file: &str| dir.path().join(file).display().to_string();
    let expected = [(name("2024"), old.to_vec()), (name("2025"), new.to_vec())];
    let first = from_directory(dir.path()).unwrap().config;
    assert_eq!(names_and_keys(&first), expected);
    assert_eq!(first, from_directory(dir.path()).unwrap().config);

    // What the files hold is part of the value.
    std::fs::write(version.join("2025"), [b'm'; 32]).unwrap();
    let second = from_directory(dir.path()).unwrap().config;
    let paths: Vec<_> = crate::config::changed(&first, &second)
        .map(|key| key.path)
        .collect();
    assert_eq!(paths, ["auth.key_directory"]);

    write(&dir, "empty", "");
    let wrong = problem(from_directory(dir.path()));
    assert!(
        wrong.ends_with("/empty is empty; put the key into it"),
        "{wrong}"
    );
    let wrong = problem(from_directory(Path::new("/nonexistent")));
    assert!(
        wrong.contains("/nonexistent cannot be listed: No such file"),
        "{wrong}"
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(problem(from_directory(empty.path())).starts_with("no signing key"));
}

#[test]
fn too_many_keys_and_the_same_key_twice() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().to_str().unwrap();
    let with_directory = || with_key(&[("JUMPSTARTER_ROUTER_AUTH_KEY_DIRECTORY", directory)]);
    write(&dir, "again", KEY);
    let warnings = with_directory().unwrap().warnings;
    assert_eq!(
        warnings,
        [format!("{directory}/again is the same key as auth.key")]
    );
    for number in 0..63 {
        write(&dir, &format!("key-{number}"), format!("{number:040}"));
    }
    let wrong = problem(with_directory());
    assert!(
        wrong.contains("found 65 keys, expected at most 64"),
        "{wrong}"
    );
}

#[test]
fn only_regular_files_are_read() {
    let wrong = problem(with_key(&[(
        "JUMPSTARTER_ROUTER_AUTH_KEY_FILES",
        "/dev/zero",
    )]));
    assert!(
        wrong.contains("/dev/zero cannot be read: not a regular file"),
        "{wrong}"
    );
}
