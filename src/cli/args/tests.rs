//! Upstream's flags.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::Override;

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
}
