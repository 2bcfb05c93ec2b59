use proptest::prelude::*;

use super::{
    ClientHello, HelloParser, InvalidName, MAX_MESSAGE, Part, Progress, Rejected,
    builder::HelloBuilder,
};

type Verdict = Result<ClientHello, Rejected>;

/// The verdict on bytes that come in one piece.
fn verdict(wire: &[u8]) -> Option<Verdict> {
    match HelloParser::new().feed(wire) {
        Progress::NeedMore => None,
        Progress::Done(verdict) => Some(verdict),
    }
}

/// The verdict on bytes that come in pieces of these sizes in turn.
fn verdict_in_pieces(mut wire: &[u8], sizes: &[usize]) -> Option<Verdict> {
    let mut parser = HelloParser::new();
    let mut sizes = sizes.iter().cycle();
    while !wire.is_empty() {
        let size = sizes.next().map_or(wire.len(), |size| (*size).clamp(1, wire.len()));
        if let Progress::Done(verdict) = parser.feed(&wire[..size]) {
            return Some(verdict);
        }
        wire = &wire[size..];
    }
    None
}

fn name(wire: &[u8]) -> Option<Result<Option<String>, Rejected>> {
    Some(verdict(wire)?.map(|hello| hello.server_name.map(|name| name.to_string())))
}

fn foo() -> HelloBuilder {
    HelloBuilder::for_name("foo.example.com")
}

/// The rows of hellos that proxies get wrong; the name is found in each.
fn routable() -> Vec<(&'static str, HelloBuilder)> {
    let before_name = 100;
    vec![
        ("one record", foo()),
        ("post-quantum", foo().post_quantum()),
        ("two records, divided in the header", foo().split_at(2)),
        ("two records, divided before the name", foo().split_at(before_name)),
        ("two records, divided inside the name", foo().split_at(before_name + 20)),
        ("two records, divided after the name", foo().split_at(250)),
        ("records of one byte", foo().records([1])),
        ("records of unequal length", foo().records([3, 90, 1, 17])),
        ("empty records between", foo().records([0, 0, 60, 0, 1, 0, 500])),
        ("post-quantum in two records", foo().post_quantum().split_at(1200)),
        ("15 KB in one record", foo().padded_to(15_000).sni_last()),
        ("15.9 KB in one record", foo().padded_to(15_900).sni_last()),
        ("20 KB in two records", foo().padded_to(20_000).split_at(16_384).sni_last()),
        ("64 KiB", foo().padded_to(65_536).sni_last()),
        ("16 KiB in records of one byte", foo().padded_to(16_384).sni_last().records([1])),
        ("64 KiB in records of four bytes", foo().padded_to(65_536).sni_last().records([4])),
        ("early data", foo().early_data(500)),
        ("much early data", foo().early_data(100_000)),
        ("ECH and GREASE", foo().ech_grease().grease()),
        ("record version 3.0", foo().record_version(0x0300)),
        ("record version 3.4", foo().record_version(0x0304)),
        ("mixed case", HelloBuilder::for_name("FoO.eXample.COM")),
        ("trailing dot", HelloBuilder::for_name("foo.example.com.")),
        ("TLS 1.0", foo().legacy_version(0x0301)),
        ("no session id", foo().session_id([])),
    ]
}

#[test]
fn every_shape_of_a_good_hello_is_routable() {
    for (case, hello) in routable() {
        let wire = hello.build();
        let found = verdict(&wire).expect(case).expect(case);
        assert_eq!(found.server_name.expect(case).as_str(), "foo.example.com", "{case}");
        assert_eq!(found.size as usize, hello.message().len(), "{case}");
        assert_eq!(found.ech_offered, case.contains("ECH"), "{case}");
    }
}

#[test]
fn a_hello_is_done_with_its_last_byte_and_not_before() {
    for (case, hello) in routable() {
        let wire = hello.build();
        let mut parser = HelloParser::new();
        assert!(!parser.has_begun());
        let done_at = wire.iter().position(|byte| {
            let progress = parser.feed(std::slice::from_ref(byte));
            assert!(parser.has_begun());
            progress != Progress::NeedMore
        });
        let records = verdict(&wire).expect(case).expect(case).records;
        let want = hello.message().len() + 5 * records as usize;
        assert_eq!(done_at, Some(want - 1), "{case}");
    }
}

#[test]
fn every_place_to_divide_a_hello_gives_the_same_name() {
    let whole = foo().grease().ech_grease();
    for first in 0..=whole.message().len() {
        let wire = whole.clone().split_at(first).build();
        assert_eq!(name(&wire), Some(Ok(Some("foo.example.com".to_owned()))), "{first}");
    }
}

#[test]
fn the_longest_name_may_end_with_a_dot() {
    let longest = format!("{}{}", "a.".repeat(126), "b");
    let wire = HelloBuilder::for_name(&format!("{longest}.")).build();
    assert_eq!(name(&wire), Some(Ok(Some(longest))));
}

#[test]
fn hellos_without_a_name_are_good_hellos() {
    for (case, hello) in [
        ("other extensions", HelloBuilder::new()),
        ("no extensions", HelloBuilder::new().without_extensions()),
    ] {
        assert_eq!(name(&hello.build()), Some(Ok(None)), "{case}");
    }
}

#[test]
fn bad_hellos_are_refused_with_their_reason() {
    let long_name = "a".repeat(255);
    let malformed = Rejected::Malformed;
    for (case, hello, want) in [
        ("duplicate SNI", foo().sni("foo.example.com"), Rejected::DuplicateSni),
        (
            "two names",
            HelloBuilder::new().sni_list(&[(0, b"a.b"), (0, b"c.d")]),
            Rejected::SeveralNames,
        ),
        ("name type", HelloBuilder::new().sni_list(&[(1, b"a.b")]), Rejected::UnknownNameType(1)),
        ("no name in the list", HelloBuilder::new().sni_list(&[]), malformed(Part::ServerName)),
        ("no list", HelloBuilder::new().extension(0, []), malformed(Part::ServerName)),
        (
            "list too short",
            HelloBuilder::new().extension(0, [0, 1, 0, 0, 0]),
            malformed(Part::ServerName),
        ),
        (
            "list too long",
            HelloBuilder::new().extension(0, [0, 4, 0, 0, 0]),
            malformed(Part::ServerName),
        ),
        (
            "name too long for its list",
            HelloBuilder::new().extension(0, [0, 4, 0, 0, 2, b'a']),
            malformed(Part::ServerName),
        ),
        (
            "name that reaches into the next extension",
            HelloBuilder::new().extension(0, [0, 4, 0, 0, 2, b'a']).extension(0x6161, b"aa"),
            malformed(Part::ServerName),
        ),
        (
            "list of one byte",
            HelloBuilder::new().extension(0, [0, 1, 0]),
            malformed(Part::ServerName),
        ),
        ("empty name", HelloBuilder::for_name(""), InvalidName::Empty.into()),
        ("NUL", HelloBuilder::for_name("foo.example.com\0.evil.net"), InvalidName::Nul.into()),
        ("number", HelloBuilder::for_name("192.0.2"), InvalidName::Number.into()),
        ("254 bytes", HelloBuilder::for_name(&long_name[..254]), InvalidName::TooLong.into()),
        ("255 bytes", HelloBuilder::for_name(&long_name), InvalidName::TooLong.into()),
        (
            "duplicate ALPN",
            foo().extension(16, [0, 3, 2, b'h', b'2']),
            Rejected::DuplicateExtension(16),
        ),
        (
            "duplicate ECH",
            foo().ech_grease().extension(0xfe0d, []),
            Rejected::DuplicateExtension(0xfe0d),
        ),
        ("session id of 33", foo().session_id([0; 33]), malformed(Part::SessionId)),
        ("no cipher suite", foo().cipher_suites([]), malformed(Part::CipherSuites)),
        ("no compression", foo().compression([]), malformed(Part::CompressionMethods)),
        ("SSL 2 inside", foo().legacy_version(0x0002), malformed(Part::LegacyVersion)),
        ("record version 3.5", foo().record_version(0x0305), malformed(Part::RecordVersion)),
        ("record version 2.0", foo().record_version(0x0200), Rejected::NotTls),
    ] {
        assert_eq!(verdict(&hello.build()), Some(Err(want)), "{case}");
        assert!(!want.metric().is_empty() && !want.to_string().is_empty());
    }
}

#[test]
fn broken_framing_is_refused_with_its_place() {
    let wire = foo().build();
    let second = foo().split_at(100).build();
    let malformed = |part| Err(Rejected::Malformed(part));
    for (case, wire, at, bytes, want) in [
        ("alert first", &wire, 0, &[21][..], Err(Rejected::NotTls)),
        ("alert between", &second, 105, &[21], malformed(Part::RecordType)),
        ("noise between", &second, 106, &[9], malformed(Part::RecordVersion)),
        ("record of 2^14 + 1", &wire, 3, &[0x40, 1], malformed(Part::RecordLength)),
        ("ServerHello", &wire, 5, &[2], malformed(Part::HandshakeType)),
        ("message of 64 KiB + 1", &wire, 6, &[1, 0, 1], Err(Rejected::TooLarge)),
        ("odd cipher suites", &wire, 76, &[0, 13], malformed(Part::CipherSuites)),
        ("cipher suites too long", &wire, 76, &[0xf0, 0], malformed(Part::CipherSuites)),
        ("extensions too long", &wire, 94, &[0xff], malformed(Part::Extensions)),
        ("extensions too short", &wire, 94, &[0, 0], malformed(Part::Extensions)),
        ("extension too long", &wire, 98, &[0xff], malformed(Part::Extension)),
    ] {
        let mut wire = wire.clone();
        wire[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(verdict(&wire), Some(want), "{case}");
    }
}

#[test]
fn a_message_that_ends_early_is_refused_in_the_field_that_it_cuts() {
    let message = foo().message();
    for length in 0..message.len() - 4 {
        let mut cut = message[..4 + length].to_vec();
        cut[2..4].copy_from_slice(&u16::try_from(length).expect("short").to_be_bytes());
        let mut wire = vec![22, 3, 1];
        wire.extend(u16::try_from(cut.len()).expect("short").to_be_bytes());
        wire.extend(cut);
        // Up to the compression methods, and only there, a hello may end.
        let complete = length == 2 + 32 + 33 + 2 + 14 + 2;
        let verdict = verdict(&wire).expect("a verdict at the end of the message at the latest");
        assert_eq!(verdict.is_ok(), complete, "{length}: {verdict:?}");
        if let Err(why) = verdict {
            assert!(matches!(why, Rejected::Malformed(_)), "{length}: {why:?}");
        }
    }
}

#[test]
fn other_protocols_are_known_by_their_first_bytes() {
    for (case, wire) in [
        ("HTTP", &b"G"[..]),
        ("SSH", b"S"),
        ("SMTP", b"E"),
        ("PROXY v1", b"P"),
        ("PROXY v2", b"\r"),
        ("SSLv2 hello", &[0x80]),
        ("alert", &[21]),
        ("SYN of noise", &[22, 9]),
    ] {
        assert_eq!(verdict(wire), Some(Err(Rejected::NotTls)), "{case}");
    }
}

#[test]
fn the_caps_hold_at_their_exact_values() {
    let limit = MAX_MESSAGE as usize + 4;
    let at_limit = foo().padded_to(limit).sni_last();
    assert_eq!(at_limit.message().len(), limit);
    assert_eq!(name(&at_limit.build()), Some(Ok(Some("foo.example.com".to_owned()))));
    let over = foo().padded_to(limit + 1);
    assert_eq!(verdict(&over.build()), Some(Err(Rejected::TooLarge)));

    let empties = vec![[22, 3, 1, 0, 0]; super::MAX_RECORDS as usize].concat();
    let last_fits = [&empties[5..], &foo().build()].concat();
    let found = verdict(&last_fits).expect("done").expect("fits");
    assert_eq!(found.records, super::MAX_RECORDS);
    // Nothing longer is waited for.
    let longest = foo().padded_to(limit).records([4]);
    assert_eq!(name(&longest.build()), Some(Ok(Some("foo.example.com".to_owned()))));
    assert!(longest.build().len() <= super::MAX_LENGTH);
    let one_too_many = [&empties[..], &foo().build()].concat();
    assert_eq!(verdict(&one_too_many), Some(Err(Rejected::TooManyRecords)));
}

#[test]
fn the_verdict_stays_whatever_follows() {
    for wire in [foo().build(), foo().sni("b.example").build(), b"GET /".to_vec()] {
        let mut parser = HelloParser::new();
        let first = parser.feed(&wire);
        assert_ne!(first, Progress::NeedMore);
        assert_eq!(parser.feed(&HelloBuilder::for_name("other.example").build()), first);
        assert_eq!(parser.feed(&[]), first);
    }
}

#[test]
fn a_parser_is_small() {
    assert!(size_of::<HelloParser>() < 512, "{} bytes", size_of::<HelloParser>());
}

fn any_hello() -> impl Strategy<Value = HelloBuilder> {
    let flags = proptest::array::uniform5(any::<bool>());
    let records = prop::collection::vec(0_usize..400, 0..6);
    (flags, records, 0_usize..3000).prop_map(
        |([named, hybrid, grease, ech, last], records, size)| {
            let mut hello = HelloBuilder::new().padded_to(size).records(records);
            hello = if named { hello.sni("foo.example.com") } else { hello };
            hello = if hybrid { hello.post_quantum() } else { hello };
            hello = if grease { hello.grease() } else { hello };
            hello = if ech { hello.ech_grease() } else { hello };
            if last { hello.sni_last() } else { hello }
        },
    )
}

proptest! {
    #[test]
    fn pieces_and_mutations_never_change_what_whole_bytes_say(
        hello in any_hello(),
        pieces in prop::collection::vec(1_usize..300, 1..8),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut wire = hello.build();
        for (at, byte) in &mutations {
            let at = at.index(wire.len());
            wire[at] = *byte;
        }
        let whole = verdict(&wire);
        prop_assert_eq!(&verdict_in_pieces(&wire, &pieces), &whole);
        prop_assert_eq!(&verdict_in_pieces(&wire, &[1]), &whole);
        if mutations.is_empty() {
            prop_assert!(matches!(whole, Some(Ok(_))), "{:?}", whole);
        }
    }

    #[test]
    fn any_bytes_get_a_verdict_or_wait(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(verdict(&bytes), verdict_in_pieces(&bytes, &[1]));
        let framed = [&[22, 3, 1, 2, 88][..], &bytes].concat();
        prop_assert_eq!(verdict(&framed), verdict_in_pieces(&framed, &[7, 1]));
    }
}

#[test]
fn an_address_for_a_name_is_no_name() {
    for address in ["192.0.2.1", "192.0.2.1.", "2001:db8::1", "[2001:db8::1]", "::ffff:192.0.2.1"] {
        let wire = HelloBuilder::for_name(address).build();
        let Some(Ok(hello)) = verdict(&wire) else { panic!("{address} was refused") };
        assert_eq!((hello.server_name, hello.address_for_name), (None, true), "{address}");
    }
    let Some(Ok(hello)) = verdict(&foo().build()) else { panic!("refused") };
    assert!(!hello.address_for_name);
}
