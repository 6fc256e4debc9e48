//! What is written, and when.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn draft(dir: &tempfile::TempDir) -> Draft {
    Draft::of(&dir.path().join("deep/lab")).unwrap()
}

fn written(draft: Draft) -> Folder {
    draft.make().unwrap();
    draft.write().unwrap()
}

const ACCESS: Access<'_> = Access {
    endpoint: "127.0.0.1:8083",
    certificate: "PEM",
    token: "a.b.c",
};

#[test]
fn a_first_start_writes_everything_for_its_owner_only_and_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = draft(&dir);
    let settings = first.settings().unwrap();
    assert!(settings.exporters.contains_key("mock"));
    let key = first.token_key().unwrap();
    let me = Holder::new(Kind::Client, "me");
    assert_eq!(first.folder().token(&me), None);
    first.config(&me, ACCESS).unwrap();
    first.current_client(&settings).unwrap();
    let certificate = first.certificate("localhost", SystemTime::now()).unwrap();
    assert!(
        fs::read_dir(dir.path()).unwrap().next().is_none(),
        "nothing yet"
    );
    let folder = written(first);
    assert_eq!(folder.token(&me).unwrap(), "a.b.c");
    for name in [
        "token.key",
        "clients/me.yaml",
        "lab.toml",
        "config.yaml",
        "tls.key",
    ] {
        let mode = folder.path().join(name).metadata().unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    assert!(folder.path().join(".gitignore").exists());
    let mut second = draft(&dir);
    assert_eq!(second.token_key().unwrap(), key);
    let same = second.certificate("localhost", SystemTime::now()).unwrap();
    assert_eq!(same, certificate);
    second.settings().unwrap();
    second.config(&me, ACCESS).unwrap();
    second.current_client(&settings).unwrap();
    assert!(second.files.is_empty());
}

#[test]
fn what_was_written_in_a_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mock = Holder::new(Kind::Exporter, "mock");
    let mut first = draft(&dir);
    first.config(&mock, ACCESS).unwrap();
    let path = written(first).config(&mock);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("MockPower"));
    let own = text.replace("power:", "my-power: # mine");
    fs::write(&path, &own).unwrap();
    let other = Access {
        endpoint: "lab:1",
        certificate: "OTHER",
        token: "d.e.f",
    };
    let mut second = draft(&dir);
    second.config(&mock, other).unwrap();
    written(second);
    let text = fs::read_to_string(&path).unwrap();
    let ca = STANDARD.encode("OTHER");
    for part in ["my-power: # mine", "\"lab:1\"", "\"d.e.f\"", ca.as_str()] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::write(&path, "kind: ExporterConfig\n").unwrap();
    let error = draft(&dir).config(&mock, other).unwrap_err().to_string();
    assert!(error.contains("no line for endpoint"), "{error}");
}

#[test]
fn the_first_client_is_the_current_one_unless_jmp_has_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let current = |people: &str, expected: &str| {
        let settings = Settings::parse(people, Path::new("lab.toml")).unwrap();
        let mut draft = draft(&dir);
        draft.current_client(&settings).unwrap();
        let path = written(draft).path().join("config.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let found = yaml::get(&text, &["config", "current-client"]);
        assert_eq!(found, Some(expected), "{people}");
        path
    };
    current("[clients.zoe]\n[clients.amy]", "zoe");
    let path = current("[clients.amy]\n[clients.zoe]", "amy");
    // As jmp writes it.
    let chosen =
        "apiVersion: jumpstarter.dev/v1alpha1\nconfig:\n  current-client: zoe\nkind: UserConfig\n";
    fs::write(&path, chosen).unwrap();
    current("[clients.amy]\n[clients.zoe]", "zoe");
    current("[clients.amy]\n[clients.you]", "amy");
}

#[test]
fn a_bad_key_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = written(draft(&dir));
    fs::write(folder.path().join("token.key"), "short").unwrap();
    let error = draft(&dir).token_key().unwrap_err().to_string();
    assert!(error.contains("holds no key"), "{error}");
}

#[test]
fn a_file_in_the_way_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lab");
    fs::write(&path, "").unwrap();
    let error = Draft::of(&path).unwrap_err().to_string();
    assert!(error.contains("cannot create"), "{error}");
}
