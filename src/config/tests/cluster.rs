//! The files that the section `cluster` names.

use super::{KEY, env, write};
use crate::config::{Loaded, Problems, Sources, load};

fn with(key: &str, file: &str) -> Result<Loaded, Problems> {
    let name = format!("JUMPSTARTER_ROUTER_CLUSTER_{key}");
    load(&Sources {
        env: env(&[("ROUTER_KEY", KEY), (&name, file)]),
        ..Sources::default()
    })
}

#[test]
fn credentials_are_read_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory, "credentials", "router:secret\n");
    let loaded = with("CREDENTIALS_FILE", file.to_str().unwrap()).unwrap();
    let read = loaded.config.cluster.credentials_file.as_ref().unwrap();
    assert_eq!(read.key.expose(), b"router:secret\n");
    assert!(!format!("{:?}", loaded.config).contains("secret"));

    write(&directory, "credentials", "\n");
    let empty = with("CREDENTIALS_FILE", file.to_str().unwrap()).unwrap_err();
    let empty = empty.to_string();
    assert!(empty.contains("cluster.credentials_file: "), "{empty}");
    assert!(empty.contains("is empty"), "{empty}");
    let missing = with("CREDENTIALS_FILE", "/nonexistent/file").unwrap_err();
    let missing = missing.to_string();
    assert!(
        missing.contains("/nonexistent/file cannot be read"),
        "{missing}"
    );
}

#[test]
fn the_authorities_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory, "ca.crt", "some text");
    let loaded = with("CA", file.to_str().unwrap()).unwrap();
    let ca = loaded.config.cluster.ca.unwrap();
    assert_eq!(ca.text.unwrap().expose(), b"some text");
}
