//! Which addresses of the database's host are dialled: those of IPv6, unless told otherwise. A name
//! that has A records too must not bring IPv4 in (ADR 0012).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::timeout;

const LOOKUP_LIMIT: Duration = Duration::from_secs(3);
/// A name is not looked up more often, unless a connection could not be had.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(10);

/// A database host that is known by its name.
#[derive(Debug)]
pub(crate) struct NamedHost {
    options: PgConnectOptions,
    /// Whose turn it is among its addresses.
    turn: AtomicUsize,
    looked_up: Mutex<Option<Instant>>,
}

impl NamedHost {
    /// `None` where there is nothing to look up: a socket or an address.
    pub(crate) fn of(options: &PgConnectOptions) -> Option<Self> {
        let is_name =
            options.get_socket().is_none() && options.get_host().parse::<IpAddr>().is_err();
        is_name.then(|| Self {
            options: options.clone(),
            turn: AtomicUsize::new(0),
            looked_up: Mutex::default(),
        })
    }

    /// How to connect now.
    pub(crate) async fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let (name, port) = (self.options.get_host(), self.options.get_port());
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, format!("\"{name}\" cannot be looked up"));
        let found = timeout(LOOKUP_LIMIT, tokio::net::lookup_host((name, port))).await;
        let addresses = only_ipv6(name, found.map_err(|_| late())??)?;
        // The certificate is checked against the name, which must stay.
        if matches!(self.options.get_ssl_mode(), PgSslMode::VerifyFull) {
            return Ok(self.options.clone());
        }
        let turn = self.turn.load(Ordering::Relaxed) % addresses.len();
        Ok(self.options.clone().host(&addresses[turn].to_string()))
    }

    /// Lets the pool dial the present addresses, if it may have to connect.
    pub(crate) async fn prepare(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        if pool.num_idle() > 0 {
            return Ok(());
        }
        let known = *self.looked_up();
        if known.is_none_or(|at| at.elapsed() > LOOKUP_INTERVAL) {
            pool.set_connect_options(self.options().await?);
            *self.looked_up() = Some(Instant::now());
        }
        Ok(())
    }

    /// No connection could be had: the next attempt goes to the next address.
    pub(crate) fn failed(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
        *self.looked_up() = None;
    }

    fn looked_up(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.looked_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn only_ipv6(
    name: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<IpAddr>, io::Error> {
    let ipv6: Vec<IpAddr> = found.map(|address| address.ip()).filter(IpAddr::is_ipv6).collect();
    if ipv6.is_empty() {
        return Err(io::Error::other(format!(
            "the database host \"{name}\" has no IPv6 address; give it an AAAA record, or set \
             database.allow_ipv4"
        )));
    }
    Ok(ipv6)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn only_names_are_looked_up_and_only_ipv6_is_dialled() {
        let options = |url| PgConnectOptions::from_str(url).expect("URL");
        assert!(NamedHost::of(&options("postgresql://u@db.example/d")).is_some());
        for url in ["postgresql:///d?host=/run/pg", "postgresql://u@10.0.0.1/d"] {
            assert!(NamedHost::of(&options(url)).is_none(), "{url}");
        }
        let address = |text: &str| text.parse::<SocketAddr>().expect("address");
        let (v4, v6) = (address("10.0.0.1:5432"), address("[2001:db8::1]:5432"));
        assert_eq!(only_ipv6("db", [v4, v6].into_iter()).expect("one"), [v6.ip()]);
        let error = only_ipv6("db", [v4].into_iter()).expect_err("none").to_string();
        assert!(error.contains("database.allow_ipv4"), "{error}");
    }
}
