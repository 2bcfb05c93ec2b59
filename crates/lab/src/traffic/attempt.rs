//! One connection through an edge.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Service, Visit};

/// Whoever takes longer has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// What every connection needs.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    tls: Arc<ClientConfig>,
}

impl Visitor {
    pub(crate) fn new() -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(SelfSigned(provider)))
            .with_no_client_auth();
        // Every connection shall be like a first one.
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Goes there once and gets what is there.
    pub(crate) async fn visit(&self, visit: &Visit) -> io::Result<()> {
        timeout(LIMIT, async {
            match visit.service {
                Service::Https => self.request(visit).await,
                Service::Echo => self.hold(visit.address, &visit.name).await.map(drop),
            }
        })
        .await?
    }

    async fn request(&self, visit: &Visit) -> io::Result<()> {
        let stream = connect(visit.address).await?;
        let connector = TlsConnector::from(self.tls.clone());
        let mut stream = connector.connect(server_name(&visit.name)?, stream).await?;
        let request = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", visit.name);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"}\n") {
            return Ok(());
        }
        Err(io::Error::other("half an answer"))
    }

    /// A connection to an echo, after it has sent the ClientHello back.
    pub(crate) async fn hold(&self, address: SocketAddr, name: &str) -> io::Result<TcpStream> {
        let hello = self.hello(name)?;
        let mut stream = connect(address).await?;
        stream.write_all(&hello).await?;
        expect(&mut stream, &hello).await?;
        Ok(stream)
    }

    /// A ClientHello as a TLS record.
    pub(crate) fn hello(&self, name: &str) -> io::Result<Vec<u8>> {
        let connection = ClientConnection::new(self.tls.clone(), server_name(name)?);
        let mut hello = Vec::new();
        connection.map_err(io::Error::other)?.write_tls(&mut hello)?;
        Ok(hello)
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn server_name(name: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(io::Error::other)
}

/// Reads exactly what is expected.
pub(crate) async fn expect(stream: &mut TcpStream, expected: &[u8]) -> io::Result<()> {
    let mut found = vec![0; expected.len()];
    let mut filled = 0;
    while filled < found.len() {
        match stream.read(&mut found[filled..]).await? {
            0 => return Err(closed(&found[..filled])),
            count => filled += count,
        }
    }
    if found == expected { Ok(()) } else { Err(unlike(&found)) }
}

fn closed(before: &[u8]) -> io::Error {
    match before {
        [] => io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a byte"),
        [ALERT, _, _, _, _, _, reason, ..] => io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("refused with TLS alert {reason}"),
        ),
        other => io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("closed after {} bytes", other.len()),
        ),
    }
}

fn unlike(found: &[u8]) -> io::Error {
    let start: Vec<_> = found.iter().take(7).map(|byte| format!("{byte:02x}")).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("other bytes: {} ...", start.join(" ")))
}

/// Content type of an alert, RFC 8446 section 5.1.
const ALERT: u8 = 21;

/// Takes a certificate for whoever shows it, as long as he has its key: workloads sign theirs by
/// themselves. Whose it is, is compared where it matters.
#[derive(Debug)]
struct SelfSigned(Arc<CryptoProvider>);

impl ServerCertVerifier for SelfSigned {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if intermediates.is_empty() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_connection_was_refused_is_said() {
        assert!(closed(&[]).to_string().contains("without a byte"));
        let alert = [ALERT, 3, 3, 0, 2, 2, 112];
        assert_eq!(closed(&alert).to_string(), "refused with TLS alert 112");
        assert!(closed(b"HTTP/1.1 400").to_string().contains("after 12 bytes"));
    }

    #[test]
    fn a_hello_asks_for_the_name() {
        let hello = Visitor::new().expect("settings").hello("shop.lab.test").expect("a hello");
        assert_eq!(hello[0], 22, "a handshake record");
        assert!(hello.windows(13).any(|window| window == b"shop.lab.test"));
    }
}
