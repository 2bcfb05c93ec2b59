//! The TLS ClientHello that every measured connection begins with.

/// Length of the hello without its record header, the usual size that clients pad to.
const MESSAGE: usize = 512;

/// A TLS 1.3 ClientHello of 517 bytes in one record, as a browser without post-quantum key shares
/// sends it. Nobody answers it: what the backends see is counted, not understood.
pub(super) fn client_hello(name: &str) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, body: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(with_length(body));
    };
    let host = [&[0], with_length(name.as_bytes()).as_slice()].concat();
    extension(0, &with_length(&host));
    extension(23, &[]); // extended_master_secret
    extension(10, &with_length(&[0x00, 0x1d, 0x00, 0x17, 0x00, 0x18])); // supported_groups
    extension(11, &[1, 0]); // ec_point_formats
    extension(16, &with_length(b"\x02h2\x08http/1.1")); // alpn
    extension(13, &with_length(&[0x04, 0x03, 0x08, 0x04, 0x04, 0x01, 0x05, 0x03, 0x08, 0x05]));
    extension(51, &with_length(&[&[0x00, 0x1d, 0x00, 0x20], [0x5a; 32].as_slice()].concat()));
    extension(45, &[1, 1]); // psk_key_exchange_modes
    extension(43, &[4, 0x03, 0x04, 0x03, 0x03]); // supported_versions

    let mut hello = vec![0x03, 0x03];
    hello.extend([0xa7; 32]); // random
    hello.push(32);
    hello.extend([0xc3; 32]); // session id
    let suites = [0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c];
    hello.extend(with_length(&suites));
    hello.extend([1, 0]); // no compression
    // Type and length of the message, length of the extensions, header of the padding.
    let padding = MESSAGE.saturating_sub(4 + hello.len() + 2 + extensions.len() + 4);
    extensions.extend(21_u16.to_be_bytes());
    extensions.extend(with_length(&vec![0; padding]));
    hello.extend(with_length(&extensions));

    let mut message = vec![1, 0];
    message.extend(with_length(&hello));
    [&[22, 0x03, 0x01], with_length(&message).as_slice()].concat()
}

/// `body` after its length in two bytes.
fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("all parts are short");
    [&length.to_be_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_usual_size_and_names_the_host() {
        let hello = client_hello("h7.bench.example");
        assert_eq!(hello.len(), 5 + MESSAGE);
        assert_eq!(hello[..6], [22, 3, 1, 2, 0, 1]);
        let name = b"h7.bench.example";
        assert!(hello.windows(name.len()).any(|window| window == name));
    }
}
