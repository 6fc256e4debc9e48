//! What packages are made of: completions, manual pages, and the version that reports of defects name.

use std::{fs, process::Command};

use crate::helpers::process;
use jumpstarter_router::inside::cli::args;

fn says(args: &[&str]) -> String {
    let output = process::command().args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn subcommands() -> Vec<String> {
    let command = args::command();
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

/// The sections of a page, by their names.
fn sections(page: &str) -> Vec<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix(".SH "))
        .map(|name| name.trim_matches('"'))
        .collect()
}

#[test]
fn every_command_has_a_manual_page() {
    let plain = |page: &str| page.replace('\\', "");
    let page = says(&["man"]);
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("man");
    assert_eq!(says(&["man", "--directory", made.to_str().unwrap()]), "");
    for name in subcommands() {
        let full = format!("jumpstarter-router-{name}");
        assert!(
            plain(&page).contains(&format!("{full}(1)")),
            "{name} in {page}"
        );
        assert!(made.join(format!("{full}.1")).is_file(), "{name}");
    }
    let pages: Vec<_> = fs::read_dir(&made)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(pages.len() > 20);
    for file in &pages {
        let text = fs::read_to_string(file).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(plain(&text).contains(&format!(".TH {name} 1")), "{text}");
        let found = sections(&text);
        let wanted = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXAMPLES",
            "ENVIRONMENT",
            "SEE ALSO",
        ];
        let more: &[_] = if name == "jumpstarter-router" {
            &["FILES"]
        } else {
            &["EXIT STATUS"]
        };
        for section in wanted.iter().chain(more) {
            assert_eq!(
                found.iter().filter(|name| *name == section).count(),
                1,
                "{section}: {found:?}"
            );
        }
        // Pages are read on other machines.
        assert!(!text.contains("TLS provider"));
        // Each other page that is named is there.
        for other in plain(&text).split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            if other.starts_with("jumpstarter-router-") && text.contains(&format!("{other}(1)")) {
                assert!(made.join(format!("{other}.1")).is_file(), "{name}: {other}");
            }
        }
    }
    assert_eq!(
        says(&["man", "token", "mint"]),
        fs::read_to_string(made.join("jumpstarter-router-token-mint.1")).unwrap()
    );
    format(&pages);
}

/// Has the pages formatted, where there is something to do so with, and wants no complaints.
fn format(pages: &[std::path::PathBuf]) {
    let formatter = ["mandoc", "groff"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok());
    let Some(formatter) = formatter else {
        eprintln!("skipped: neither mandoc nor groff is installed");
        return;
    };
    for page in pages {
        let mut command = Command::new(formatter);
        match formatter {
            "mandoc" => command.args(["-T", "lint", "-W", "error"]),
            _ => command.args(["-man", "-ww", "-Tutf8", "-z"]),
        };
        let output = command.arg(page).output().unwrap();
        assert!(
            output.stderr.is_empty(),
            "{}: {}",
            page.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
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
