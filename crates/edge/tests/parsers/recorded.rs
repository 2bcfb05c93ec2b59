//! What real programs send.

use std::net::SocketAddr;

use sextant_edge::{
    hello::{self, HelloParser},
    http_host::{HostParser, Refused},
    proxy_protocol::{Decoder, Progress},
};

use crate::corpus::recorded;

/// Checks each recorded file against what is expected of it; both lists must be complete.
fn check<T: PartialEq + std::fmt::Debug>(
    folder: &str,
    wanted: &[(&str, T)],
    parse: impl Fn(&[u8]) -> T,
) {
    let files = recorded(folder);
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, wanted.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for ((name, bytes), (_, want)) in files.iter().zip(wanted) {
        assert_eq!(&parse(bytes), want, "{name}");
    }
}

/// Name, ECH, records, and how many bytes are left after the hello.
type Summary = (Option<String>, bool, u32, usize);

/// Feeds single bytes, so every prefix is asked about.
fn summary(bytes: &[u8]) -> Summary {
    let mut parser = HelloParser::new();
    for (at, byte) in bytes.iter().enumerate() {
        if let hello::Progress::Done(verdict) = parser.feed(&[*byte]) {
            let found = verdict.expect("a good hello");
            let size = found.size as usize + 5 * found.records as usize;
            assert_eq!(at + 1, size, "done with the last byte of the message");
            let whole = HelloParser::new().feed(bytes);
            assert_eq!(whole, hello::Progress::Done(Ok(found.clone())));
            let name = found.server_name.map(|name| name.to_string());
            return (name, found.ech_offered, found.records, bytes.len() - size);
        }
    }
    panic!("no verdict")
}

#[test]
fn hellos_of_tls_libraries_and_browsers_are_read() {
    let foo = |ech, records, left| (Some("foo.example.com".to_owned()), ech, records, left);
    check(
        "hello",
        &[
            ("boringssl-as-chrome131", foo(true, 1, 0)),
            ("boringssl-as-firefox135", foo(true, 1, 0)),
            ("boringssl-as-safari180", foo(false, 1, 0)),
            ("curl-7.88", foo(false, 1, 0)),
            ("node-20", foo(false, 1, 0)),
            ("openssl-3.0", foo(false, 1, 0)),
            ("openssl-3.0-early-data", foo(false, 1, 69)),
            ("openssl-3.0-no-sni", (None, false, 1, 0)),
            ("openssl-3.0-three-records", foo(false, 3, 0)),
            ("openssl-3.0-tls12", foo(false, 1, 0)),
            ("python-3-mixed-case", foo(false, 1, 0)),
        ],
        summary,
    );
}

#[test]
fn requests_of_curl_are_read() {
    let parse = |bytes: &[u8]| match HostParser::new().feed(bytes) {
        hello::Progress::Done(verdict) => {
            verdict.map(|found| found.host.expect("a host").to_string())
        }
        hello::Progress::NeedMore => panic!("no verdict"),
    };
    check(
        "http",
        &[
            ("curl-7.88", Ok("foo.example.com".to_owned())),
            ("curl-7.88-connect", Ok("foo.example.com".to_owned())),
            ("curl-7.88-h2c", Err(Refused::Http2)),
            ("curl-7.88-http1.0", Ok("localhost".to_owned())),
            ("curl-7.88-proxy", Ok("foo.example.com".to_owned())),
        ],
        parse,
    );
}

#[test]
fn headers_of_haproxy_are_read_up_to_the_first_byte_of_the_client() {
    let parse = |bytes: &[u8]| {
        let Progress::Done(verdict) = Decoder::new().feed(bytes) else { panic!("no verdict") };
        let found = verdict.expect("a good header");
        assert_eq!(&bytes[found.consumed..], b"hello");
        let ends = found.addresses.expect("addresses");
        [ends.source, ends.destination].map(|end: SocketAddr| end.ip().to_string())
    };
    let v4 = ["127.0.0.1", "127.0.0.1"].map(str::to_owned);
    let v6 = ["::1", "::1"].map(str::to_owned);
    check(
        "proxy",
        &[
            ("haproxy-2.6-ipv4", v4.clone()),
            ("haproxy-2.6-ipv4-crc32c", v4),
            ("haproxy-2.6-ipv6-crc32c", v6),
        ],
        parse,
    );
}
