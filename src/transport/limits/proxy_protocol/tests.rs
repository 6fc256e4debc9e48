#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use ppp::{HeaderResult, PartialResult, v2};
use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;

/// Bytes that arrive in pieces.
struct Pieces<'b> {
    bytes: &'b [u8],
    lengths: std::iter::Cycle<std::vec::IntoIter<usize>>,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.lengths.next().unwrap_or(1).max(1);
        let (now, later) = self
            .bytes
            .split_at(most.min(self.bytes.len()).min(buf.remaining()));
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

/// Reads a header in pieces; gives what was read and what is left.
fn read_in(bytes: &[u8], lengths: Vec<usize>) -> (Result<Option<IpAddr>, HeaderError>, &[u8]) {
    let lengths = lengths.into_iter().cycle();
    let mut pieces = Pieces { bytes, lengths };
    let result = futures_util::FutureExt::now_or_never(read(&mut pieces)).unwrap();
    (result, pieces.bytes)
}

fn whole(bytes: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    let (result, rest) = read_in(bytes, vec![usize::MAX]);
    if result.is_ok() {
        assert!(rest.is_empty(), "{rest:?}");
    }
    result
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, body].concat()
}

#[test]
fn lines() {
    for (line, found) in [
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN whatever it is\r\n", None),
        (
            "PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n",
            Some(ip("192.0.2.7")),
        ),
        ("PROXY TCP6 :: :: 0 0\r\n", Some(ip("::"))),
        (
            "PROXY TCP6 2001:db8::7 ::1 51234 443\r\n",
            Some(ip("2001:db8::7")),
        ),
        (
            "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n",
            Some(ip("192.0.2.7")),
        ),
    ] {
        assert_eq!(whole(line.as_bytes()).unwrap(), found, "{line}");
    }
    for line in [
        "PROXY \r\n12345678",
        "PROXY TCP4\r\n1234",
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 51234\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 51234 443 1\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 51234 65536\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 01 443\r\n",
        "PROXY TCP4 192.0.2.7  10.0.0.1 1 443\r\n",
        "PROXY TCP4 192.0.2.256 10.0.0.1 1 443\r\n",
        "PROXY TCP4 2001:db8::7 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 443\n",
        "PROXY UNKNOWN a\nb\r\n",
        "proxy TCP4 192.0.2.7 10.0.0.1 1 443\r\n",
    ] {
        assert!(whole(line.as_bytes()).is_err(), "{line}");
    }
    assert!(matches!(
        whole(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Err(HeaderError::Missing)
    ));
    assert!(matches!(whole(b"\x16\x03\x01"), Err(HeaderError::Missing)));
    assert!(matches!(whole(b""), Err(HeaderError::Nothing)));
    assert!(matches!(whole(b"PROXY TC"), Err(HeaderError::Io(_))));
}

#[test]
fn the_longest_line_is_read_and_none_longer() {
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n");
    assert_eq!(longest.len(), LONGEST_LINE);
    assert_eq!(whole(longest.as_bytes()).unwrap(), None);
    let longer = longest.replace("65535\r", "65535 \r");
    let (result, rest) = read_in(longer.as_bytes(), vec![usize::MAX]);
    assert!(matches!(result, Err(HeaderError::Malformed(_))));
    assert_eq!(rest.len(), 1, "no further than the longest line");
}

#[test]
fn binary_headers() {
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x20, 1, 1, 0xbb];
    let mut v6 = [0; 36];
    v6[..2].copy_from_slice(&[0x20, 1]);
    v6[15] = 7;
    let tlvs = [
        v4.as_slice(),
        &[0x04, 0, 3, 0, 0, 0],
        &[0x20, 0, 5, 1, 0, 0, 0, 0],
    ]
    .concat();
    let long = [v4.as_slice(), &[0; LONGEST - FIXED - 12]].concat();
    for (header, found) in [
        (binary(1, 0x11, &v4), Some(ip("192.0.2.7"))),
        (binary(1, 0x11, &tlvs), Some(ip("192.0.2.7"))),
        (binary(1, 0x11, &long), Some(ip("192.0.2.7"))),
        (binary(1, 0x21, &v6), Some(ip("2001::7"))),
        (binary(0, 0x00, &[]), None),
        (binary(0, 0x11, &v4), None),
        (binary(0, 0x11, &[]), None),
        (binary(0, 0xff, &[1]), None),
        (binary(1, 0x00, &[]), None),
        (binary(1, 0x00, &tlvs), None),
        (binary(1, 0x12, &v4), None),
        (binary(1, 0x31, &[0; 216]), None),
    ] {
        assert_eq!(whole(&header).unwrap(), found, "{header:?}");
    }
    let mut version_1 = binary(1, 0x11, &v4);
    version_1[12] = 0x11;
    let too_long = [v4.as_slice(), &[0; LONGEST - FIXED - 11]].concat();
    for header in [
        version_1,
        binary(2, 0x11, &v4),
        binary(1, 0x41, &v4),
        binary(1, 0x13, &v4),
        binary(1, 0x11, &v4[..11]),
        binary(1, 0x21, &v6[..35]),
        binary(1, 0x11, &too_long),
    ] {
        assert!(
            matches!(whole(&header), Err(HeaderError::Malformed(_))),
            "{:?}",
            &header[..16]
        );
    }
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::from),
        any::<Ipv6Addr>().prop_map(IpAddr::from)
    ]
}

/// The source, and a header that names it as another implementation writes it.
fn any_header() -> impl Strategy<Value = (IpAddr, Vec<u8>)> {
    let addresses = (any_ip(), any::<u128>(), any::<[u16; 2]>());
    let tlv = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..100));
    let tlvs = prop::collection::vec(tlv, 0..5);
    (any::<bool>(), addresses, tlvs).prop_map(|(text, (source, other, ports), tlvs)| {
        let destination: IpAddr = match source {
            IpAddr::V4(_) => Ipv4Addr::from_bits(other as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(other).into(),
        };
        if text {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let [from, to] = ports;
            let line = format!("PROXY {family} {source} {destination} {from} {to}\r\n");
            return (source, line.into_bytes());
        }
        let ends = (
            SocketAddr::new(source, ports[0]),
            SocketAddr::new(destination, ports[1]),
        );
        let command = v2::Version::Two | v2::Command::Proxy;
        let mut builder = v2::Builder::with_addresses(command, v2::Protocol::Stream, ends);
        for (kind, value) in &tlvs {
            builder = builder.write_tlv(*kind, value).unwrap();
        }
        (source, builder.build().unwrap())
    })
}

proptest! {
    #[test]
    fn every_header_is_read_in_any_pieces_and_nothing_behind_it(
        (source, header) in any_header(),
        behind in prop::collection::vec(any::<u8>(), 0..300),
        lengths in prop::collection::vec(1usize..50, 1..20),
    ) {
        let bytes = [header, behind.clone()].concat();
        let (result, rest) = read_in(&bytes, lengths);
        prop_assert_eq!(result.unwrap(), Some(source.to_canonical()));
        prop_assert_eq!(rest, behind);
    }

    #[test]
    fn part_of_a_header_is_never_taken_for_one((_, header) in any_header(), cut in any::<prop::sample::Index>()) {
        let (result, _) = read_in(&header[..cut.index(header.len())], vec![7]);
        prop_assert!(matches!(result, Err(HeaderError::Io(_) | HeaderError::Nothing)), "{:?}", result);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0usize..3) {
        let start: &[u8] = [b"".as_slice(), TEXT, SIGNATURE][start];
        let _ = read_in(&[start, &bytes].concat(), vec![usize::MAX]);
    }

    /// Changed in one place, it is read as another implementation reads it, or refused.
    #[test]
    fn a_changed_header_is_read_as_others_do(
        (_, mut header) in any_header(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let at = at.index(header.len());
        header[at] = byte;
        let (result, rest) = read_in(&header, vec![usize::MAX]);
        let Ok(address) = result else { return Ok(()) };
        if header[0] == b'\r' && header[12] == 0x20 {
            // LOCAL: the rest is not looked at here.
            return Ok(());
        }
        let other = HeaderResult::parse(&header);
        prop_assert!(other.is_complete());
        let (length, found) = match other {
            HeaderResult::V1(Ok(header)) => (header.header.len(), match header.addresses {
                ppp::v1::Addresses::Tcp4(pair) => Some(IpAddr::from(pair.source_address)),
                ppp::v1::Addresses::Tcp6(pair) => Some(IpAddr::from(pair.source_address)),
                ppp::v1::Addresses::Unknown => None,
            }),
            HeaderResult::V2(Ok(header)) => {
                let proxied = header.command == v2::Command::Proxy && header.protocol == v2::Protocol::Stream;
                (header.len(), match header.addresses {
                    v2::Addresses::IPv4(pair) if proxied => Some(IpAddr::from(pair.source_address)),
                    v2::Addresses::IPv6(pair) if proxied => Some(IpAddr::from(pair.source_address)),
                    _ => None,
                })
            }
            other => panic!("accepted here, and there {other:?}"),
        };
        prop_assert_eq!(address, found.map(|ip| ip.to_canonical()));
        prop_assert_eq!(header.len() - rest.len(), length);
    }
}
