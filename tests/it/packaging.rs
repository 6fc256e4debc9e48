//! What packages are made of: completions, manual pages, and the version that reports of defects name.

use std::fs;

use crate::helpers::process;
use clap::CommandFactory as _;
use jumpstarter_router::inside::cli::args::Cli;

fn says(args: &[&str]) -> String {
    let output = process::command().args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn subcommands() -> Vec<String> {
    let command = Cli::command();
    let names = command
        .get_subcommands()
        .map(|one| one.get_name().to_owned());
    let names: Vec<_> = names.collect();
    assert!(names.len() > 5, "{names:?}");
    names
}

#[test]
fn completions_know_every_subcommand() {
    for shell in ["bash", "fish", "zsh", "elvish", "powershell"] {
        let script = says(&["completions", shell]);
        assert!(script.contains("jumpstarter-router"), "{shell}");
        assert!(script.contains("health-address"), "{shell}");
        for name in subcommands() {
            assert!(script.contains(&name), "{name} for {shell}");
        }
    }
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let plain = |page: &str| page.replace('\\', "");
    let page = plain(&says(&["man"]));
    assert!(page.contains(".TH jumpstarter-router 1"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("man");
    assert_eq!(says(&["man", "--directory", made.to_str().unwrap()]), "");
    for name in subcommands() {
        let full = format!("jumpstarter-router-{name}");
        assert!(page.contains(&format!("{full}(1)")), "{name} in {page}");
        let own = fs::read_to_string(made.join(format!("{full}.1"))).unwrap();
        assert!(plain(&own).contains(&format!(".TH {full} 1")), "{own}");
    }
    assert!(made.join("jumpstarter-router.1").is_file());
    // Pages are read on other machines.
    assert!(!page.contains("TLS provider"));
}

#[test]
fn the_version_names_commit_and_tls_provider() {
    let long = says(&["--version"]);
    let lines: Vec<_> = long.lines().collect();
    let [version, commit, provider] = lines[..] else {
        panic!("three lines: {long}")
    };
    assert!(version.ends_with(env!("CARGO_PKG_VERSION")), "{long}");
    assert_eq!(commit, format!("commit: {}", jumpstarter_router::COMMIT));
    let providers = ["TLS provider: ring", "TLS provider: aws-lc-rs"];
    assert!(providers.contains(&provider), "{long}");
    assert_eq!(says(&["-V"]).lines().count(), 1);
}
