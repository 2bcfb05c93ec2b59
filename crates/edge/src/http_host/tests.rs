use proptest::prelude::*;

use super::{HostParser, MAX_HEAD, Part, Progress, Refused};
use crate::hello::{InvalidName, ServerName};

/// The host, or why not, of bytes that come in pieces of `size`; empty if they are a good head that
/// names none.
fn host_in_pieces(head: &[u8], size: usize) -> Option<Result<String, Refused>> {
    let mut parser = HostParser::new();
    head.chunks(size).find_map(|piece| match parser.feed(piece) {
        Progress::NeedMore => None,
        Progress::Done(verdict) => {
            Some(verdict.map(|found| found.host.map_or(String::new(), |host| host.to_string())))
        }
    })
}

fn host(head: &str) -> Option<Result<String, Refused>> {
    let whole = host_in_pieces(head.as_bytes(), usize::MAX);
    assert_eq!(host_in_pieces(head.as_bytes(), 1), whole, "{head:?}");
    whole
}

#[test]
fn the_host_of_a_request_is_found() {
    for head in [
        "GET / HTTP/1.1\r\nHost: foo.example\r\n\r\n",
        "GET /path?q=%20#x HTTP/1.0\r\nAccept: */*\r\nhOST:FOO.example.:80 \t\r\nX: y\r\n\r\n",
        "\r\n\r\nPOST /ü HTTP/1.1\r\nhost:\t foo.example:\r\n\r\nbody Host: no\r\n\r\n",
        "GET http://foo.example/ HTTP/1.1\r\nHost: foo.example:80\r\n\r\n",
        "GET HTTPS://Foo.Example:443?x HTTP/1.1\r\nHost: foo.example\r\n\r\n",
        "GET http://foo.example HTTP/1.1\r\nHost: foo.example\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: foo.example\r\n\r\n",
        "CONNECT foo.example:443 HTTP/1.1\r\nHost: foo.example\r\n\r\n",
        "CONN / HTTP/1.1\r\nHost: foo.example\r\n\r\n",
        "CONNECTED / HTTP/1.1\r\nHost: foo.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHostess: a.example\r\nHos: b.example\r\nHost: foo.example\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Host: a.example\r\nEmpty:\r\nHost: foo.example\r\nY: \u{ff}\x01\r\n\r\n",
    ] {
        assert_eq!(host(head), Some(Ok("foo.example".to_owned())), "{head:?}");
    }
}

#[test]
fn a_good_request_may_name_no_host() {
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\nAccept: */*\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \t\r\n\r\n",
    ] {
        assert_eq!(host(head), Some(Ok(String::new())), "{head:?}");
    }
}

#[test]
fn an_address_for_a_host_is_no_name() {
    for value in ["192.0.2.1", "192.0.2.1:8080", "[2001:db8::1]", "[2001:db8::1]:80", "fe80::1"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
        let mut parser = HostParser::new();
        let Progress::Done(Ok(found)) = parser.feed(head.as_bytes()) else { panic!("{value}") };
        assert_eq!((found.host, found.address_for_name), (None, true), "{value}");
    }
    for (head, want) in [
        ("GET http://192.0.2.1:80/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", Ok(String::new())),
        ("GET http://[::1]/ HTTP/1.1\r\nHost: [0::1]:80\r\n\r\n", Ok(String::new())),
        ("GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.2\r\n\r\n", Err(Refused::HostMismatch)),
        ("GET http://192.0.2.1/ HTTP/1.1\r\nHost: a.example\r\n\r\n", Err(Refused::HostMismatch)),
        ("GET http://a.example/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", Err(Refused::HostMismatch)),
        ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", Err(Refused::InvalidPort)),
        ("GET / HTTP/1.1\r\nHost: [::1]:x\r\n\r\n", Err(Refused::InvalidPort)),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.1:+1\r\n\r\n", Err(Refused::InvalidPort)),
    ] {
        assert_eq!(host(head), Some(want), "{head:?}");
    }
}

#[test]
fn requests_that_cannot_be_routed_say_why() {
    for (head, want) in [
        ("\x16", Refused::NotHttp),
        (" GET", Refused::NotHttp),
        ("\rG", Refused::NotHttp),
        ("\n", Refused::NotHttp),
        ("SSH-2.0-OpenSSH_9.2\r", Refused::NotHttp),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Refused::NotHttp),
        ("PRI * HTTP/2", Refused::Http2),
        ("GET / HTTP/2", Refused::Http2),
        ("GET / HTTP/3", Refused::Version),
        ("GET / HTTP/0", Refused::Version),
        ("GET http://a.example/ HTTP/1.0\r\n\r\n", Refused::HostMismatch),
        ("GET http://a.example/ HTTP/1.1\r\nHost:\r\n\r\n", Refused::HostMismatch),
        ("GET / HTTP/1.1\r\nHost: a.example\r\nhost:", Refused::SeveralHosts),
        ("GET / HTTP/1.1\r\nHost:\r\nHost:", Refused::SeveralHosts),
        ("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", Refused::HostMismatch),
        ("CONNECT a.example:1 HTTP/1.1\r\nHost: b.example\r\n\r\n", Refused::HostMismatch),
        ("GET / HTTP/1.1\r\nHost: a.example:x\r", Refused::InvalidPort),
        ("GET / HTTP/1.1\r\nHost: a.example:+1\r", Refused::InvalidPort),
        ("GET / HTTP/1.1\r\nHost: a.example:65536\r", Refused::InvalidPort),
        ("GET http://u:p@a.example/", Refused::InvalidPort),
    ] {
        assert_eq!(host(head), Some(Err(want)), "{head:?}");
        assert!(!want.metric().is_empty() && !want.to_string().is_empty());
    }
}

#[test]
fn hosts_that_are_no_names_say_why() {
    for (value, want) in [
        ("192.0.2", InvalidName::Number),
        ("0x7f.1:80", InvalidName::Number),
        ("[2001:db8::1", InvalidName::Character(b'[')),
        ("[192.0.2.1]", InvalidName::Character(b'[')),
        ("[fe80::1%25eth0]", InvalidName::Character(b'[')),
        ("a.example,b.example", InvalidName::Character(b',')),
        ("a.example b.example", InvalidName::Character(b' ')),
        ("user@a.example", InvalidName::Character(b'@')),
        ("a.example\0", InvalidName::Nul),
        (":80", InvalidName::Empty),
        ("a..example", InvalidName::EmptyLabel),
        (&"a".repeat(261), InvalidName::TooLong),
        (&"a".repeat(254), InvalidName::TooLong),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n");
        assert_eq!(host(&head), Some(Err(want.into())), "{value:?}");
    }
}

#[test]
fn spellings_that_servers_read_differently_are_refused() {
    for (head, part) in [
        ("GET  / HTTP/1.1", Part::Target),
        ("GET /\t HTTP/1.1", Part::Target),
        ("GET /\r\n", Part::Target),
        ("GET *x", Part::Target),
        ("GET ftp://a.example/", Part::Target),
        ("GET http:/a", Part::Target),
        ("GET a.example", Part::Target),
        ("GET / http/1.1", Part::Version),
        ("GET / HTTP/1.10", Part::Version),
        ("GET / HTTP/1.1\n", Part::Version),
        ("GET / HTTP/1.1 \r\n", Part::Version),
        ("GET / HTTP/1.1\r\r", Part::LineEnd),
        ("GET / HTTP/1.1\r\n\n", Part::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a.example\n", Part::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a.example\rX", Part::LineEnd),
        ("GET / HTTP/1.1\r\nX: y\n", Part::LineEnd),
        ("GET / HTTP/1.1\r\nX: y\rHost: a.example", Part::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\rX", Part::LineEnd),
        ("GET / HTTP/1.1\r\n Host: a.example", Part::Folded),
        ("GET / HTTP/1.1\r\nX: y\r\n\tz", Part::Folded),
        ("GET / HTTP/1.1\r\nHost : a.example", Part::FieldName),
        ("GET / HTTP/1.1\r\n: a.example", Part::FieldName),
        ("GET / HTTP/1.1\r\nHo\0st: a.example", Part::FieldName),
        ("GET / HTTP/1.1\r\nX: y\0", Part::FieldValue),
    ] {
        assert_eq!(host(head), Some(Err(Refused::Malformed(part))), "{head:?}");
    }
}

#[test]
fn every_prefix_waits_and_the_verdict_stays() {
    let head = "GET http://a.example/ HTTP/1.1\r\nX: y\r\nHost: a.example\r\n\r\n";
    let mut parser = HostParser::new();
    assert!(!parser.has_begun());
    for byte in &head.as_bytes()[..head.len() - 1] {
        assert_eq!(parser.feed(&[*byte]), Progress::NeedMore);
        assert!(parser.has_begun());
    }
    let done = parser.feed(b"\nHost: b.example\r\n");
    let Progress::Done(Ok(found)) = &done else { panic!("{done:?}") };
    assert_eq!(
        (found.host.as_ref().map(ServerName::as_str), found.size as usize),
        (Some("a.example"), head.len())
    );
    assert_eq!(parser.feed(b"GET / HTTP/1.1\r\n"), done);
}

#[test]
fn the_cap_holds_at_its_exact_value() {
    let head = |length: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a.example\r\nX: \r\n\r\n";
        head.replace("X: ", &format!("X: {}", "y".repeat(length - head.len())))
    };
    let cap = MAX_HEAD as usize;
    assert_eq!(host(&head(cap)), Some(Ok("a.example".to_owned())));
    assert_eq!(host(&head(cap + 1)), Some(Err(Refused::TooLarge)));
    assert_eq!(host(&"\r\n".repeat(cap / 2)), Some(Err(Refused::TooLarge)));
    assert_eq!(host(&head(cap + 1)[..cap - 1]), None);
}

proptest! {
    #[test]
    fn pieces_and_mutations_never_change_what_whole_bytes_say(
        size in 1_usize..60,
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut head = b"GET http://a.example/x HTTP/1.1\r\nHost: a.example:80\r\nX: y\r\n\r\n".to_vec();
        for (at, byte) in mutations {
            let at = at.index(head.len());
            head[at] = byte;
        }
        let whole = host_in_pieces(&head, usize::MAX);
        prop_assert_eq!(&host_in_pieces(&head, size), &whole);
        prop_assert_eq!(&host_in_pieces(&head, 1), &whole);
    }

    #[test]
    fn any_bytes_get_a_verdict_or_wait(bytes in prop::collection::vec(any::<u8>(), 1..600)) {
        prop_assert_eq!(host_in_pieces(&bytes, usize::MAX), host_in_pieces(&bytes, 1));
    }
}
