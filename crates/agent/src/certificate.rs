//! When the client certificate must be renewed, and doing it.

use std::time::Duration;

use sextant_api::{Client, ClientError, resource::enrolment::CertificateRequest};
use sextant_daemon::identity::{KeyError, certificate_request};
use sextant_model::{DnsLabel, Timestamp};
use x509_parser::pem::Pem;

/// Longest time between two looks at the certificate.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub not_before: Timestamp,
    /// Until then.
    pub not_after: Timestamp,
    /// The last byte of its serial number, which is random.
    pub spread: u8,
}

/// A certificate that says nothing.
#[derive(Debug, thiserror::Error)]
#[error("the client certificate cannot be read: {0}")]
pub struct UnreadableCertificate(String);

impl UnreadableCertificate {
    /// What is wrong with it.
    pub fn reason(&self) -> &str {
        &self.0
    }
}

/// A renewal that failed.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The key makes no request.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The control plane gave none.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The control plane gave one that cannot be used.
    #[error(transparent)]
    Unreadable(#[from] UnreadableCertificate),
}

impl RenewalError {
    /// The problem's code, or an empty text.
    pub fn code(&self) -> &str {
        match self {
            Self::Client(error) => error.code(),
            Self::Key(_) | Self::Unreadable(_) => "",
        }
    }
}

/// A certificate and the CA that signed it, PEM.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// The certificate.
    pub certificate: String,
    /// The CA.
    pub ca: String,
    /// How long it is valid.
    pub validity: Validity,
}

impl Validity {
    /// Reads it from a certificate, PEM.
    pub fn of(pem: &str) -> Result<Self, UnreadableCertificate> {
        let failed = |reason: &dyn ToString| UnreadableCertificate(reason.to_string());
        let first = Pem::iter_from_buffer(pem.as_bytes()).next();
        let block =
            first.ok_or_else(|| failed(&"no PEM block"))?.map_err(|error| failed(&error))?;
        let certificate = block.parse_x509().map_err(|error| failed(&error))?;
        let validity = certificate.validity();
        let moment = |seconds| {
            Timestamp::from_unix_seconds(seconds).ok_or_else(|| failed(&"a date out of range"))
        };
        Ok(Self {
            not_before: moment(validity.not_before.timestamp())?,
            not_after: moment(validity.not_after.timestamp())?,
            spread: certificate.raw_serial().last().copied().unwrap_or_default(),
        })
    }

    /// Whether it should be renewed: after a third of its life and a little more, which spreads nodes
    /// that enrolled together.
    pub fn is_due(self, now: Timestamp) -> bool {
        now >= self.due_at()
    }

    /// How long to wait until the next look.
    pub fn pause(self, now: Timestamp) -> Duration {
        self.due_at().since(now).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// Whether it has expired.
    pub fn is_over(self, now: Timestamp) -> bool {
        now >= self.not_after
    }

    fn due_at(self) -> Timestamp {
        let life = self.not_after.since(self.not_before);
        self.not_before.after(life.mul_f64((1.0 + f64::from(self.spread) / 512.0) / 3.0))
    }
}

/// Asks for a new certificate on the same key.
pub async fn renew(client: &Client, key: &str, name: &DnsLabel) -> Result<Renewed, RenewalError> {
    let certificate_request = certificate_request(key, name.as_str())?;
    let answer = client.renew_certificate(&CertificateRequest { certificate_request }).await?;
    let validity = Validity::of(&answer.certificate)?;
    Ok(Renewed { certificate: answer.certificate, ca: answer.ca, validity })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds).expect("time")
    }

    #[test]
    fn the_dates_are_read_from_the_certificate() {
        let mut params = CertificateParams::new(vec![]).expect("params");
        params.not_before = rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let key = KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("certificate").pem();
        let validity = Validity::of(&pem).expect("validity");
        assert_eq!(validity.not_before.0, rcgen::date_time_ymd(2030, 1, 1));
        assert_eq!(validity.not_after.0, rcgen::date_time_ymd(2030, 1, 2));
        for bad in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Validity::of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn renewal_is_due_after_a_third_of_its_life_or_up_to_a_half() {
        let validity = Validity { not_before: at(0), not_after: at(86_400), spread: 0 };
        assert!(!validity.is_due(at(28_799)));
        assert!(validity.is_due(at(28_800)));
        let late = Validity { spread: 255, ..validity };
        assert!(!late.is_due(at(40_000)) && late.is_due(at(43_200)));
        assert_eq!(validity.pause(at(0)), LONGEST_PAUSE, "hourly");
        assert_eq!(validity.pause(at(28_790)), Duration::from_secs(10));
        assert!(!validity.is_over(at(86_399)) && validity.is_over(at(86_400)));
    }
}
