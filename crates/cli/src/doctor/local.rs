//! The files on this machine.

use std::{os::unix::fs::PermissionsExt, path::Path};

use sextant_model::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Check, Finding, finding_of};
use crate::exit::Failure;

/// Days before its end at which a CA certificate is worth a word: clients need time to get another.
const CA_NOTICE_DAYS: i64 = 30;

/// The token file, and what went wrong when it was read.
pub fn token_file(path: &Path, failure: Option<&Failure>) -> Check {
    let place = path.display().to_string();
    let mut findings = Vec::new();
    // One that others can reach is not read at all.
    if let Some(mode) = mode(path).filter(|mode| mode & 0o077 != 0) {
        findings.push(Finding::new(
            format!("the token file has mode {mode:04o}: others can reach the token"),
            &place,
            format!("chmod 600 {place}; if others read it, revoke the token and create another"),
        ));
    } else if let Some(failure) = failure {
        let remedy = "write a token from `sextant api-token create` to it, readable by you";
        findings.push(finding_of(failure, &place, remedy));
    }
    Check::new(format!("token file {place}"), findings)
}

/// The CA file, and its content or what went wrong when it was read.
pub fn ca_file(path: &Path, content: Result<&str, &Failure>, now: Timestamp) -> Check {
    let place = path.display().to_string();
    let mut findings = Vec::new();
    match content {
        Ok(pem) => findings.extend(ca_validity(pem, &place, now)),
        Err(failure) => {
            let remedy = "copy the CA certificate of the control plane to it, PEM";
            findings.push(finding_of(failure, &place, remedy));
        }
    }
    // Whoever can write it decides which control plane is believed.
    if let Some(mode) = mode(path).filter(|mode| mode & 0o022 != 0) {
        findings.push(Finding::new(
            format!("the CA file has mode {mode:04o}: others can replace the CA"),
            &place,
            format!("chmod 644 {place}, and compare its content with the control plane's"),
        ));
    }
    Check::new(format!("CA file {place}"), findings)
}

fn ca_validity(pem: &str, place: &str, now: Timestamp) -> Vec<Finding> {
    let certificates = sextant_api::client::tls::certificates(pem, "CA certificate");
    let validities = certificates.iter().flatten().map(|der| validity(der));
    validities
        .filter_map(|validity| {
            let remedy = "get the control plane's new CA certificate before the old one ends";
            match validity {
                Err(reason) => Some(Finding::new(
                    format!("a certificate is not understood: {reason}"),
                    place,
                    "copy the CA certificate of the control plane to it, PEM",
                )),
                Ok((_, end)) if end - now.unix_seconds() < CA_NOTICE_DAYS * 86_400 => Some(
                    Finding::new(format!("the CA certificate {}", ends(end, now)), place, remedy),
                ),
                Ok(_) => None,
            }
        })
        .collect()
}

/// Begin and end of a certificate (DER), in seconds since the Unix epoch.
pub fn validity(der: &[u8]) -> Result<(i64, i64), String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// `ends in 3h` or `ended 3h ago`.
pub fn ends(end: i64, now: Timestamp) -> String {
    let left = end - now.unix_seconds();
    let span = crate::duration::short(left.unsigned_abs());
    if left > 0 { format!("ends in {span}") } else { format!("ended {span} ago") }
}

/// Permission bits; `None` for what is no file, such as standard input.
fn mode(path: &Path) -> Option<u32> {
    if path == Path::new("-") {
        return None;
    }
    std::fs::metadata(path).ok().map(|metadata| metadata.permissions().mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::now;

    fn ca_until(seconds: i64) -> String {
        let mut params = rcgen::CertificateParams::default();
        let end = Timestamp::from_unix_seconds(now().unix_seconds() + seconds).expect("moment");
        params.not_before = now().0 - time::Duration::days(100);
        params.not_after = end.0;
        let key = rcgen::KeyPair::generate().expect("key");
        params.self_signed(&key).expect("certificate").pem()
    }

    #[test]
    fn a_token_that_others_can_read_is_a_finding() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "").expect("written");
        for (mode, findings) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o777, 1)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("mode");
            assert_eq!(token_file(&path, None).findings.len(), findings, "{mode:o}");
        }
        let failure = Failure::BadInput("cannot read it".into());
        assert_eq!(token_file(Path::new("/nonexistent"), Some(&failure)).findings.len(), 1);
    }

    #[test]
    fn a_ca_near_its_end_is_a_finding() {
        let path = Path::new("/nonexistent");
        for (seconds, said) in
            [(31 * 86_400, None), (3 * 3600, Some("ends in 3h")), (-50, Some("ended 50s ago"))]
        {
            let check = ca_file(path, Ok(&ca_until(seconds)), now());
            match said {
                None => assert_eq!(check.findings, []),
                Some(said) => {
                    assert_eq!(check.findings.len(), 1);
                    assert!(check.findings[0].what.contains(said), "{:?}", check.findings);
                }
            }
        }
    }
}
