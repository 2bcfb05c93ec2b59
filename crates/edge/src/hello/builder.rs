//! Builds ClientHellos of any shape, well-formed or not: for tests and benchmarks.
//!
//! What it builds by default is what a browser of 2024 sends to a server it has not met, with
//! fixed bytes in place of random ones.

use std::iter;

/// Longest fragment of a record.
const MAX_FRAGMENT: usize = 1 << 14;
const HANDSHAKE: u8 = 22;
const GREASE: [u16; 3] = [0x0a0a, 0x1a1a, 0x2a2a];
const X25519: u16 = 0x001d;
const X25519_MLKEM768: u16 = 0x11ec;

/// A ClientHello in the making. Each method adds to it or changes it; [`HelloBuilder::build`] ends.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "choices that have nothing to do with each other"
)]
pub struct HelloBuilder {
    server_names: Vec<Vec<(u8, Vec<u8>)>>,
    server_names_last: bool,
    legacy_version: u16,
    session_id: Vec<u8>,
    cipher_suites: Vec<u16>,
    compression: Vec<u8>,
    without_extensions: bool,
    extensions: Vec<(u16, Vec<u8>)>,
    post_quantum: bool,
    grease: bool,
    ech: bool,
    message_size: usize,
    record_version: u16,
    record_sizes: Vec<usize>,
    trailing: Vec<u8>,
}

impl Default for HelloBuilder {
    fn default() -> Self {
        Self {
            server_names: Vec::new(),
            server_names_last: false,
            legacy_version: 0x0303,
            session_id: filler(32),
            cipher_suites: vec![0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030],
            compression: vec![0],
            without_extensions: false,
            extensions: Vec::new(),
            post_quantum: false,
            grease: false,
            ech: false,
            message_size: 0,
            record_version: 0x0301,
            record_sizes: vec![MAX_FRAGMENT],
            trailing: Vec::new(),
        }
    }
}

impl HelloBuilder {
    /// A hello without a server name.
    pub fn new() -> Self {
        Self::default()
    }

    /// A hello for `name`.
    pub fn for_name(name: &str) -> Self {
        Self::default().sni(name)
    }

    /// Adds a server name extension with one name of any bytes. Twice: a duplicate extension.
    #[must_use]
    pub fn sni(self, name: impl AsRef<[u8]>) -> Self {
        self.sni_list(&[(0, name.as_ref())])
    }

    /// Adds a server name extension with these names, each with its type; 0 is `host_name`.
    #[must_use]
    pub fn sni_list(mut self, names: &[(u8, &[u8])]) -> Self {
        self.server_names.push(names.iter().map(|(kind, name)| (*kind, name.to_vec())).collect());
        self
    }

    /// Puts the server name behind everything else, also behind the padding.
    #[must_use]
    pub fn sni_last(mut self) -> Self {
        self.server_names_last = true;
        self
    }

    /// Pads the handshake message to `size` bytes, its header of four included, with a padding
    /// extension. A message that is longer already, or that lacks less than four bytes, stays.
    #[must_use]
    pub fn padded_to(mut self, size: usize) -> Self {
        self.message_size = size;
        self
    }

    /// Adds a key share of X25519MLKEM768, which makes the hello some 1.7 kB long.
    #[must_use]
    pub fn post_quantum(mut self) -> Self {
        self.post_quantum = true;
        self
    }

    /// Adds reserved values wherever clients do (RFC 8701).
    #[must_use]
    pub fn grease(mut self) -> Self {
        self.grease = true;
        self
    }

    /// Offers Encrypted ClientHello to nobody, as clients without its keys do.
    #[must_use]
    pub fn ech_grease(mut self) -> Self {
        self.ech = true;
        self
    }

    /// Adds an extension.
    #[must_use]
    pub fn extension(mut self, kind: u16, body: impl Into<Vec<u8>>) -> Self {
        self.extensions.push((kind, body.into()));
        self
    }

    /// Leaves out all extensions and their length, as clients before TLS 1.2 do.
    #[must_use]
    pub fn without_extensions(mut self) -> Self {
        self.without_extensions = true;
        self
    }

    /// Replaces the version inside the message.
    #[must_use]
    pub fn legacy_version(mut self, version: u16) -> Self {
        self.legacy_version = version;
        self
    }

    /// Replaces the session id.
    #[must_use]
    pub fn session_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.session_id = id.into();
        self
    }

    /// Replaces the cipher suites.
    #[must_use]
    pub fn cipher_suites(mut self, suites: impl Into<Vec<u16>>) -> Self {
        self.cipher_suites = suites.into();
        self
    }

    /// Replaces the compression methods.
    #[must_use]
    pub fn compression(mut self, methods: impl Into<Vec<u8>>) -> Self {
        self.compression = methods.into();
        self
    }

    /// Replaces the version of the records.
    #[must_use]
    pub fn record_version(mut self, version: u16) -> Self {
        self.record_version = version;
        self
    }

    /// Divides the message into records with fragments of these sizes in turn; the last repeats
    /// until the message ends. 0 makes an empty record, unless it is the last.
    #[must_use]
    pub fn records(mut self, sizes: impl Into<Vec<usize>>) -> Self {
        self.record_sizes = sizes.into();
        self
    }

    /// Divides the message into two records: `first` bytes, and the rest (of 16 KiB at most).
    #[must_use]
    pub fn split_at(self, first: usize) -> Self {
        self.records([first, MAX_FRAGMENT])
    }

    /// Adds a change of cipher specification and `bytes` of early data after the hello, as TLS 1.3
    /// clients that resume do.
    #[must_use]
    pub fn early_data(mut self, bytes: usize) -> Self {
        self.trailing.extend([20, 3, 3, 0, 1, 1]);
        for fragment in filler(bytes).chunks(MAX_FRAGMENT) {
            self.trailing.extend(record(23, 0x0303, fragment));
        }
        self
    }

    /// The bytes on the wire: records, and what follows them.
    pub fn build(&self) -> Vec<u8> {
        let message = self.message();
        let mut left = message.as_slice();
        let mut wire = Vec::with_capacity(left.len() + 64);
        let (last, first) = self.record_sizes.split_last().unwrap_or((&MAX_FRAGMENT, &[]));
        let last = if *last == 0 { MAX_FRAGMENT } else { *last };
        let mut sizes = first.iter().copied().chain(iter::repeat(last));
        while !left.is_empty() {
            let size = sizes.next().unwrap_or(last).min(left.len()).min(MAX_FRAGMENT);
            let (fragment, rest) = left.split_at(size);
            wire.extend(record(HANDSHAKE, self.record_version, fragment));
            left = rest;
        }
        wire.extend(&self.trailing);
        wire
    }

    /// The handshake message, with its header and without records.
    pub fn message(&self) -> Vec<u8> {
        let body = self.body(0);
        let missing = self.message_size.saturating_sub(body.len() + 4);
        let body = if missing >= 4 { self.body(missing) } else { body };
        let length = u32::try_from(body.len()).expect("a hello of less than 4 GiB").to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }

    /// Everything after the header of the message, with `padding` bytes of padding extension.
    fn body(&self, padding: usize) -> Vec<u8> {
        let grease = if self.grease { &GREASE[..1] } else { &[] };
        let suites = grease.iter().chain(&self.cipher_suites).flat_map(|suite| suite.to_be_bytes());
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend(filler(32));
        body.extend(vector::<1>(&self.session_id));
        body.extend(vector::<2>(&suites.collect::<Vec<_>>()));
        body.extend(vector::<1>(&self.compression));
        if !self.without_extensions {
            body.extend(vector::<2>(&self.all_extensions(padding)));
        }
        body
    }

    fn all_extensions(&self, padding: usize) -> Vec<u8> {
        let mut all: Vec<(u16, Vec<u8>)> = Vec::new();
        if self.grease {
            all.push((GREASE[1], Vec::new()));
        }
        let server_names = self.server_names.iter().map(|names| (0, server_name_body(names)));
        if !self.server_names_last {
            all.extend(server_names.clone());
        }
        all.extend(self.usual_extensions());
        all.extend(self.extensions.iter().cloned());
        if self.ech {
            let payload = [vector::<2>(&filler(32)), vector::<2>(&filler(176))].concat();
            all.push((0xfe0d, [&[0, 0, 1, 0, 1, 0x2a][..], &payload].concat()));
        }
        if self.grease {
            all.push((GREASE[2], vec![0]));
        }
        if padding >= 4 {
            all.push((21, vec![0; padding - 4]));
        }
        if self.server_names_last {
            all.extend(server_names);
        }
        let encode =
            |(kind, body): &(u16, Vec<u8>)| [&kind.to_be_bytes()[..], &vector::<2>(body)].concat();
        all.iter().flat_map(encode).collect()
    }

    /// What a server needs in order to answer.
    fn usual_extensions(&self) -> Vec<(u16, Vec<u8>)> {
        let grease = |value: u16| self.grease.then_some(value);
        let hybrid = self.post_quantum.then_some(X25519_MLKEM768);
        let numbers = |numbers: Vec<u16>| -> Vec<u8> {
            numbers.into_iter().flat_map(u16::to_be_bytes).collect()
        };
        let groups = grease(GREASE[0]).into_iter().chain(hybrid).chain([X25519, 0x0017]);
        let versions = grease(GREASE[1]).into_iter().chain([0x0304, 0x0303]);
        let share = |group: u16, length: usize| {
            [&group.to_be_bytes()[..], &vector::<2>(&filler(length))].concat()
        };
        let shares = [
            grease(GREASE[0]).map(|group| share(group, 1)),
            hybrid.map(|group| share(group, 1216)),
            Some(share(X25519, 32)),
        ];
        let protocols = [vector::<1>(b"h2"), vector::<1>(b"http/1.1")].concat();
        vec![
            (23, Vec::new()),
            (10, vector::<2>(&numbers(groups.collect()))),
            (11, vec![1, 0]),
            (16, vector::<2>(&protocols)),
            (13, vector::<2>(&numbers(vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0601]))),
            (43, vector::<1>(&numbers(versions.collect()))),
            (45, vec![1, 1]),
            (51, vector::<2>(&shares.into_iter().flatten().flatten().collect::<Vec<_>>())),
        ]
    }
}

fn server_name_body(names: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let encode = |(kind, name): &(u8, Vec<u8>)| [&[*kind][..], &vector::<2>(name)].concat();
    vector::<2>(&names.iter().flat_map(encode).collect::<Vec<_>>())
}

/// `bytes` with its length before it, in `N` bytes. Cut off where that number ends.
fn vector<const N: usize>(bytes: &[u8]) -> Vec<u8> {
    let longest = (1 << (8 * N)) - 1;
    let bytes = &bytes[..bytes.len().min(longest)];
    let length = bytes.len().to_be_bytes();
    [&length[length.len() - N..], bytes].concat()
}

fn record(kind: u8, version: u16, fragment: &[u8]) -> Vec<u8> {
    let [major, minor] = version.to_be_bytes();
    [&[kind, major, minor][..], &vector::<2>(fragment)].concat()
}

/// `length` bytes that look like nothing.
fn filler(length: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().map(|byte| byte.wrapping_mul(167) ^ 0x5a).take(length).collect()
}
