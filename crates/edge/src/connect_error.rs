//! Why a connection to a backend could not be made, and what that says of whom.

use std::net::SocketAddr;

use rustix::io::Errno;

/// Why a connection to one backend could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The backend, or a firewall before it, said no.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// This machine has no address of the backend's family, or no port left towards it.
    NoLocalAddress,
    /// No way leads there.
    Unreachable,
    /// A firewall of this machine, or a policy, forbids it.
    NotPermitted,
    /// A listening socket of this edge: what is sent there comes back.
    Itself,
    /// Anything else.
    Other(Errno),
}

/// What the operating system refused, seen from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It concerns this one backend: another may be fine.
    Backend(ConnectError),
    /// The process has no descriptor or memory left, whatever the backend.
    Process,
}

impl ConnectError {
    /// The value of the label `reason` in metrics, for those that share an outcome.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::NoLocalAddress => "no_local_address",
            Self::Unreachable => "unreachable",
            Self::NotPermitted => "not_permitted",
            Self::Itself => "itself",
            Self::Other(_) => "other",
        }
    }

    /// What happened, in words that name the backend.
    pub fn towards(self, backend: SocketAddr) -> String {
        match self {
            Self::Refused => format!("{backend} refused the connection"),
            Self::TimedOut => format!("{backend} did not answer in time"),
            Self::NoLocalAddress => format!("no local address or port towards {backend}"),
            Self::Unreachable => format!("no route to {backend}"),
            Self::NotPermitted => {
                format!("connecting to {backend} is not permitted; look at the firewall")
            }
            Self::Itself => {
                format!("{backend} is a listener of this edge; the connection would come back")
            }
            Self::Other(error) => format!("cannot connect to {backend}: {error}"),
        }
    }
}

impl From<Errno> for ConnectError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::CONNREFUSED | Errno::CONNRESET | Errno::PIPE => Self::Refused,
            Errno::TIMEDOUT => Self::TimedOut,
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AFNOSUPPORT => Self::NoLocalAddress,
            Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN => {
                Self::Unreachable
            }
            Errno::ACCESS | Errno::PERM => Self::NotPermitted,
            other => Self::Other(other),
        }
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        match error {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => Self::Process,
            other => Self::Backend(other.into()),
        }
    }
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "no backend took the connection",
            Self::TimedOut => "no backend answered in time",
            Self::NoLocalAddress => "no local address or port towards the backend",
            Self::Unreachable => "no route to the backend",
            Self::NotPermitted => "connecting to the backend is not permitted",
            Self::Itself => "the backend is a listener of this edge",
            Self::Other(error) => return write!(f, "cannot connect to the backend: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_want_of_descriptors_or_memory_concerns_the_whole_process() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert_eq!(Failure::from(errno), Failure::Process, "{errno}");
        }
        for (errno, why) in [
            (Errno::ADDRNOTAVAIL, ConnectError::NoLocalAddress),
            (Errno::ADDRINUSE, ConnectError::NoLocalAddress),
            (Errno::AFNOSUPPORT, ConnectError::NoLocalAddress),
            (Errno::NETUNREACH, ConnectError::Unreachable),
            (Errno::HOSTUNREACH, ConnectError::Unreachable),
            (Errno::ACCESS, ConnectError::NotPermitted),
            (Errno::PERM, ConnectError::NotPermitted),
            (Errno::CONNREFUSED, ConnectError::Refused),
            (Errno::TIMEDOUT, ConnectError::TimedOut),
            (Errno::INVAL, ConnectError::Other(Errno::INVAL)),
        ] {
            assert_eq!(Failure::from(errno), Failure::Backend(why), "{errno}");
        }
    }

    #[test]
    fn the_words_name_the_backend() {
        let backend = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7100));
        let words = ConnectError::NoLocalAddress.towards(backend);
        assert_eq!(words, "no local address or port towards [::1]:7100");
        for why in [ConnectError::Refused, ConnectError::Other(Errno::INVAL)] {
            assert!(why.towards(backend).contains("[::1]:7100"));
        }
    }
}
