//! What the known proxies make of a ClientHello in all its shapes, and what is to be made of it:
//! one row a shape, through the real program. The bytes arrive as they were sent, or not at all.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use sextant_edge::hello::builder::HelloBuilder;

use crate::support::{Backend, Edge, Port, Start, eventually, tls};

const FOO: &str = "foo.example.com";
const INVALID_NAME: &str = "bad_hello/invalid_name, alert 47";
const UNKNOWN_NAME: &str = "unknown_name/, alert 112";

/// How the bytes leave the client.
#[derive(Clone, Copy)]
enum Sent {
    AtOnce,
    /// In two segments, with a pause between them.
    InTwo,
    ByteByByte,
}

/// The edge, with `foo.example.com` and `*.bar.example.com`; there is no default to fall through to.
struct Matrix {
    address: SocketAddr,
    edge: Edge,
    refusals: RefCell<BTreeMap<String, u64>>,
    _backends: [Backend; 2],
}

impl Matrix {
    fn start() -> Self {
        let backends = [Backend::start("foo"), Backend::start("bar")];
        let port = Port::reserve();
        let routes = [tls(&port, FOO, &backends[0]), tls(&port, "*.bar.example.com", &backends[1])];
        let edge =
            Start::with_routes(&routes.concat()).config("[timeouts]\nhello = \"1500ms\"\n").start();
        let refusals = RefCell::new(refusals(&edge));
        Self { address: port.address, edge, refusals, _backends: backends }
    }

    /// Where the connection ends: the backend, after every byte of `bytes` came back from it; or
    /// `outcome/reason` and the alert that the client got, if one.
    fn end_of(&self, bytes: &[u8], sent: Sent) -> String {
        self.answer_to(bytes, sent).unwrap_or_else(|alert| {
            let refusal = self.next_refusal();
            match alert {
                Some(alert) => format!("{refusal}, alert {alert}"),
                None => refusal,
            }
        })
    }

    /// What the connection that was refused just now is counted by.
    fn next_refusal(&self) -> String {
        let mut found = None;
        eventually("a refusal is counted", || {
            let before = self.refusals.replace(refusals(&self.edge));
            let now = self.refusals.borrow();
            let grown = now.iter().find(|(name, count)| before.get(*name) != Some(*count));
            found = grown.map(|(name, _)| name.clone());
            found.is_some()
        });
        found.expect("it was found")
    }

    /// The name that the backend greets with, or the alert.
    fn answer_to(&self, bytes: &[u8], sent: Sent) -> Result<String, Option<u8>> {
        let mut client = TcpStream::connect(self.address).expect("connected");
        client.set_nodelay(true).expect("option");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("option");
        let mut writer = client.try_clone().expect("clone");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let size = match sent {
                    Sent::AtOnce => bytes.len(),
                    Sent::InTwo => bytes.len() / 2 + 1,
                    Sent::ByteByByte => 1,
                };
                for piece in bytes.chunks(size.max(1)) {
                    // Whoever is refused may be told before everything was sent.
                    if writer.write_all(piece).is_err() {
                        return;
                    }
                    if matches!(sent, Sent::InTwo) {
                        std::thread::sleep(Duration::from_millis(300));
                    }
                }
            });
            let mut greeting = [0; 3];
            if client.read_exact(&mut greeting).is_err() {
                return Err(None);
            }
            // What begins like a TLS alert comes from the edge.
            if greeting[0] == 21 {
                let mut rest = [0; 4];
                client.read_exact(&mut rest).expect("an alert");
                assert_eq!(rest[..3], [0, 2, 2], "a fatal one");
                return Err(Some(rest[3]));
            }
            let mut echoed = vec![0; bytes.len()];
            client.read_exact(&mut echoed).expect("echo");
            assert!(echoed == bytes, "the backend got other bytes");
            Ok(String::from_utf8(greeting.to_vec()).expect("greeting"))
        })
    }

    /// How long the edge waits for a client that says `bytes` and then nothing.
    fn patience(&self, bytes: &[u8]) -> Duration {
        let begin = Instant::now();
        let mut client = TcpStream::connect(self.address).expect("connected");
        client.write_all(bytes).expect("written");
        let mut end = Vec::new();
        let _ = client.read_to_end(&mut end);
        assert!(end.is_empty(), "somebody answered: {end:?}");
        begin.elapsed()
    }
}

/// Connections that were refused for what they said, by `outcome/reason`.
fn refusals(edge: &Edge) -> BTreeMap<String, u64> {
    let metrics = edge.get("/metrics");
    let ended = metrics.lines().filter_map(|line| {
        let labels = line.strip_prefix("sextant_edge_connections_ended_total{outcome=\"")?;
        let (outcome, rest) = labels.split_once("\",reason=\"")?;
        let (reason, count) = rest.split_once("\"} ")?;
        let refused = ["bad_hello", "no_name", "unknown_name"].contains(&outcome);
        Some((format!("{outcome}/{reason}"), count.parse().ok()?)).filter(|_| refused)
    });
    ended.collect()
}

fn foo() -> HelloBuilder {
    HelloBuilder::for_name(FOO)
}

fn named(name: impl AsRef<[u8]>) -> Vec<u8> {
    HelloBuilder::new().sni(name).build()
}

/// Where the name begins in a hello that is one record.
fn place_of_name(hello: &[u8]) -> usize {
    hello.windows(FOO.len()).position(|window| window == FOO.as_bytes()).expect("name")
}

#[test]
fn every_shape_of_hello_goes_where_it_should() {
    use Sent::{AtOnce, ByteByByte, InTwo};
    let matrix = Matrix::start();
    let name_at = place_of_name(&foo().build()) - 5;
    let version = |version| foo().record_version(version).build();
    let host_name: (u8, &[u8]) = (0, FOO.as_bytes());
    let two_names = HelloBuilder::new().sni_list(&[host_name, host_name]).build();
    let http = b"GET / HTTP/1.1\r\nHost: foo.example.com\r\n\r\n".to_vec();
    let twice = foo().extension(0, [&[0, 18, 0, 0, 15][..], FOO.as_bytes()].concat()).build();
    let rows = [
        ("one record", foo().build(), AtOnce, "foo"),
        ("post-quantum", foo().post_quantum().build(), AtOnce, "foo"),
        ("two segments", foo().post_quantum().build(), InTwo, "foo"),
        ("a drip", foo().build(), ByteByByte, "foo"),
        ("two records, before the name", foo().split_at(name_at - 1).build(), AtOnce, "foo"),
        ("two records, inside the name", foo().split_at(name_at + 4).build(), AtOnce, "foo"),
        ("two records, after the name", foo().split_at(name_at + 15).build(), AtOnce, "foo"),
        ("records of one byte", foo().records(vec![1; 2000]).build(), AtOnce, "foo"),
        ("post-quantum in two", foo().post_quantum().split_at(700).build(), AtOnce, "foo"),
        ("15 KB", foo().padded_to(15_000).build(), AtOnce, "foo"),
        ("15.9 KB", foo().padded_to(15_900).sni_last().build(), AtOnce, "foo"),
        ("20 KB in two records", foo().padded_to(20_000).sni_last().build(), AtOnce, "foo"),
        ("60 KB", foo().padded_to(60_000).sni_last().build(), AtOnce, "foo"),
        ("early data", foo().early_data(500).build(), AtOnce, "foo"),
        ("much early data", foo().early_data(100_000).build(), AtOnce, "foo"),
        ("grease", foo().grease().ech_grease().build(), AtOnce, "foo"),
        ("record version 3.0", version(0x0300), AtOnce, "foo"),
        ("record version 3.4", version(0x0304), AtOnce, "foo"),
        ("mixed case", named("Foo.eXample.COM"), AtOnce, "foo"),
        ("a dot at the end", named("foo.example.com."), AtOnce, "foo"),
        ("a NUL inside", named(b"foo.example.com\0.evil.net"), AtOnce, INVALID_NAME),
        ("two extensions", twice, AtOnce, "bad_hello/duplicate_sni, alert 47"),
        ("two names", two_names, AtOnce, "bad_hello/several_names, alert 47"),
        ("one label below the star", named("a.bar.example.com"), AtOnce, "bar"),
        ("two labels below the star", named("a.b.bar.example.com"), AtOnce, UNKNOWN_NAME),
        ("no label before the star's", named("bar.example.com"), AtOnce, UNKNOWN_NAME),
        ("no name", HelloBuilder::new().build(), AtOnce, "no_name/, alert 112"),
        ("an address for a name", named("192.0.2.1"), AtOnce, "no_name/, alert 112"),
        ("a number at the end", named("192.0.2"), AtOnce, INVALID_NAME),
        ("an underscore", named("a_b.bar.example.com"), AtOnce, "bar"),
        ("a hyphen at the end", named("foo-.bar.example.com"), AtOnce, "bar"),
        ("a hyphen at the start", named("-foo.bar.example.com"), AtOnce, "bar"),
        ("HTTP", http, AtOnce, "bad_hello/not_tls"),
    ];
    for (shape, bytes, sent, want) in rows {
        assert_eq!(matrix.end_of(&bytes, sent), want, "{shape}");
    }
}

#[test]
fn whoever_says_nothing_or_half_of_it_is_sent_away_at_the_deadline() {
    let matrix = Matrix::start();
    let hello = foo().build();
    for said in [&[][..], &hello[..1], &hello[..hello.len() - 1]] {
        let patience = matrix.patience(said);
        assert!(patience >= Duration::from_millis(1400), "{patience:?} after {}", said.len());
        assert!(patience < Duration::from_secs(8), "{patience:?} after {}", said.len());
    }
}
