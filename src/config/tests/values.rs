//! Values, their defaults, and that no text panics.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use toml::de::DeValue;

use crate::config::loading::Loading;
use crate::config::setting::Setting;
use crate::config::{
    Config, Endpoint, Key, LogFilter, SECTIONS, Secret, Size, file, find, keys,
    registry::UPSTREAM_ENV,
};
use crate::transport::forwarding::Target;

#[test]
fn table_is_consistent() {
    let paths: BTreeSet<_> = keys().map(|key| key.path).collect();
    let names: BTreeSet<_> = keys().map(Key::env).collect();
    assert_eq!(paths.len(), keys().count());
    assert_eq!(names.len(), keys().count());
    for (_, path) in UPSTREAM_ENV {
        assert!(find(path).is_some(), "{path}");
    }
    for key in keys() {
        let default = Config::default();
        let beyond = key.beyond.iter().find_map(|beyond| beyond(&default));
        assert_eq!(beyond, None, "{}", key.path);
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
fn successors() {
    let read = |text: &str| Option::<Target>::from_text(text).map(|read| read.show());
    assert_eq!(read(""), Ok(None));
    for text in ["self", "router:443", "[::1]:8083"] {
        assert_eq!(read(text), Ok(Some(format!("\"{text}\""))));
    }
    for wrong in ["router", "own", "router:0", "self:"] {
        assert!(read(wrong).is_err(), "{wrong}");
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
    assert!(SocketAddr::from_text("router:1").is_err_and(|why| why.contains("no IP address")));
    for (text, meant) in [
        (":1", "[::]:1"),
        ("1", "[::]:1"),
        ("localhost:1", "127.0.0.1:1"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ] {
        let read = SocketAddr::from_text(text).unwrap();
        assert_eq!(read.to_string(), meant, "{text}");
    }
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
