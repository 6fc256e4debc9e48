//! The lab's own addresses are reached without a proxy, whatever the environment says of others.

use std::{collections::BTreeSet, ffi::OsString};

/// Any of these has clients and exporters go through a proxy.
const PROXIES: [&str; 4] = ["grpc_proxy", "https_proxy", "http_proxy", "all_proxy"];

/// Which addresses are reached without one. gRPC's C core, in stock clients and exporters, reads the first of these only, in lower
/// case; what else they use may read either.
const EXCEPT: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Goes before `no_proxy` for gRPC's C core where it is set.
const EXCEPT_GRPC: &str = "no_grpc_proxy";

/// Gives the variables by which clients and exporters reach these hosts (host:port) without a proxy. None if no proxy is set.
pub(crate) fn around<'e>(
    env: &[(String, OsString)],
    endpoints: impl Iterator<Item = &'e str>,
) -> Vec<(String, String)> {
    let value = |name: &str| {
        let found = env.iter().find(|(known, _)| known == name);
        let text = found.map(|(_, value)| value.to_string_lossy().into_owned());
        text.filter(|text| !text.is_empty())
    };
    let is_set = |name: &str| {
        value(name)
            .or_else(|| value(&name.to_uppercase()))
            .is_some()
    };
    if !PROXIES.into_iter().any(is_set) {
        return Vec::new();
    }
    let hosts: BTreeSet<&str> = endpoints.map(host).collect();
    let with_ours = |given: Option<String>| {
        let given = given.unwrap_or_default();
        let mut all: Vec<&str> = given.split(',').map(str::trim).collect();
        all.retain(|entry| !entry.is_empty());
        for host in &hosts {
            if !all.contains(host) {
                all.push(host);
            }
        }
        all.join(",")
    };
    let mut variables: Vec<_> = EXCEPT
        .iter()
        .map(|name| {
            let given = value(name).or_else(|| EXCEPT.iter().find_map(|other| value(other)));
            ((*name).to_owned(), with_ours(given))
        })
        .collect();
    if let Some(given) = value(EXCEPT_GRPC) {
        variables.push((EXCEPT_GRPC.to_owned(), with_ours(Some(given))));
    }
    variables
}

fn host(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(env: &[(&str, &str)]) -> String {
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        let endpoints = ["127.0.0.1:8083", "[::1]:8084", "127.0.0.1:8085"];
        let variables = around(&env, endpoints.into_iter());
        let variables = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        variables.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn own_addresses_are_added_where_there_is_a_proxy() {
        let own = "no_proxy=127.0.0.1,::1 NO_PROXY=127.0.0.1,::1";
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[("https_proxy", ""), ("no_proxy", "x")]), "");
        for name in [
            "https_proxy",
            "HTTPS_PROXY",
            "http_proxy",
            "grpc_proxy",
            "ALL_PROXY",
        ] {
            assert_eq!(of(&[(name, "http://proxy:3128")]), own, "{name}");
        }
        let proxy = ("http_proxy", "http://proxy:3128");
        assert_eq!(
            of(&[proxy, ("NO_PROXY", "a, 127.0.0.1")]),
            "no_proxy=a,127.0.0.1,::1 NO_PROXY=a,127.0.0.1,::1"
        );
        assert_eq!(
            of(&[
                proxy,
                ("no_proxy", "a"),
                ("NO_PROXY", "b"),
                ("no_grpc_proxy", "c")
            ]),
            "no_proxy=a,127.0.0.1,::1 NO_PROXY=b,127.0.0.1,::1 no_grpc_proxy=c,127.0.0.1,::1"
        );
    }
}
