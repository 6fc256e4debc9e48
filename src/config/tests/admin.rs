//! The administrator's address and token.

use super::{KEY, env, write};
use crate::config::{Loaded, Problems, Sources, load};

const TOKEN: &str = "0123456789abcdef";

fn with(settings: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let mut variables = vec![("ROUTER_KEY".to_owned(), KEY)];
    for (key, value) in settings {
        let name = key.replace('.', "_").to_uppercase();
        variables.push((format!("JUMPSTARTER_ROUTER_{name}"), value));
    }
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    load(&Sources {
        env: env(&variables),
        ..Sources::default()
    })
}

fn problem(settings: &[(&str, &str)]) -> String {
    with(settings).unwrap_err().to_string()
}

#[test]
fn by_default_it_is_on_loopback_and_gives_way() {
    let loaded = with(&[]).unwrap();
    let address = loaded.config.listen.admin_address;
    assert_eq!(address, "127.0.0.1:8082".parse().ok());
    assert!(loaded.warnings.is_empty());
    for (key, value) in [
        ("listen.metrics_address", ":8082"),
        ("listen.health_address", "127.0.0.1:8082"),
        ("listen.address", "0.0.0.0:8082"),
    ] {
        let loaded = with(&[(key, value)]).unwrap();
        assert_eq!(loaded.config.listen.admin_address, None, "{key}");
        let warning = &loaded.warnings[0];
        assert!(warning.starts_with(key), "{warning}");
    }
    let both = [
        ("listen.metrics_address", ":8082"),
        ("listen.admin_address", "127.0.0.1:8082"),
    ];
    assert!(problem(&both).contains("127.0.0.1:8082 is already taken by listen.metrics_address"));
    let off = with(&[("listen.admin_address", "0")]).unwrap();
    assert_eq!(off.config.listen.admin_address, None);
}

#[test]
fn beyond_loopback_it_needs_a_token() {
    for address in [":8082", "0.0.0.0:1", "192.0.2.1:1", "[2001:db8::1]:1"] {
        let text = problem(&[("listen.admin_address", address)]);
        assert!(text.contains("admin.token or admin.token_file"), "{text}");
        let settings = [("listen.admin_address", address), ("admin.token", TOKEN)];
        assert!(with(&settings).is_ok(), "{address}");
    }
    for address in [
        "127.0.0.1:1",
        "127.9.9.9:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(
            with(&[("listen.admin_address", address)]).is_ok(),
            "{address}"
        );
    }
}

#[test]
fn tokens_are_long_and_printable_and_never_shown() {
    for token in [
        "",
        "short",
        "0123456789abcde",
        "0123456789 abcdef",
        "0123456789abcdeé",
        "0123456789abcdef\n",
    ] {
        let text = problem(&[("admin.token", token)]);
        assert!(
            text.contains("admin.token: expected at least 16 printable"),
            "{text}"
        );
        assert!(token.is_empty() || !text.contains(token), "{text}");
    }
    let loaded = with(&[("admin.token", TOKEN)]).unwrap();
    assert!(!format!("{loaded:?}").contains(TOKEN));
    let shown = crate::config::effective(&loaded);
    assert!(
        !shown.contains(TOKEN) && shown.contains("(hidden)"),
        "{shown}"
    );
}

#[test]
fn a_token_comes_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory, "token", format!("{TOKEN}\r\n"));
    let file = file.to_str().unwrap();
    let loaded = with(&[("admin.token_file", file)]).unwrap();
    let token = loaded.config.admin.secret().unwrap();
    assert_eq!(token.expose(), TOKEN.as_bytes());

    let both = [("admin.token_file", file), ("admin.token", TOKEN)];
    assert!(problem(&both).contains("admin.token_file: set together with admin.token"));
    write(&directory, "token", "short");
    assert!(problem(&[("admin.token_file", file)]).contains("admin.token_file: expected at least"));
    let missing = problem(&[
        ("admin.token_file", "/nonexistent/token"),
        ("listen.admin_address", ":1"),
    ]);
    assert!(
        missing.starts_with(
            "environment JUMPSTARTER_ROUTER_ADMIN_TOKEN_FILE: admin.token_file: \
             /nonexistent/token cannot be read"
        ),
        "{missing}"
    );
    assert_eq!(
        missing.lines().count(),
        1,
        "no other problem follows: {missing}"
    );
}

const OPEN: (&str, &str) = ("listen.admin_address", ":1");

#[test]
fn a_second_token_only_reads() {
    let other = "fedcba9876543210";
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory, "read", format!("{other}\n"));
    let file = file.to_str().unwrap();
    let token = ("admin.token", TOKEN);
    for read in [("admin.read_token", other), ("admin.read_token_file", file)] {
        for all in [&[token, read][..], &[token, read, OPEN], &[read, OPEN]] {
            let loaded = with(all).unwrap();
            let secret = loaded.config.admin.read_secret().unwrap();
            assert_eq!(secret.expose(), other.as_bytes(), "{all:?}");
            let shown = crate::config::effective(&loaded);
            assert!(!shown.contains(other) && shown.contains("read_token"));
        }
    }
    let loaded = with(&[token]).unwrap();
    assert_eq!(loaded.config.admin.read_secret(), None);
}

#[test]
fn a_second_token_that_does_not_only_read_is_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    let same = write(&directory, "same", TOKEN);
    let same = same.to_str().unwrap();
    let (token, read) = (("admin.token", TOKEN), ("admin.read_token", TOKEN));
    for (settings, said) in [
        (
            &[token, read][..],
            "admin.read_token: the same as admin.token",
        ),
        (
            &[token, ("admin.read_token_file", same)],
            "admin.read_token_file: the same as admin.token",
        ),
        (
            &[("admin.token_file", same), read],
            "admin.read_token: the same as admin.token_file",
        ),
        (&[read], "admin.read_token: set without admin.token"),
        (
            &[("admin.read_token_file", same)],
            "admin.read_token_file: set without admin.token",
        ),
        (
            &[read, ("admin.read_token_file", same)],
            "admin.read_token_file: set together with admin.read_token",
        ),
        (
            &[token, ("admin.read_token", "short")],
            "admin.read_token: expected at least 16",
        ),
        (
            &[OPEN, ("admin.read_token_file", "/nonexistent/token")],
            "admin.read_token_file: /nonexistent/token cannot be read",
        ),
    ] {
        let text = problem(settings);
        assert!(text.contains(said), "{settings:?}: {text}");
        assert_eq!(text.lines().count(), 1, "no other problem follows: {text}");
        assert!(!text.contains(TOKEN), "{text}");
    }
    // Where nobody is let in, there is nothing to guard.
    assert!(with(&[read, ("listen.admin_address", "0")]).is_ok());
}
