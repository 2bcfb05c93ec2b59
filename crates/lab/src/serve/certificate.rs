//! Certificates of workloads, made when they are first asked for.

use std::{
    collections::HashMap,
    fs, io,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};

/// More than a lab has. Beyond that all are made anew.
const MOST: usize = 10_000;

/// By workload and name.
#[derive(Debug)]
pub(super) struct Certificates {
    directory: PathBuf,
    made: Mutex<HashMap<(Ipv6Addr, String), Arc<ServerConfig>>>,
}

impl Certificates {
    pub(super) fn in_directory(directory: PathBuf) -> Self {
        Self { directory, made: Mutex::default() }
    }

    /// How a workload proves that it is `name`.
    pub(super) fn config(&self, workload: Ipv6Addr, name: &str) -> io::Result<Arc<ServerConfig>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (workload, name.to_owned());
        if let Some(config) = made.get(&key) {
            return Ok(config.clone());
        }
        if made.len() >= MOST {
            made.clear();
        }
        let (certificate, config) = self_signed(name).map_err(io::Error::other)?;
        write(&file(&self.directory, workload, name), &certificate)?;
        made.insert(key, config.clone());
        Ok(config)
    }
}

/// Where the certificate of a workload for a name is, in the folder of its node.
pub(super) fn file(directory: &Path, workload: Ipv6Addr, name: &str) -> PathBuf {
    directory.join(workload.to_string()).join(format!("{name}.crt"))
}

/// The certificate as PEM, and how to serve with it.
fn self_signed(
    name: &str,
) -> Result<(String, Arc<ServerConfig>), Box<dyn std::error::Error + Send + Sync>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key)?;
    let private = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())?;
    Ok((certificate.pem(), Arc::new(config)))
}

/// Appears at once with all its content.
fn write(path: &Path, certificate: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut new, certificate.as_bytes())?;
    new.persist(path).map(drop).map_err(|error| error.error)
}
