//! Reads the files that a configuration names, but for those that set its keys.

use super::Config;
use super::files::{KeyFile, PemFile, read_key, unreadable};
use super::loading::Loading;
use super::problem::printable;
use super::sections::Admin;
use super::types::Secret;
use crate::auth::without_newline;

const DIRECTORY: &str = "auth.key_directory";

/// Reads every file that the configuration names.
pub(super) fn read_all(loading: &mut Loading) {
    let Config {
        tls,
        drain,
        cluster,
        ..
    } = &mut loading.config;
    let files = [
        &mut tls.certificate,
        &mut tls.key,
        &mut tls.client_ca,
        &mut drain.forward_ca,
        &mut cluster.ca,
    ];
    for file in files.into_iter().flatten() {
        *file = PemFile::read(std::mem::take(&mut file.path));
    }
    let mut files = std::mem::take(&mut loading.config.auth.key_files);
    read_keys(&mut files, "auth.key_files", loading);
    loading.config.auth.key_files = files;
    read_directory(loading);
    let admin = &loading.config.admin;
    let given = admin.token.as_ref().map(|_| "admin.token");
    let read_given = admin.read_token.as_ref().map(|_| "admin.read_token");
    read_token(
        loading,
        "admin.token_file",
        |admin| &mut admin.token_file,
        given,
    );
    read_token(
        loading,
        "admin.read_token_file",
        |admin| &mut admin.read_token_file,
        read_given,
    );
    read_credentials(loading);
}

fn read_keys(files: &mut [KeyFile], setting: &'static str, loading: &mut Loading) {
    for file in files {
        let what = match read_key(&file.path) {
            Ok(key) if without_newline(&key).is_empty() => {
                "is empty; put the key into it".to_owned()
            }
            Ok(key) => {
                file.key = Secret::new(key);
                continue;
            }
            Err(error) => unreadable(&error),
        };
        let path = printable(&file.path.display().to_string());
        loading.problem_at(setting, format!("{path} {what}"));
    }
}

/// Reads the keys of the directory that is configured, if one is.
fn read_directory(loading: &mut Loading) {
    let Some(mut directory) = loading.config.auth.key_directory.take() else {
        return;
    };
    if let Err(error) = directory.list() {
        let path = printable(&directory.path.display().to_string());
        let text = format!("{path} cannot be listed: {error}; name a directory of key files");
        loading.problem_at(DIRECTORY, text);
    }
    read_keys(&mut directory.files, DIRECTORY, loading);
    let remarks = directory.remarks().into_iter();
    loading
        .warnings
        .extend(remarks.map(|remark| format!("{DIRECTORY}: {remark}")));
    loading.config.auth.key_directory = Some(directory);
}

/// Reads the file of a token, unless the token itself is `given`.
fn read_token(
    loading: &mut Loading,
    setting: &'static str,
    file: fn(&mut Admin) -> &mut Option<KeyFile>,
    given: Option<&'static str>,
) {
    let Some(file) = file(&mut loading.config.admin) else {
        return;
    };
    let text = if let Some(given) = given {
        format!("set together with {given}; set one of them")
    } else {
        match read_key(&file.path) {
            Ok(token) => {
                file.key = Secret::new(without_newline(&token));
                return;
            }
            Err(error) => {
                let path = printable(&file.path.display().to_string());
                format!("{path} {}", unreadable(&error))
            }
        }
    };
    loading.problem_at(setting, text);
}

/// Reads the file of `cluster.credentials_file`.
fn read_credentials(loading: &mut Loading) {
    let Some(file) = &mut loading.config.cluster.credentials_file else {
        return;
    };
    let what = match read_key(&file.path) {
        Ok(text) if text.trim_ascii().is_empty() => {
            "is empty; put NATS credentials into it, user:password, or a token".to_owned()
        }
        Ok(text) => {
            file.key = Secret::new(text);
            return;
        }
        Err(error) => unreadable(&error),
    };
    let path = printable(&file.path.display().to_string());
    loading.problem_at("cluster.credentials_file", format!("{path} {what}"));
}
