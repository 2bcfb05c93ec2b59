//! The file as it is written, and the check that names every mistake at once.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use sextant_daemon::logging::LogConfig;
use sextant_model::{Prefix, prefix::InvalidPrefix};
use url::{Host, Url};

use super::{
    AccessLog, Admin, ControlPlane, EdgeConfig, Health, Limits, OnRemoved, Period, Source, Timeouts,
};

const DEFAULT_ADMIN: &str = "/run/sextant-edge/admin.sock";
const DEFAULT_IDENTITY: &str = "/var/lib/sextant-agent";
const DEFAULT_STATE_DIR: &str = "/var/lib/sextant-edge";
const DEFAULT_MAX_CONNECTIONS: u32 = 100_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    workers: Option<NonZeroUsize>,
    pub routes: Option<PathBuf>,
    pub admin: Option<String>,
    control_plane: WrittenControlPlane,
    proxy_protocol_from: Vec<String>,
    on_route_removed: String,
    drain_timeout: Period,
    restart_drain_timeout: Period,
    limits: WrittenLimits,
    timeouts: WrittenTimeouts,
    health: WrittenHealth,
    access_log: String,
    access_log_max_mib: u64,
    log: LogConfig,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenControlPlane {
    urls: Vec<String>,
    identity: PathBuf,
    state_dir: PathBuf,
    listen_addresses: Vec<IpAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenLimits {
    max_connections: Option<u32>,
    max_prereads: u32,
    per_source_connections: u32,
    per_source_prereads: u32,
    source_prefix_ipv4: u8,
    source_prefix_ipv6: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenTimeouts {
    hello: Period,
    connect: Period,
    idle: Period,
    half_close: Period,
    tcp_user_timeout: Period,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenHealth {
    interval: Period,
    timeout: Period,
    rise: u32,
    fall: u32,
    eject_after: u32,
    eject_for: Period,
    eject_at_most: Period,
}

const fn seconds(seconds: u64) -> Period {
    Period(Duration::from_secs(seconds))
}

impl Default for Written {
    fn default() -> Self {
        Self {
            workers: None,
            routes: None,
            admin: None,
            control_plane: WrittenControlPlane::default(),
            proxy_protocol_from: Vec::new(),
            on_route_removed: "keep".into(),
            drain_timeout: seconds(30),
            restart_drain_timeout: seconds(3),
            limits: WrittenLimits::default(),
            timeouts: WrittenTimeouts::default(),
            health: WrittenHealth::default(),
            access_log: "off".into(),
            access_log_max_mib: 1024,
            log: LogConfig::default(),
        }
    }
}

impl Default for WrittenControlPlane {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            identity: DEFAULT_IDENTITY.into(),
            state_dir: DEFAULT_STATE_DIR.into(),
            listen_addresses: vec![Ipv6Addr::UNSPECIFIED.into()],
        }
    }
}

impl Default for WrittenLimits {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_prereads: 10_000,
            per_source_connections: 10_000,
            per_source_prereads: 1000,
            source_prefix_ipv4: 32,
            source_prefix_ipv6: 64,
        }
    }
}

impl Default for WrittenTimeouts {
    fn default() -> Self {
        Self {
            hello: seconds(5),
            connect: seconds(3),
            idle: seconds(3600),
            half_close: seconds(60),
            tcp_user_timeout: seconds(300),
        }
    }
}

impl Default for WrittenHealth {
    fn default() -> Self {
        Self {
            interval: seconds(5),
            timeout: seconds(2),
            rise: 2,
            fall: 3,
            eject_after: 3,
            eject_for: seconds(5),
            eject_at_most: seconds(30),
        }
    }
}

type Mistakes = Vec<String>;

impl Written {
    pub fn check(self) -> Result<EdgeConfig, Mistakes> {
        let mut mistakes = Mistakes::new();
        let source = source(self.routes, self.control_plane, &mut mistakes);
        let admin = admin(self.admin.as_deref().unwrap_or(DEFAULT_ADMIN), &mut mistakes);
        let admin_given = self.admin.is_some();
        let trusted = trusted(&self.proxy_protocol_from, &mut mistakes);
        let on_route_removed = on_removed(&self.on_route_removed, &mut mistakes);
        let limits = limits(&self.limits, &mut mistakes);
        let timeouts = timeouts(&self.timeouts, &mut mistakes);
        let health = health(&self.health, &mut mistakes);
        let access_log = access_log(&self.access_log, &mut mistakes);
        if self.access_log_max_mib == 0 {
            mistakes.push("access_log_max_mib is 0; use at least 1".into());
        }
        match (admin, on_route_removed, access_log) {
            (Some(admin), Some(on_route_removed), Some(access_log)) if mistakes.is_empty() => {
                Ok(EdgeConfig {
                    workers: self.workers.unwrap_or_else(cores),
                    source,
                    admin,
                    admin_given,
                    proxy_protocol_from: trusted,
                    on_route_removed,
                    drain_timeout: self.drain_timeout.0,
                    restart_drain_timeout: self.restart_drain_timeout.0,
                    limits,
                    timeouts,
                    health,
                    access_log,
                    access_log_max_bytes: self.access_log_max_mib.saturating_mul(1024 * 1024),
                    log: self.log,
                })
            }
            _ => Err(mistakes),
        }
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn source(
    routes: Option<PathBuf>,
    written: WrittenControlPlane,
    mistakes: &mut Mistakes,
) -> Source {
    if let Some(path) = routes {
        if !written.urls.is_empty() {
            mistakes.push(
                "routes and control_plane.urls are both given; routes come from one place".into(),
            );
        }
        return Source::File(path);
    }
    if written.urls.is_empty() {
        mistakes.push("there is neither a route file (routes) nor control_plane.urls".into());
    }
    for (key, path) in [("identity", &written.identity), ("state_dir", &written.state_dir)] {
        if !path.is_absolute() {
            let path = path.display();
            mistakes
                .push(format!("control_plane.{key} \"{path}\" is relative; give an absolute path"));
        }
    }
    let mut urls = Vec::new();
    for text in &written.urls {
        match api_url(text) {
            Ok(url) => urls.push(url),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    Source::ControlPlane(ControlPlane {
        urls,
        identity: written.identity,
        state_dir: written.state_dir,
        listen_addresses: listen_addresses(&written.listen_addresses, mistakes),
    })
}

fn listen_addresses(written: &[IpAddr], mistakes: &mut Mistakes) -> Vec<IpAddr> {
    const KEY: &str = "control_plane.listen_addresses";
    if written.is_empty() {
        mistakes.push(format!("{KEY} is empty; give at least one address"));
    }
    let mut addresses = Vec::new();
    for address in written.iter().map(IpAddr::to_canonical) {
        if address.is_multicast() {
            mistakes.push(format!("{KEY}: {address} is a multicast address; TCP has none"));
        }
        if addresses.contains(&address) {
            mistakes.push(format!("{KEY}: {address} is listed twice; give it once"));
        }
        addresses.push(address);
    }
    addresses
}

fn api_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("control_plane.urls \"{text}\": {error}"))?;
    if url.scheme() != "https" {
        return Err(format!(
            "control_plane.urls \"{text}\" is not https; edges speak mutual TLS only"
        ));
    }
    match url.host() {
        Some(Host::Ipv4(_)) => Err(format!(
            "control_plane.urls \"{text}\" is IPv4; the mesh runs on IPv6, give that address"
        )),
        _ if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => {
            Err(format!("control_plane.urls \"{text}\" goes on after the port; end it there"))
        }
        _ => Ok(url),
    }
}

fn admin(text: &str, mistakes: &mut Mistakes) -> Option<Admin> {
    if text == "off" {
        return Some(Admin::Off);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Admin::Address(address));
    }
    if Path::new(text).is_absolute() {
        return Some(Admin::Path(text.into()));
    }
    mistakes.push(format!(
        "admin \"{text}\" is no absolute path, no address with a port like \"[::1]:9470\", and not \"off\""
    ));
    None
}

fn trusted(texts: &[String], mistakes: &mut Mistakes) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    for text in texts {
        match prefix(text) {
            Ok(prefix) => prefixes.push(prefix),
            Err(reason) => mistakes.push(format!("proxy_protocol_from: {reason}")),
        }
    }
    prefixes
}

/// A prefix; an address stands for itself alone. One of mapped IPv4 addresses is that of the IPv4
/// addresses they are: clients are compared as what they are.
pub fn prefix(text: &str) -> Result<Prefix, String> {
    /// `::ffff:0:0/96` is all of IPv4.
    const MAPPED: u8 = 96;
    let prefix = match text.parse::<IpAddr>() {
        Ok(address) => Prefix::host(address),
        Err(_) => text.parse().map_err(|error: InvalidPrefix| error.to_string())?,
    };
    let mapped = prefix.v6().and_then(|net| {
        let length = net.prefix_len().checked_sub(MAPPED)?;
        Prefix::containing(net.network().to_ipv4_mapped()?.into(), length)
    });
    Ok(mapped.unwrap_or(prefix))
}

fn on_removed(text: &str, mistakes: &mut Mistakes) -> Option<OnRemoved> {
    match text {
        "keep" => return Some(OnRemoved::Keep),
        "cut" => return Some(OnRemoved::Cut),
        _ => {}
    }
    let period = text.strip_prefix("drain:").and_then(|text| text.parse::<Period>().ok());
    if period.is_none() {
        mistakes.push(format!(
            "on_route_removed \"{text}\" does not exist; use \"keep\", \"cut\" or \"drain:60s\""
        ));
    }
    period.map(|Period(time)| OnRemoved::Drain(time))
}

fn limits(written: &WrittenLimits, mistakes: &mut Mistakes) -> Limits {
    let max_connections = written.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS);
    for (key, value) in [
        ("max_connections", max_connections),
        ("max_prereads", written.max_prereads),
        ("per_source_connections", written.per_source_connections),
        ("per_source_prereads", written.per_source_prereads),
    ] {
        if value == 0 {
            mistakes.push(format!("limits.{key} is 0, so nobody could connect; use at least 1"));
        }
    }
    for (key, length, most) in [
        ("source_prefix_ipv4", written.source_prefix_ipv4, 32),
        ("source_prefix_ipv6", written.source_prefix_ipv6, 128),
    ] {
        if length == 0 || length > most {
            mistakes.push(format!("limits.{key} is {length}; use 1 to {most}"));
        }
    }
    Limits {
        max_connections,
        max_connections_given: written.max_connections.is_some(),
        max_prereads: written.max_prereads,
        per_source_connections: written.per_source_connections,
        per_source_prereads: written.per_source_prereads,
        source_prefix_ipv4: written.source_prefix_ipv4,
        source_prefix_ipv6: written.source_prefix_ipv6,
    }
}

fn timeouts(written: &WrittenTimeouts, mistakes: &mut Mistakes) -> Timeouts {
    for (key, period) in [
        ("hello", written.hello),
        ("connect", written.connect),
        ("idle", written.idle),
        ("half_close", written.half_close),
        ("tcp_user_timeout", written.tcp_user_timeout),
    ] {
        positive("timeouts", key, period, mistakes);
    }
    Timeouts {
        hello: written.hello.0,
        connect: written.connect.0,
        idle: written.idle.0,
        half_close: written.half_close.0,
        tcp_user_timeout: written.tcp_user_timeout.0,
    }
}

fn health(written: &WrittenHealth, mistakes: &mut Mistakes) -> Health {
    for (key, period) in [
        ("interval", written.interval),
        ("timeout", written.timeout),
        ("eject_for", written.eject_for),
        ("eject_at_most", written.eject_at_most),
    ] {
        positive("health", key, period, mistakes);
    }
    for (key, count) in
        [("rise", written.rise), ("fall", written.fall), ("eject_after", written.eject_after)]
    {
        if count == 0 {
            mistakes.push(format!("health.{key} is 0; use at least 1"));
        }
    }
    if written.eject_at_most < written.eject_for {
        mistakes.push("health.eject_at_most is less than health.eject_for".into());
    }
    Health {
        interval: written.interval.0,
        timeout: written.timeout.0,
        rise: written.rise,
        fall: written.fall,
        eject_after: written.eject_after,
        eject_for: written.eject_for.0,
        eject_at_most: written.eject_at_most.0,
    }
}

fn positive(section: &str, key: &str, period: Period, mistakes: &mut Mistakes) {
    if period.0.is_zero() {
        mistakes.push(format!("{section}.{key} is zero; give a time like 5s"));
    }
}

fn access_log(text: &str, mistakes: &mut Mistakes) -> Option<AccessLog> {
    match text {
        "off" => Some(AccessLog::Off),
        "-" => Some(AccessLog::Stdout),
        path if Path::new(path).is_absolute() => Some(AccessLog::File(path.into())),
        other => {
            mistakes.push(format!(
                "access_log \"{other}\" is no absolute path; give one, \"-\" for standard output, or \"off\""
            ));
            None
        }
    }
}
