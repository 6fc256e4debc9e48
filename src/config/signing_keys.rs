//! Signing keys: whether there are any, and whether they are fit to be keys.

use super::SigningKey;
use super::key_directory::KeyDirectory;
use super::loading::Loading;
use super::problem::Origin;
use super::types::Secret;
use crate::auth::{RECOMMENDED_SECRET_LEN as SAFE_KEY, without_newline};

/// More keys than a change of keys needs.
const MOST_KEYS: usize = 64;

/// Checks the keys of a configuration, wherever they come from.
pub(super) fn validate(loading: &mut Loading) {
    const SETTINGS: [&str; 4] = [
        "auth.key",
        "auth.extra_keys",
        "auth.key_files",
        "auth.key_directory",
    ];
    let config = loading.config.clone();
    let keys = config.signing_keys();
    let bad = SETTINGS.iter().any(|key| loading.is_bad(key));
    if keys.is_empty() && !bad && !loading.unreadable {
        let text =
            "no signing key: set ROUTER_KEY, or auth.key, or auth.key_files, or auth.key_directory";
        loading.problem(Origin::Default, None, text);
        // Warnings are not shown then.
        let remarks = config
            .auth
            .key_directory
            .iter()
            .flat_map(KeyDirectory::remarks);
        for remark in remarks {
            loading.problem_at("auth.key_directory", remark);
        }
    }
    if keys.len() > MOST_KEYS {
        // Every one is tried on a forged token.
        let text = format!("found {} keys, expected at most {MOST_KEYS}", keys.len());
        loading.fail(&SETTINGS, text);
    }
    for (index, key) in keys.iter().enumerate() {
        one_key(loading, key);
        let bare = without_newline(key.secret.expose());
        let same = |other: &&SigningKey<'_>| without_newline(other.secret.expose()) == bare;
        if let Some(twin) = keys[..index].iter().find(same) {
            let text = format!("{} is the same key as {}", key.name, twin.name);
            loading.warnings.push(text);
        }
    }
}

fn one_key(loading: &mut Loading, key: &SigningKey<'_>) {
    let secret = without_newline(key.secret.expose());
    let wrong = if secret.is_empty() {
        "the key is empty, so anyone could sign tokens"
    } else if secret == Secret::HIDDEN.as_bytes() {
        "this stands for a hidden key and is none itself"
    } else {
        if secret.len() < SAFE_KEY {
            loading.warnings.push(format!(
                "{} is shorter than {SAFE_KEY} bytes; use at least {SAFE_KEY} random bytes",
                key.name
            ));
        }
        if has_white_space(secret) {
            loading.warnings.push(format!(
                "{} has white space in it; a key is used as it is, so make sure that it is one",
                key.name
            ));
        }
        return;
    };
    // The problem names the setting itself.
    let which = key.name.strip_prefix(key.setting).unwrap_or(&key.name);
    let text = match which {
        "" => wrong.to_owned(),
        which => format!("{which}: {wrong}"),
    };
    loading.fail(&[key.setting], text);
}

/// Whether this is text with white space in it, such as a sentence, or a key that was broken into lines. Of keys that
/// are no text every other one has such a byte.
fn has_white_space(secret: &[u8]) -> bool {
    let is_text = |text: &&str| !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    std::str::from_utf8(secret)
        .ok()
        .filter(is_text)
        .is_some_and(|text| text.contains(char::is_whitespace))
}
