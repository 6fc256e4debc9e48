//! Who may reach the administrator's address, and with what.

use std::net::SocketAddr;

use super::loading::Loading;
use super::problem::Origin;
use super::sections::Admin;
use super::types::Secret;

const ADDRESS: &str = "listen.admin_address";
const TOKEN: &str = "admin.token";
const FILE: &str = "admin.token_file";
const READ_TOKEN: &str = "admin.read_token";
const READ_FILE: &str = "admin.read_token_file";

/// A token needs so many bytes: a shorter one might be guessed.
const SAFE_TOKEN: usize = 16;

impl Admin {
    /// Gives the token with which everything may be done, from wherever it comes.
    pub fn secret(&self) -> Option<&Secret> {
        let file = self.token_file.as_ref().map(|file| &file.key);
        self.token.as_ref().or(file)
    }

    /// Gives the token with which everything may be looked at, from wherever it comes.
    pub fn read_secret(&self) -> Option<&Secret> {
        let file = self.read_token_file.as_ref().map(|file| &file.key);
        self.read_token.as_ref().or(file)
    }
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
        loading.warn(format!(
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
    let admin = &loading.config.admin;
    let token = admin.secret().cloned();
    let read_token = admin.read_secret().cloned();
    let (file, read_file) = (admin.token_file.is_some(), admin.read_token_file.is_some());
    let key = if file { FILE } else { TOKEN };
    let read_key = if read_file { READ_FILE } else { READ_TOKEN };
    for (token, key) in [(&token, key), (&read_token, read_key)] {
        if !token.as_ref().is_none_or(is_safe) {
            let text = format!(
                "expected at least {SAFE_TOKEN} printable ASCII characters without spaces, such as \
                 the output of `openssl rand -hex 32`"
            );
            loading.fail(&[key], text);
        }
    }
    if token.is_some() && token == read_token {
        let text = format!("the same as {key}, so it would not only read; make another one");
        loading.fail(&[read_key], text);
    }
    let unknown = [FILE, TOKEN, READ_FILE, READ_TOKEN];
    if token.is_some() || loading.unreadable || unknown.iter().any(|key| loading.is_bad(key)) {
        return;
    }
    let Some(address) = loading.config.listen.admin_address else {
        return;
    };
    let is_local = address.ip().to_canonical().is_loopback();
    if read_token.is_none() && !is_local {
        let text = format!(
            "{address} can be reached from other machines, and whoever reaches it can end streams: set \
             {TOKEN} or {FILE}, or an address such as 127.0.0.1:{}",
            address.port()
        );
        loading.fail(&[ADDRESS], text);
    }
    if read_token.is_some() && is_local {
        let text = format!(
            "set without {TOKEN}, so nobody could change anything on {address}, where without any token every \
             process of this machine may; set {TOKEN} or {FILE} as well, or neither"
        );
        loading.fail(&[read_key], text);
    }
}

fn is_safe(token: &Secret) -> bool {
    let token = token.expose();
    token.len() >= SAFE_TOKEN && token.iter().all(u8::is_ascii_graphic)
}
