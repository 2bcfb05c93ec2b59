//! Our verdict against that of rustls, on hellos of rustls clients and of the builder, whole and
//! mutated.
//!
//! A hello that rustls accepts must be accepted with the same name, and one that rustls refuses
//! must never be routed by a name that is not in it. What differs is listed here, each difference
//! with its reason, and nothing else may differ.

use std::{collections::BTreeMap, sync::Arc};

use rand::{RngExt, rngs::StdRng};
use rustls::{
    ClientConfig, ClientConnection, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved,
    RootCertStore, SupportedProtocolVersion, crypto::ring, version,
};
use sextant_edge::hello::{HelloParser, Part, Progress, Rejected, builder::HelloBuilder};

use crate::{
    corpus::recorded,
    mutation::{hex, mutate, pick, repeat},
    rustls_oracle::{Opinion, opinion, plain_name},
};

const INPUTS: u64 = 20_000;

type Verdict = Option<Result<Good, Rejected>>;

/// What we read in a good hello.
#[derive(Debug, PartialEq)]
struct Good {
    name: Option<String>,
    /// Whether bytes follow it.
    followed: bool,
}

fn verdict(wire: &[u8]) -> Verdict {
    let Progress::Done(verdict) = HelloParser::new().feed(wire) else { return None };
    Some(verdict.map(|hello| Good {
        name: hello.server_name.map(|name| name.to_string()),
        followed: wire.len() > hello.size as usize + 5 * hello.records as usize,
    }))
}

/// How the two verdicts go together; `None` if they must not.
fn relation(ours: &Verdict, theirs: &Opinion) -> Option<&'static str> {
    match (ours, theirs) {
        (Some(Ok(ours)), Opinion::Accepted(theirs)) => {
            (ours.name == theirs.as_deref().map(normal)).then_some(AGREE)
        }
        (None, Opinion::NeedMore) | (Some(Err(_)), Opinion::Refused(_)) => Some(AGREE),
        (Some(Err(why)), Opinion::Accepted(theirs)) => stricter(*why, theirs.as_deref()),
        (Some(Ok(ours)), Opinion::Refused(error)) => looser(ours, error),
        (Some(Err(_)), Opinion::NeedMore) => Some("we refuse at the byte that is wrong"),
        (Some(Ok(_)), Opinion::NeedMore) => Some("rustls waits for the end of the last record"),
        (None, Opinion::Refused(error)) => earlier(error),
        (_, Opinion::Overrun) => Some("rustls keeps less than 64 KiB and what follows"),
        (None, Opinion::Accepted(_)) => None,
    }
}

const AGREE: &str = "the same";

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_lowercase()
}

/// What we refuse although rustls accepts it.
fn stricter(ours: Rejected, theirs: Option<&str>) -> Option<&'static str> {
    match ours {
        Rejected::UnknownNameType(_) if theirs.is_none() => {
            Some("rustls takes a name of another type for no name; it would reach a default route")
        }
        Rejected::SeveralNames => Some("rustls passes over names of other types beside the first"),
        Rejected::Malformed(Part::LegacyVersion) => Some("rustls judges the version later"),
        Rejected::Malformed(Part::RecordVersion) => Some("rustls reads any version 3 of records"),
        _ => None,
    }
}

/// What rustls refuses although we accept it: whoever terminates TLS judges that.
fn looser(ours: &Good, theirs: &Error) -> Option<&'static str> {
    match theirs {
        Error::PeerIncompatible(
            PeerIncompatible::NullCompressionRequired
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => Some("rustls wants to answer the hello"),
        Error::InvalidMessage(InvalidMessage::IllegalEmptyList(
            "ServerNames" | "CipherSuites" | "Compressions",
        )) => None,
        Error::InvalidMessage(
            InvalidMessage::IllegalEmptyList(_)
            | InvalidMessage::IllegalEmptyValue
            | InvalidMessage::InvalidContentType
            | InvalidMessage::MessageTooShort
            | InvalidMessage::MissingData(_)
            | InvalidMessage::NoSignatureSchemes
            | InvalidMessage::TrailingData(_),
        ) => Some("rustls reads the bodies of other extensions"),
        Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName)
            if ours.name.as_deref().is_some_and(has_hyphen_at_an_end) =>
        {
            Some("browsers ask for such names, and DNS has them")
        }
        Error::InvalidMessage(InvalidMessage::DuplicateExtension(64..)) => {
            Some("rustls remembers every type of extension")
        }
        Error::InvalidMessage(InvalidMessage::InvalidEmptyPayload) => {
            Some("rustls takes no empty records")
        }
        Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) if !ours.followed => {
            Some("rustls takes no message of exactly 64 KiB")
        }
        Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::UnknownProtocolVersion,
        )
        | Error::PeerMisbehaved(PeerMisbehaved::KeyEpochWithPendingFragment)
            if ours.followed =>
        {
            Some("rustls looks at what follows the hello")
        }
        _ => None,
    }
}

/// Whether a label begins or ends with a hyphen.
fn has_hyphen_at_an_end(name: &str) -> bool {
    name.split('.').any(|label| label.starts_with('-') || label.ends_with('-'))
}

/// What rustls refuses while we wait for more.
fn earlier(theirs: &Error) -> Option<&'static str> {
    match theirs {
        Error::InvalidMessage(InvalidMessage::InvalidEmptyPayload) => {
            Some("rustls takes no empty records")
        }
        Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
            Some("rustls takes no message of exactly 64 KiB")
        }
        _ => None,
    }
}

fn any_hello(rng: &mut StdRng) -> Vec<u8> {
    const NAMES: [&[u8]; 10] = [
        b"foo.example.com",
        b"FOO.Example.com.",
        b"_a.b_c.example",
        b"xn--mnchen-3ya.example",
        b"192.0.2.1",
        b"2001:db8::1",
        b"foo.example.com\0.evil.net",
        b"-a.example",
        b"a..example",
        b"",
    ];
    let mut hello = HelloBuilder::new();
    let often = |rng: &mut StdRng| rng.random_ratio(4, 5);
    let rarely = |rng: &mut StdRng| rng.random_ratio(1, 10);
    if often(rng) {
        let name = if often(rng) { NAMES[rng.random_range(0..4)] } else { *pick(rng, &NAMES) };
        hello = match rng.random_range(0..20) {
            0 => hello.sni(name).sni(name),
            1 => hello.sni_list(&[(0, name), (0, b"other.example")]),
            2 => hello.sni_list(&[(0, name), (1, b"other.example")]),
            3 => hello.sni_list(&[(1, name)]),
            4 => hello.sni_list(&[]),
            _ => hello.sni(name),
        };
    }
    hello = if rng.random() { hello.post_quantum() } else { hello };
    hello = if rng.random() { hello.grease() } else { hello };
    hello = if rng.random() { hello.ech_grease() } else { hello };
    hello = if rng.random() { hello.sni_last() } else { hello };
    hello = if rng.random() { hello.padded_to(rng.random_range(0..20_000)) } else { hello };
    hello = if rarely(rng) { hello.without_extensions() } else { hello };
    hello = if rarely(rng) { hello.early_data(rng.random_range(0..2000)) } else { hello };
    hello =
        if rarely(rng) { hello.legacy_version(rng.random_range(0x02ff..0x0402)) } else { hello };
    hello =
        if rarely(rng) { hello.record_version(rng.random_range(0x02ff..0x0307)) } else { hello };
    hello = if rarely(rng) { hello.session_id(vec![7; rng.random_range(0..40)]) } else { hello };
    hello =
        if rarely(rng) { hello.cipher_suites(vec![0x1301; rng.random_range(0..3)]) } else { hello };
    hello = if rarely(rng) { hello.compression(vec![1; rng.random_range(0..3)]) } else { hello };
    let kind = rng.random_range(0..80);
    hello =
        if rarely(rng) { hello.extension(kind, vec![0; rng.random_range(0..9)]) } else { hello };
    let sizes: Vec<_> = (0..rng.random_range(0..4)).map(|_| rng.random_range(0..600)).collect();
    hello = if rng.random() { hello.records(sizes) } else { hello };
    hello.build()
}

/// What a rustls client sends to `name`.
fn rustls_hello(name: &str, versions: &[&'static SupportedProtocolVersion]) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions of the provider")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.max_fragment_size = name.len().is_multiple_of(2).then_some(64);
    let name = name.to_owned().try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).expect("writing to memory");
    }
    wire
}

#[test]
fn hellos_of_rustls_clients_are_read_as_rustls_reads_them() {
    for versions in [&[&version::TLS12][..], &[&version::TLS13], rustls::ALL_VERSIONS] {
        for name in ["foo.example.com", "a.b", "FOO.Example.com", "192.0.2.1", "2001:db8::1"] {
            let wire = rustls_hello(name, versions);
            // A rustls client sends no address as a name.
            let want = name.ends_with(char::is_alphabetic).then(|| normal(name));
            assert_eq!(verdict(&wire), Some(Ok(Good { name: want, followed: false })), "{name}");
            assert_eq!(relation(&verdict(&wire), &opinion(&wire)), Some(AGREE), "{name}");
        }
    }
}

#[test]
fn verdicts_differ_from_those_of_rustls_only_where_the_list_says_so() {
    let mut corpus: Vec<_> = recorded("hello").into_iter().map(|(_, bytes)| bytes).collect();
    corpus.push(rustls_hello("foo.example.com", rustls::ALL_VERSIONS));
    let mut tally = BTreeMap::<_, u64>::new();
    repeat(INPUTS, |seed, rng| {
        let mut wire = if rng.random() { any_hello(rng) } else { pick(rng, &corpus).clone() };
        if rng.random() {
            let other = pick(rng, &corpus);
            mutate(rng, &mut wire, other);
        }
        let (ours, theirs) = (verdict(&wire), opinion(&wire));
        let case = || format!("seed {seed}: {ours:?}, rustls {theirs:?}, input {}", hex(&wire));
        if let Some(Ok(ours)) = &ours {
            let plain = plain_name(&wire).map(|name| normal(&name));
            let plain = plain.filter(|name| name.parse::<std::net::IpAddr>().is_err());
            assert_eq!(ours.name, plain, "{}", case());
        }
        let relation = relation(&ours, &theirs).unwrap_or_else(|| panic!("{}", case()));
        *tally.entry((relation, matches!(ours, Some(Ok(_))))).or_default() += 1;
    });
    let total: u64 = tally.values().sum();
    let count = |accepted| tally.get(&(AGREE, accepted)).copied().unwrap_or(0);
    assert!(count(true) > total / 3 && count(false) > total / 20, "{tally:?}");
}
