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

#[test]
fn the_wheel_says_what_the_package_says() {
    let read = |text: &str| -> toml::Table { toml::from_str(text).unwrap() };
    let wheel = read(include_str!("../../pyproject.toml"));
    let package = &read(include_str!("../../Cargo.toml"))["package"];
    let project = &wheel["project"];
    for key in ["name", "description", "license", "readme", "keywords"] {
        assert_eq!(project[key], package[key], "{key}");
    }
    assert_eq!(project["urls"]["Homepage"], package["homepage"]);
    assert_eq!(project["urls"]["Repository"], package["repository"]);
    // The version is the package's, and the program is all that is in it.
    assert_eq!(
        project["dynamic"].as_array().unwrap()[0].as_str(),
        Some("version")
    );
    assert!(project.get("version").is_none());
    assert_eq!(wheel["tool"]["maturin"]["bindings"].as_str(), Some("bin"));
    assert_eq!(
        wheel["build-system"]["build-backend"].as_str(),
        Some("maturin")
    );
    // One line in lists of packages.
    assert!(package["description"].as_str().unwrap().len() < 80);
}
