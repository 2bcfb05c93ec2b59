//! Mutations of recorded and built bytes. Inputs that get a verdict not seen before become parents
//! of further inputs, which takes the place of coverage.

use std::{
    collections::HashSet,
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rand::{RngExt, rngs::StdRng};
use sextant_edge::{
    hello::{self, HelloParser, ServerName, builder::HelloBuilder},
    http_host::HostParser,
    proxy_protocol::{Decoder, encode, encode_local},
};

use crate::{
    corpus::recorded,
    mutation::{hex, mutate, pick, repeat},
};

const INPUTS: u64 = 20_000;
/// Inputs that grow are not kept as parents.
const LONGEST_PARENT: usize = 20_000;

/// What `feed` says of a parser that has got these bytes in pieces of any size.
fn verdict<P: Default, V: PartialEq + Debug>(
    feed: &impl Fn(&mut P, &[u8]) -> Option<V>,
    mut input: &[u8],
    mut size: impl FnMut() -> usize,
) -> Option<V> {
    let mut parser = P::default();
    while !input.is_empty() {
        let (piece, rest) = input.split_at(size().clamp(1, input.len()));
        if let Some(verdict) = feed(&mut parser, piece) {
            assert_eq!(feed(&mut parser, rest), Some(verdict), "the verdict stays");
            return feed(&mut parser, &[]);
        }
        input = rest;
    }
    None
}

/// Mutates `corpus` and demands that pieces do not matter and that no good verdict breaks `sound`.
fn fuzz<P: Default, T: PartialEq + Debug, E: PartialEq + Debug>(
    mut corpus: Vec<Vec<u8>>,
    feed: impl Fn(&mut P, &[u8]) -> hello::Progress<T, E>,
    sound: impl Fn(&[u8], &T) -> bool,
) {
    let feed = |parser: &mut P, new: &[u8]| match feed(parser, new) {
        hello::Progress::NeedMore => None,
        hello::Progress::Done(verdict) => Some(verdict),
    };
    let mut seen = HashSet::new();
    let check = |input: &[u8], rng: &mut StdRng| {
        let whole = verdict(&feed, input, || usize::MAX);
        assert_eq!(verdict(&feed, input, || 1), whole, "in single bytes");
        assert_eq!(verdict(&feed, input, || rng.random_range(1..100)), whole, "in pieces");
        if let Some(Ok(found)) = &whole {
            assert!(sound(input, found), "{found:?}");
        }
        format!("{whole:?}").split(|c: char| c.is_ascii_digit()).collect::<String>()
    };
    repeat(INPUTS, |seed, rng| {
        let mut input = pick(rng, &corpus).clone();
        let other = pick(rng, &corpus);
        mutate(rng, &mut input, other);
        let checked = catch_unwind(AssertUnwindSafe(|| check(&input, rng)));
        let class = checked.unwrap_or_else(|_| panic!("seed {seed}, input {}", hex(&input)));
        if input.len() < LONGEST_PARENT && seen.insert(class) {
            corpus.push(input);
        }
    });
    assert!(seen.len() > 5, "the mutations reach many verdicts: {seen:?}");
}

fn bytes_of(folder: &str) -> impl Iterator<Item = Vec<u8>> {
    recorded(folder).into_iter().map(|(_, bytes)| bytes)
}

fn is_normal(name: &ServerName) -> bool {
    ServerName::normalise(name.as_str().as_bytes()).as_ref() == Ok(name)
}

#[test]
fn mutated_hellos_are_judged_the_same_in_any_pieces() {
    let foo = || HelloBuilder::for_name("foo.example.com");
    let built = [
        foo().records([1]),
        foo().records([0, 0, 60, 0, 1, 0, 500]),
        foo().split_at(100).grease().ech_grease(),
        foo().sni("b.example"),
        foo().padded_to(3000).sni_last().early_data(50),
        HelloBuilder::new().sni_list(&[(0, b"a.example"), (1, b"b.example")]),
        HelloBuilder::new().without_extensions(),
    ];
    let corpus = bytes_of("hello").chain(built.iter().map(HelloBuilder::build)).collect();
    fuzz(corpus, HelloParser::feed, |input, found| {
        let size = found.size as usize + 5 * found.records as usize;
        size <= input.len() && found.server_name.as_ref().is_none_or(is_normal)
    });
}

#[test]
fn mutated_requests_are_judged_the_same_in_any_pieces() {
    let written = [
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET http://a.example:80/ HTTP/1.0\r\nX: y\r\nhost:\ta.example. \r\n\r\nbody",
        "\r\nOPTIONS * HTTP/1.1\r\nX: y\r\n z\r\nHost: [::1]:80\r\n\r\n",
    ];
    let written = written.iter().map(|head| head.as_bytes().to_vec());
    fuzz(bytes_of("http").chain(written).collect(), HostParser::feed, |input, found| {
        let size = found.size as usize;
        size <= input.len()
            && input[..size].ends_with(b"\r\n\r\n")
            && found.host.as_ref().is_none_or(is_normal)
    });
}

#[test]
fn mutated_proxy_headers_are_judged_the_same_in_any_pieces() {
    let address = |text: &str| text.parse().expect("an address");
    let mixed = encode(address("192.0.2.1:1"), address("[2001:db8::1]:2"));
    let built = [mixed, encode_local()].map(|header| header.as_bytes().to_vec());
    fuzz(bytes_of("proxy").chain(built).collect(), Decoder::feed, |input, found| {
        (16..=16 + 4096).contains(&found.consumed) && found.consumed <= input.len()
    });
}
