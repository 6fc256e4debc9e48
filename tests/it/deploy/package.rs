//! The Debian package: what is in it, and what its scripts do. `tests/package/run` installs it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use super::{UNIT, unit::Unit};

const MANIFEST: &str = include_str!("../../../Cargo.toml");
const CHANGELOG: &str = include_str!("../../../CHANGELOG.md");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/debian");

#[test]
fn the_package_holds_what_there_is() {
    let manifest: toml::Table = toml::from_str(MANIFEST).unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    let mut installed = Vec::new();
    for asset in package["assets"].as_array().unwrap() {
        let [source, target, mode] = [0, 1, 2].map(|index| asset[index].as_str().unwrap());
        let built = source.starts_with("target/");
        let pattern = source.split('*').next().unwrap();
        let there = concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + pattern;
        assert!(built || fs::exists(there).unwrap(), "{source}");
        assert_eq!(
            mode,
            if target == "usr/bin/" { "755" } else { "644" },
            "{source}"
        );
        let name = source.rsplit('/').next().unwrap();
        let name = if target.ends_with('/') { name } else { "" };
        installed.push(format!("/{target}{name}"));
    }
    // Where the unit looks for them.
    let unit = Unit::parse(UNIT);
    let program = unit.one("Service.ExecStart").split(' ').next().unwrap();
    for path in [
        program,
        "/etc/jumpstarter-router/config.toml",
        "/usr/lib/systemd/system/jumpstarter-router.service",
        "/usr/lib/systemd/system/jumpstarter-router.socket",
    ] {
        assert!(
            installed.iter().any(|there| there == path),
            "{path}: {installed:?}"
        );
    }
    for file in package["conf-files"].as_array().unwrap() {
        assert!(
            installed
                .iter()
                .any(|there| there == file.as_str().unwrap())
        );
    }
}

/// What a script asked of systemd, and of what debhelper uses, when dpkg calls it so. `enabled`: what the administrator has done.
fn asked(script: &str, args: &[&str], enabled: bool, root: &Path) -> Vec<String> {
    let tools = tempfile::tempdir().unwrap();
    let calls = tools.path().join("calls");
    for tool in ["systemctl", "deb-systemd-helper", "deb-systemd-invoke"] {
        let path = tools.path().join(tool);
        let answer = if enabled {
            ""
        } else {
            "case \"$*\" in *debian-installed*) exit 1 ;; esac\n"
        };
        let text = format!(
            "#!/bin/sh\necho \"$(basename \"$0\") $*\" >>{}\n{answer}",
            calls.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // As the script looks for it where dpkg installs to.
        let there = root.join("usr/bin").join(tool);
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        fs::write(&there, "").unwrap();
        fs::set_permissions(&there, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // The scripts look for a systemd that runs; what they do with one is their text with another place for it.
    let running = root.join("run/systemd/system");
    fs::create_dir_all(&running).unwrap();
    let text = fs::read_to_string(format!("{SCRIPTS}/{script}")).unwrap();
    let text = text
        .replace("[ -z \"$DPKG_ROOT\" ] && ", "")
        .replace("/run/systemd/system", running.to_str().unwrap());
    let path = std::env::var("PATH").unwrap();
    let ended = Command::new("sh")
        .args(["-c", &text, script])
        .args(args)
        .env("DPKG_ROOT", root)
        .env("PATH", format!("{}:{path}", tools.path().display()))
        .output()
        .unwrap();
    assert!(
        ended.status.success() && ended.stderr.is_empty(),
        "{script} {args:?}: {ended:?}"
    );
    let said = fs::read_to_string(calls).unwrap_or_default();
    said.lines().map(ToOwned::to_owned).collect()
}

const RELOAD: &str = "systemctl --system daemon-reload";
const RESTART: &str = "deb-systemd-invoke try-restart jumpstarter-router.service";
const STOP: &str = "deb-systemd-invoke stop jumpstarter-router.socket jumpstarter-router.service";

#[test]
fn an_installation_starts_nothing_and_an_update_restarts_what_runs() {
    let root = tempfile::tempdir().unwrap();
    let has = |calls: &[String], wanted: &str| calls.iter().any(|call| call == wanted);

    let calls = asked("postinst", &["configure", ""], false, root.path());
    assert!(has(&calls, RELOAD), "{calls:?}");
    assert!(
        !calls.iter().any(|call| call.contains(" enable ")),
        "{calls:?}"
    );
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("deb-systemd-invoke")),
        "{calls:?}"
    );
    let secrets = root.path().join("etc/jumpstarter-router/credentials");
    assert_eq!(
        secrets.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );

    let calls = asked("postinst", &["configure", "0.0.9-1"], true, root.path());
    let [before, after] =
        [RELOAD, RESTART].map(|wanted| calls.iter().position(|call| call == wanted));
    assert!(before.is_some() && before < after, "{calls:?}");
    for unit in ["jumpstarter-router.socket", "jumpstarter-router.service"] {
        assert!(
            has(&calls, &format!("deb-systemd-helper enable {unit}")),
            "{calls:?}"
        );
        assert!(
            has(&calls, &format!("deb-systemd-helper update-state {unit}")),
            "{calls:?}"
        );
    }
    // Not between the versions.
    assert_eq!(
        asked("prerm", &["upgrade", "0.1.0-2"], true, root.path()),
        [""; 0]
    );
    assert_eq!(
        asked("postrm", &["upgrade", "0.1.0-2"], true, root.path()),
        [""; 0]
    );
}

#[test]
fn a_removal_stops_it_and_a_purge_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    asked("postinst", &["configure", ""], false, root.path());
    let etc = root.path().join("etc/jumpstarter-router");
    fs::write(etc.join("credentials/router-key"), "secret").unwrap();
    // Both in one: else a connection on the socket would start it again.
    assert_eq!(asked("prerm", &["remove"], true, root.path()), [STOP]);
    assert_eq!(asked("postrm", &["remove"], true, root.path()), [RELOAD]);
    assert!(etc.join("credentials/router-key").exists());
    let calls = asked("postrm", &["purge"], true, root.path());
    assert_eq!(
        calls,
        ["deb-systemd-helper purge jumpstarter-router.socket jumpstarter-router.service"]
    );
    assert!(!etc.exists());
    assert!(root.path().join("etc").exists());
}

#[test]
fn the_changelog_becomes_debians() {
    let maintainer = "The Jumpstarter Authors <nobody@example.com>";
    let made = Command::new("awk")
        .args(["-f", &format!("{SCRIPTS}/changelog.awk")])
        .args([
            "-v",
            "version=0.1.0-7",
            "-v",
            "date=Thu, 01 Jan 2026 00:00:00 +0000",
        ])
        .args(["-v", &format!("maintainer={maintainer}")])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/CHANGELOG.md"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(text.starts_with("jumpstarter-router (0.1.0-7) unstable; urgency=medium\n\n  * "));
    let trailer = format!(" -- {maintainer}  Thu, 01 Jan 2026 00:00:00 +0000");
    assert!(text.lines().any(|line| line == trailer), "{text}");
    assert!(
        text.lines().all(|line| line == trailer || line.len() <= 80),
        "{text}"
    );
    // All that there is to say.
    let items = CHANGELOG
        .lines()
        .filter(|line| line.starts_with("- "))
        .count();
    assert_eq!(
        text.lines().filter(|line| line.starts_with("  * ")).count(),
        items
    );
    assert!(items > 15);
}

#[test]
fn the_changelog_has_the_version() {
    let version = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(CHANGELOG.lines().any(|line| line.starts_with(&version)));
    let kinds = [
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    ];
    for line in CHANGELOG.lines() {
        if let Some(kind) = line.strip_prefix("### ") {
            assert!(kinds.contains(&kind), "{kind}");
        }
    }
}
