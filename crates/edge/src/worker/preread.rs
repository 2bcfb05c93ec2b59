//! From the first bytes of a connection to the name it is routed by. Decides; reads nothing.

use sextant_model::routing::table::ListenerKind;

use crate::{
    hello::{ClientHello, HelloParser, Progress},
    http_host::{HostParser, RequestHost},
    outcome::Outcome,
    proxy_protocol::{Addresses, Decoder},
};

/// What has been read of a connection that is not routed yet. The parsers say how many bytes that
/// may be: [`crate::hello::MAX_LENGTH`] and [`crate::http_host::MAX_HEAD`].
#[derive(Debug)]
pub struct Preread {
    /// Of the PROXY header, until it is complete.
    header: Option<Decoder>,
    /// Bytes fed to it.
    header_fed: usize,
    sniffer: Sniffer,
    /// Whether the client has said anything.
    begun: bool,
}

#[derive(Debug)]
enum Sniffer {
    /// Where it arrived says all.
    Nothing,
    Hello(HelloParser),
    Host(HostParser),
}

/// What some bytes led to.
#[derive(Debug)]
pub struct Fed {
    /// How many of them belong to the PROXY header and not to the client.
    pub header: usize,
    /// The header is complete and says whose connection it is.
    pub addresses: Option<Addresses>,
    /// Where the connection goes, or why nowhere. More bytes change nothing any more.
    pub verdict: Option<Verdict>,
}

/// What a connection is routed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The address and port alone.
    Whole,
    /// What its ClientHello says. Without a name only a sole route may have it.
    Hello(ClientHello),
    /// What its request says, in the same way.
    Request(RequestHost),
    /// It is not routed.
    Refused(Outcome),
}

impl Preread {
    /// Nothing was read yet. `header`: whether a PROXY header must come first.
    pub fn new(kind: ListenerKind, header: bool) -> Self {
        let sniffer = match kind {
            ListenerKind::Raw => Sniffer::Nothing,
            ListenerKind::Tls => Sniffer::Hello(HelloParser::new()),
            ListenerKind::Http => Sniffer::Host(HostParser::new()),
        };
        let header = header.then(Decoder::new);
        Self { header, header_fed: 0, sniffer, begun: false }
    }

    /// Whether no byte has to be read: raw connections are routed at once, so that servers may
    /// speak first.
    pub fn needs_nothing(&self) -> bool {
        self.header.is_none() && matches!(self.sniffer, Sniffer::Nothing)
    }

    /// Takes the bytes that follow those of the call before.
    pub fn feed(&mut self, new: &[u8]) -> Fed {
        let mut fed = Fed { header: 0, addresses: None, verdict: None };
        if let Some(decoder) = &mut self.header {
            match decoder.feed(new) {
                Progress::NeedMore => {
                    self.begun |= !new.is_empty();
                    self.header_fed += new.len();
                    return Fed { header: new.len(), ..fed };
                }
                Progress::Done(Err(why)) => {
                    fed.verdict = Some(Verdict::Refused(Outcome::BadProxyHeader(why)));
                    return fed;
                }
                Progress::Done(Ok(decoded)) => {
                    fed.header = decoded.consumed.saturating_sub(self.header_fed).min(new.len());
                    fed.addresses = decoded.addresses;
                    self.header = None;
                    // A header says that somebody is there, not that they said anything.
                    self.begun = false;
                }
            }
        }
        fed.verdict = self.sniff(&new[fed.header..]);
        fed
    }

    fn sniff(&mut self, new: &[u8]) -> Option<Verdict> {
        self.begun |= !new.is_empty();
        match &mut self.sniffer {
            Sniffer::Nothing => Some(Verdict::Whole),
            Sniffer::Hello(parser) => match parser.feed(new) {
                Progress::NeedMore => None,
                Progress::Done(Ok(hello)) => Some(Verdict::Hello(hello)),
                Progress::Done(Err(why)) => Some(Verdict::Refused(Outcome::BadHello(why))),
            },
            Sniffer::Host(parser) => match parser.feed(new) {
                Progress::NeedMore => None,
                Progress::Done(Ok(request)) => Some(Verdict::Request(request)),
                Progress::Done(Err(why)) => Some(Verdict::Refused(Outcome::BadRequest(why))),
            },
        }
    }

    /// How it ends if the client closes now.
    pub fn closed(&self) -> Outcome {
        if self.begun { Outcome::ClientLeft } else { Outcome::Probe }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::proxy_protocol;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn a_header_and_a_hello_are_told_apart_wherever_they_are_cut() {
        let header = proxy_protocol::encode(address(1), address(443));
        let header = header.as_bytes();
        let all = [header, b"GET / HTTP/1.1\r\nHost: foo.example\r\n\r\n"].concat();
        for cut in 0..=all.len() {
            let mut preread = Preread::new(ListenerKind::Http, true);
            let (first, second) = all.split_at(cut);
            let (one, two) = (preread.feed(first), preread.feed(second));
            assert_eq!(one.header + two.header, header.len(), "cut at {cut}");
            let addresses = one.addresses.or(two.addresses).expect("addresses");
            assert_eq!(addresses.source, address(1));
            let verdict = one.verdict.or(two.verdict);
            let Some(Verdict::Request(request)) = verdict else { panic!("{verdict:?}") };
            assert_eq!(request.host.expect("host").as_str(), "foo.example");
        }
    }

    #[test]
    fn only_raw_connections_without_a_header_need_nothing() {
        assert!(Preread::new(ListenerKind::Raw, false).needs_nothing());
        assert!(!Preread::new(ListenerKind::Raw, true).needs_nothing());
        assert!(!Preread::new(ListenerKind::Tls, false).needs_nothing());
    }

    #[test]
    fn closing_without_a_byte_is_a_probe() {
        let mut preread = Preread::new(ListenerKind::Tls, false);
        assert_eq!(preread.closed(), Outcome::Probe);
        preread.feed(&[22]);
        assert_eq!(preread.closed(), Outcome::ClientLeft);
    }

    #[test]
    fn closing_after_a_whole_header_is_a_probe() {
        let header = proxy_protocol::encode_local();
        let header = header.as_bytes();
        for cut in 0..header.len() {
            let mut preread = Preread::new(ListenerKind::Tls, true);
            preread.feed(&header[..cut]);
            let half = if cut == 0 { Outcome::Probe } else { Outcome::ClientLeft };
            assert_eq!(preread.closed(), half, "cut at {cut}");
            preread.feed(&header[cut..]);
            assert_eq!(preread.closed(), Outcome::Probe, "cut at {cut}");
            preread.feed(&[22]);
            assert_eq!(preread.closed(), Outcome::ClientLeft);
        }
        let mut preread = Preread::new(ListenerKind::Tls, true);
        preread.feed(&[header, &[22]].concat());
        assert_eq!(preread.closed(), Outcome::ClientLeft);
    }
}
