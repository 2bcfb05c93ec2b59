use std::net::SocketAddr;

use proptest::prelude::*;

use super::{
    Addresses, Decoded, Decoder, MAX_LENGTH, Part, Progress, Refused, crc32c::Crc32c, encode,
    encode_local,
};

const V4: (&str, &str) = ("192.0.2.1:50000", "198.51.100.7:443");
const V6: (&str, &str) = ("[2001:db8::1]:50000", "[2001:db8::2]:443");

fn address(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn header((source, destination): (&str, &str)) -> Vec<u8> {
    encode(address(source), address(destination)).as_bytes().to_vec()
}

fn decode(bytes: &[u8]) -> Option<Result<Decoded, Refused>> {
    decode_in_pieces(bytes, usize::MAX)
}

fn decode_in_pieces(bytes: &[u8], size: usize) -> Option<Result<Decoded, Refused>> {
    let mut decoder = Decoder::new();
    bytes.chunks(size).find_map(|piece| match decoder.feed(piece) {
        Progress::NeedMore => None,
        Progress::Done(verdict) => Some(verdict),
    })
}

/// A header of TCP over IPv4 with these extensions.
fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    let mut bytes = [&header(V4), extensions].concat();
    let length = u16::try_from(bytes.len() - 16).expect("short");
    bytes[14..16].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// The same with the checksum as the last extension.
fn with_checksum(extensions: &[u8]) -> Vec<u8> {
    let mut bytes = with_extensions(&[extensions, &[3, 0, 4, 0, 0, 0, 0]].concat());
    let mut crc = Crc32c::default();
    for byte in &bytes {
        crc.push(*byte);
    }
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

#[test]
fn headers_are_what_the_specification_says() {
    let signature = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a";
    let v4 = [
        &signature[..],
        &[0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 7, 0xc3, 0x50, 0x01, 0xbb],
    ]
    .concat();
    assert_eq!(header(V4), v4);
    assert_eq!(header(("[::ffff:192.0.2.1]:50000", "[::ffff:198.51.100.7]:443")), v4);
    assert_eq!(header(("192.0.2.1:50000", "[::ffff:198.51.100.7]:443")), v4);

    let prefix = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let v6 = [
        &signature[..],
        &[0x21, 0x21, 0, 36],
        &prefix,
        &[1],
        &prefix,
        &[2, 0xc3, 0x50, 0x01, 0xbb],
    ]
    .concat();
    assert_eq!(header(V6), v6);
    assert_eq!(encode_local().as_bytes(), [&signature[..], &[0x20, 0, 0, 0]].concat());
}

#[test]
fn one_ipv4_address_among_the_two_is_mapped() {
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let source = header((V4.0, V6.1));
    assert_eq!(source[12..16], [0x21, 0x21, 0, 36]);
    assert_eq!(source[16..32], [&mapped[..], &[192, 0, 2, 1]].concat());
    let destination = header((V6.0, V4.1));
    assert_eq!(destination[32..48], [&mapped[..], &[198, 51, 100, 7]].concat());
}

#[test]
fn what_is_encoded_is_decoded_and_what_follows_is_left() {
    for (source, destination) in [V4, V6, (V4.0, V6.1), (V6.0, V4.1)] {
        let bytes = header((source, destination));
        let addresses =
            Some(Addresses { source: address(source), destination: address(destination) });
        let want = Decoded { addresses, consumed: bytes.len() };
        let with_hello = [&bytes[..], &[22, 3, 1, 2, 0]].concat();
        for size in [1, 5, 16, usize::MAX] {
            assert_eq!(decode_in_pieces(&with_hello, size), Some(Ok(want)));
        }
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None);
        }
        let mut decoder = Decoder::new();
        assert!(!decoder.has_begun());
        assert_eq!(decoder.feed(&with_hello), Progress::Done(Ok(want)));
        assert!(decoder.has_begun());
        assert_eq!(decoder.feed(b"\r\n\r\n"), Progress::Done(Ok(want)));
    }
}

#[test]
fn headers_without_addresses_are_accepted() {
    let mut local = encode_local().as_bytes().to_vec();
    let want = |consumed| Some(Ok(Decoded { addresses: None, consumed }));
    assert_eq!(decode(&local), want(16));
    for end in 0..16 {
        assert_eq!(decode(&local[..end]), None);
    }
    // Whatever else a LOCAL header holds is to be ignored.
    local[13..16].copy_from_slice(&[0x99, 0, 3]);
    assert_eq!(decode(&[&local[..], b"abc", b"hello"].concat()), want(19));
    let mut unspec = header(V4);
    unspec[13] = 0;
    assert_eq!(decode(&unspec), want(28));
}

#[test]
fn extensions_are_passed_over_and_the_checksum_is_verified() {
    let extensions = [4, 0, 0, 2, 0, 3, b'a', b'.', b'b', 0xee, 0, 1, 9];
    let wrong_sum = [3, 0, 4, 1, 2, 3, 4];
    for bytes in [with_extensions(&extensions), with_checksum(&[]), with_checksum(&extensions)] {
        let found = decode(&bytes).expect("complete").expect("good");
        assert_eq!(found.consumed, bytes.len());
        assert_eq!(found.addresses.map(|ends| ends.source), Some(address(V4.0)));
        assert_eq!(decode_in_pieces(&bytes, 1), Some(Ok(found)));
    }
    assert_eq!(decode(&with_extensions(&wrong_sum)), Some(Err(Refused::Checksum)));
    let good = with_checksum(&extensions);
    for at in 16..28 {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        assert_eq!(decode(&changed), Some(Err(Refused::Checksum)), "{at}");
    }
}

#[test]
fn bad_headers_are_refused_with_their_reason() {
    let malformed = Refused::Malformed;
    for (case, at, bytes, want) in [
        ("version 1", 12, &[0x11][..], malformed(Part::Version)),
        ("command", 12, &[0x22], malformed(Part::Command)),
        ("family", 13, &[0x41], malformed(Part::Family)),
        ("transport", 13, &[0x13], malformed(Part::Family)),
        ("UDP", 13, &[0x12], Refused::Unsupported(0x12)),
        ("UDP over IPv6", 13, &[0x22], Refused::Unsupported(0x22)),
        ("Unix", 13, &[0x31], Refused::Unsupported(0x31)),
        ("too short", 14, &[0, 11], malformed(Part::Length)),
        ("IPv6 in IPv4's length", 13, &[0x21], malformed(Part::Length)),
        ("huge", 14, &[0xff, 0xff], Refused::TooLarge(0xffff)),
        ("just too long", 14, &[0x10, 0x01], Refused::TooLarge(MAX_LENGTH + 1)),
    ] {
        let mut header = header(V4);
        header[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(decode(&header), Some(Err(want)), "{case}");
        assert!(!want.metric().is_empty() && !want.to_string().is_empty());
    }
    for (case, extensions) in [
        ("cut in its header", &[4, 0][..]),
        ("beyond the end", &[4, 0, 1]),
        ("checksum of three bytes", &[3, 0, 3, 1, 2, 3]),
        ("two checksums", &[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0]),
    ] {
        let verdict = decode(&with_extensions(extensions));
        assert_eq!(verdict, Some(Err(malformed(Part::Extension))), "{case}");
    }
    // Known from the length of the extension alone, one byte too long.
    let beyond = with_extensions(&[4, 0, 3, 0, 0]);
    assert_eq!(decode(&beyond[..beyond.len() - 2]), Some(Err(malformed(Part::Extension))));
}

#[test]
fn the_longest_header_is_accepted() {
    let noop = [&[4, 0x0f, 0xf4 - 3][..], &[0; 0xff4 - 3]].concat();
    let bytes = with_extensions(&noop);
    assert_eq!(bytes.len(), 16 + usize::from(MAX_LENGTH));
    assert_eq!(decode(&bytes).expect("complete").expect("good").consumed, bytes.len());
}

#[test]
fn other_bytes_are_known_by_the_first_that_differs() {
    let signature = &header(V4)[..12];
    for at in 0..12 {
        let mut wrong = signature[..=at].to_vec();
        wrong[at] ^= 1;
        assert_eq!(decode(&wrong), Some(Err(Refused::NotProxy)), "{at}");
    }
    assert_eq!(decode(b"PROXY TCP4"), Some(Err(Refused::NotProxy)));
    assert_eq!(decode(&[22]), Some(Err(Refused::NotProxy)));
}

proptest! {
    #[test]
    fn any_two_addresses_survive(source: SocketAddr, destination: SocketAddr) {
        let header = encode(source, destination);
        let found = decode(header.as_bytes()).expect("complete").expect("good");
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let want = Addresses { source: plain(source), destination: plain(destination) };
        prop_assert_eq!(found.addresses, Some(want));
    }

    #[test]
    fn pieces_and_mutations_never_change_what_whole_bytes_say(
        checksum: bool,
        extensions in prop::collection::vec(any::<u8>(), 0..40),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        size in 1_usize..40,
    ) {
        let mut bytes =
            if checksum { with_checksum(&extensions) } else { with_extensions(&extensions) };
        for (at, byte) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = decode(&bytes);
        prop_assert_eq!(decode_in_pieces(&bytes, size), whole);
        prop_assert_eq!(decode_in_pieces(&bytes, 1), whole);
        if let Some(Ok(found)) = whole {
            prop_assert!(found.consumed <= bytes.len());
        }
    }
}
