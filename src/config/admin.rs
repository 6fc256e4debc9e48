//! Who may reach the administrator's address, and with what.

use std::net::SocketAddr;

use super::files::read_key;
use super::loading::Loading;
use super::problem::{Origin, printable};
use super::sections::Admin;
use super::types::Secret;
use crate::auth::without_newline;

const ADDRESS: &str = "listen.admin_address";
const TOKEN: &str = "admin.token";
const FILE: &str = "admin.token_file";

/// A token needs so many bytes: a shorter one might be guessed.
const SAFE_TOKEN: usize = 16;

impl Admin {
    /// Gives the token that requests must carry, from wherever it comes.
    pub fn secret(&self) -> Option<&Secret> {
        let file = self.token_file.as_ref().map(|file| &file.key);
        self.token.as_ref().or(file)
    }
}

/// Reads the file of `admin.token_file`.
pub(super) fn read_token(loading: &mut Loading) {
    let Some(file) = &mut loading.config.admin.token_file else {
        return;
    };
    let text = if loading.config.admin.token.is_some() {
        format!("set together with {TOKEN}; set one of them")
    } else {
        match read_key(&file.path) {
            Ok(token) => {
                file.key = Secret::new(without_newline(&token));
                return;
            }
            Err(error) => format!(
                "{} cannot be read: {error}; check that it exists and that the router may read it",
                printable(&file.path.display().to_string())
            ),
        }
    };
    loading.problem_at(FILE, text);
}

/// Lets the default address give way to one that was asked for.
pub(super) fn give_way(loading: &mut Loading, others: &[(&'static str, Option<SocketAddr>)]) {
    let Some(admin) = loading.config.listen.admin_address else {
        return;
    };
    let taken = |(_, other): &&(_, Option<SocketAddr>)| other.is_some_and(|o| overlap(admin, o));
    if *loading.origins.of(ADDRESS) == Origin::Default
        && let Some((key, _)) = others.iter().find(taken)
    {
        loading.config.listen.admin_address = None;
        loading.warnings.push(format!(
            "{key} takes {admin}, the default of {ADDRESS}; there is no admin page or API until that is set"
        ));
    }
}

/// Whether the second of two listeners could not be opened. Port 0 is a fresh port each time.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_host
}

/// Checks that the address is guarded, as whoever is let in there can end streams.
pub(super) fn validate(loading: &mut Loading) {
    if let Some(token) = loading.config.admin.secret() {
        let token = token.expose();
        if token.len() < SAFE_TOKEN || !token.iter().all(u8::is_ascii_graphic) {
            let from_file = loading.config.admin.token_file.is_some();
            let text = format!(
                "expected at least {SAFE_TOKEN} printable ASCII characters without spaces, such as \
                 the output of `openssl rand -hex 32`"
            );
            loading.fail(&[if from_file { FILE } else { TOKEN }], text);
        }
        return;
    }
    let unknown = loading.is_bad(FILE) || loading.is_bad(TOKEN) || loading.unreadable;
    if let Some(address) = loading.config.listen.admin_address
        && !address.ip().to_canonical().is_loopback()
        && !unknown
    {
        let text = format!(
            "{address} can be reached from other machines, and whoever reaches it can end streams: set \
             {TOKEN} or {FILE}, or an address such as 127.0.0.1:{}",
            address.port()
        );
        loading.fail(&[ADDRESS], text);
    }
}
