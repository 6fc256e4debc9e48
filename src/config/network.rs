//! Networks as values.

use std::net::IpAddr;

use ipnet::IpNet;

use super::list::Element;
use super::setting::{Setting, quoted};

/// A network, such as `10.0.0.0/8`, or one address.
impl Setting for IpNet {
    const EXPECTS: &'static str = "a network such as \"10.0.0.0/8\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let net = match text.parse::<Self>() {
            Ok(net) => net,
            Err(_) => match text.parse::<IpAddr>() {
                Ok(address) => address.to_canonical().into(),
                Err(_) => return Err("expected networks such as 10.0.0.0/8".to_owned()),
            },
        };
        if let IpAddr::V6(address) = net.addr()
            && address.to_ipv4_mapped().is_some()
        {
            return Err("expected an IPv4 network without \"::ffff:\"".to_owned());
        }
        if net.trunc() != net {
            let meant = net.trunc();
            return Err(format!(
                "{net} has bits behind its prefix; meant is {meant}"
            ));
        }
        Ok(net)
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Element for IpNet {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ] {
            let network = IpNet::from_text(text).map(|network| network.to_string());
            assert_eq!(network.as_deref(), Ok(shown));
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0/8",
            "10.0.0.1/8",
            "::ffff:10.0.0.0/104",
            "lb",
        ] {
            assert!(IpNet::from_text(text).is_err(), "{text}");
        }
    }
}
