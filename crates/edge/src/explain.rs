//! Says where a connection would go, and why. It decides by the same table, limits and backends as
//! the workers do, and changes nothing.

mod answer;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use serde::Serialize;
use sextant_model::routing::table::{Listener, ListenerKind, NoRoute};

pub use answer::RouteAnswer;
use answer::pattern;

use crate::{
    balance::{Backend, Usability},
    connect_error::ConnectError,
    hello::{InvalidName, ServerName},
    own_address,
    status::Shared,
    table::Route,
    timer::Moment,
};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    host: Option<String>,
    /// An address was given for the host, which counts as none.
    host_is_address: bool,
    port: u16,
    from: Option<IpAddr>,
    local: Option<IpAddr>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Explanation {
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    port: u16,
    /// Where it would arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<ListenerAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<RouteAnswer>,
    /// The backend it would be given now.
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<SocketAddr>,
    /// How much of its limits the source uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceAnswer>,
    /// Whether it would be forwarded.
    served: bool,
    /// Why, or why not, step by step.
    why: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ListenerAnswer {
    listen: SocketAddr,
    kind: &'static str,
    routes: usize,
    open: bool,
}

#[derive(Debug, Serialize)]
struct SourceAnswer {
    address: IpAddr,
    connections: u32,
    connections_limit: u32,
    prereads: u32,
    prereads_limit: u32,
}

impl Question {
    /// Reads a query: `host`, `port`, `from` and `local`.
    pub fn parse(query: &str) -> Result<Self, String> {
        let (mut host, mut port, mut from, mut local) = (None, 443, None, None);
        let mut host_is_address = false;
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let short: String = value.chars().take(70).collect();
            let address = |text: &str| {
                text.parse::<IpAddr>().map(|ip| ip.to_canonical()).map_err(|_| {
                    format!("{key} \"{short}\" is no address; give one like 2001:db8::1")
                })
            };
            match &*key {
                "host" if value.is_empty() => {}
                "host" => {
                    // As the workers read it: names may be asked for that no route may have.
                    match ServerName::normalise(value.as_bytes()) {
                        Ok(name) => host = Some(name.as_str().to_owned()),
                        Err(InvalidName::Address(_)) => host_is_address = true,
                        Err(error) => {
                            return Err(format!("host \"{short}\" is no name: {error}"));
                        }
                    }
                }
                "port" => {
                    let valid = value.parse().ok().filter(|port| *port != 0);
                    port = valid.ok_or(format!("port \"{short}\" is no port; use 1 to 65535"))?;
                }
                "from" => from = Some(address(&value)?),
                "local" => local = Some(address(&value)?),
                other => {
                    let other: String = other.chars().take(40).collect();
                    return Err(format!(
                        "\"{other}\" is unknown; known are host, port, from, local"
                    ));
                }
            }
        }
        Ok(Self { host, host_is_address, port, from, local })
    }
}

/// Every route.
pub fn routes(shared: &Shared) -> Vec<RouteAnswer> {
    shared.routes.load().values().map(|route| RouteAnswer::of(route)).collect()
}

/// Answers `question`.
pub fn explain(shared: &Shared, question: &Question) -> Explanation {
    let snapshot = shared.published.load();
    let mut answer = Explanation {
        revision: snapshot.revision,
        host: question.host.clone(),
        port: question.port,
        listener: None,
        route: None,
        backend: None,
        source: None,
        served: false,
        why: Vec::new(),
    };
    let within_limits = answer.judge_source(shared, question.from);
    let Some(arrives) = arrival(&snapshot.table, question, &mut answer.why) else { return answer };
    let Some((listen, listener)) = find_listener(&snapshot.table, arrives, &mut answer.why) else {
        return answer;
    };
    let listeners = &shared.situation.load().listeners;
    let open = listeners.iter().any(|socket| socket.open && socket.takes(arrives));
    answer.listener =
        Some(ListenerAnswer { listen, kind: kind(listener.kind()), routes: listener.len(), open });
    if !open {
        answer.why.push(format!("{listen} is not open; see /status"));
    }
    if question.host_is_address {
        answer.why.push("an address in place of the name counts as no name".into());
    }
    let found = find_route(listener, question.host.as_deref(), listen, &mut answer.why);
    let Some(route) = found else { return answer };
    answer.route = Some(RouteAnswer::of(route));
    let room = has_room(route, &mut answer.why);
    answer.backend = choose(route.backends(), Moment::now(), &mut answer.why);
    let itself = answer.backend.filter(|backend| {
        snapshot.table.listener(*backend).is_some() && own_address::is_own(*backend)
    });
    if let Some(backend) = itself {
        answer.why.push(ConnectError::Itself.towards(backend));
    }
    let backend = answer.backend.is_some() && itself.is_none();
    answer.served = within_limits && open && room && backend;
    answer
}

impl Explanation {
    fn judge_source(&mut self, shared: &Shared, from: Option<IpAddr>) -> bool {
        let limits = shared.limits.settings();
        let mut fits = true;
        let mut refuse = |reason: String, why: &mut Vec<String>| {
            fits = false;
            why.push(reason);
        };
        if shared.limits.connections() >= limits.connections {
            refuse(format!("all {} connections are taken", limits.connections), &mut self.why);
        }
        if shared.limits.prereads() >= limits.prereads {
            let most = limits.prereads;
            refuse(format!("there are {most} connections that are not routed yet"), &mut self.why);
        }
        if let Some(address) = from {
            let used = shared.limits.source(address);
            if used.connections >= limits.source_connections {
                let most = limits.source_connections;
                refuse(
                    format!("the source of {address} has all its {most} connections"),
                    &mut self.why,
                );
            }
            if used.prereads >= limits.source_prereads {
                let most = limits.source_prereads;
                let reason = format!(
                    "the source of {address} has {most} connections that are not routed yet"
                );
                refuse(reason, &mut self.why);
            }
            self.source = Some(SourceAnswer {
                address,
                connections: used.connections,
                connections_limit: limits.source_connections,
                prereads: used.prereads,
                prereads_limit: limits.source_prereads,
            });
        }
        fits
    }
}

type Table = sextant_model::routing::Table<Arc<Route>>;

/// Where it would arrive: at the address that was given; else at any that the source can reach, if
/// there are routes for all of them; else at the only one.
fn arrival(table: &Table, question: &Question, why: &mut Vec<String>) -> Option<SocketAddr> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let port = question.port;
    if let Some(local) = question.local {
        return Some(SocketAddr::new(local, port));
    }
    let reachable = |ip: IpAddr| question.from.is_none_or(|from| from.is_ipv4() == ip.is_ipv4());
    let mut of_port: Vec<IpAddr> = table
        .listeners()
        .filter(|(listen, _)| listen.port() == port)
        .map(|(listen, _)| listen.ip())
        .collect();
    // What listens on every address of IPv6 may take IPv4 too.
    if of_port.contains(&V6) {
        of_port.push(V4);
    }
    of_port.retain(|ip| reachable(*ip));
    let general = [V6, V4].into_iter().find(|ip| of_port.contains(ip));
    match (general, &of_port[..]) {
        (Some(ip), _) | (None, &[ip]) => Some(SocketAddr::new(ip, port)),
        (None, []) => {
            why.push(match question.from {
                Some(from) => format!("no route listens on port {port} where {from} arrives"),
                None => format!("no route listens on port {port}"),
            });
            None
        }
        (None, several) => {
            let listed: Vec<String> =
                several.iter().map(|ip| SocketAddr::new(*ip, port).to_string()).collect();
            let listed = listed.join(", ");
            why.push(format!("routes listen on {listed}; say which with local="));
            None
        }
    }
}

/// The listener of what arrives there, by the address of its routes.
fn find_listener<'t>(
    table: &'t Table,
    arrives: SocketAddr,
    why: &mut Vec<String>,
) -> Option<(SocketAddr, &'t Listener<Arc<Route>>)> {
    let Some(listener) = table.listener(arrives) else {
        why.push(format!("no route listens on {arrives}"));
        return None;
    };
    let same = |listen: &SocketAddr| {
        listen.port() == arrives.port()
            && table.listener(*listen).is_some_and(|other| std::ptr::eq(other, listener))
    };
    let listen = table.listeners().map(|(listen, _)| listen).find(same).unwrap_or(arrives);
    Some((listen, listener))
}

fn find_route<'t>(
    listener: &'t Listener<Arc<Route>>,
    host: Option<&str>,
    listen: SocketAddr,
    why: &mut Vec<String>,
) -> Option<&'t Arc<Route>> {
    let what = match listener.kind() {
        ListenerKind::Raw => {
            why.push(format!("a raw route owns {listen}; nothing is read before it is routed"));
            return listener.without_name().ok();
        }
        ListenerKind::Tls => "a server name in the ClientHello",
        ListenerKind::Http => "a Host in the first request",
    };
    let found = match host {
        Some(host) => listener.by_name(host),
        None => listener.without_name(),
    };
    match (found, host) {
        (Ok(route), Some(host)) => {
            let how = match pattern(route.served()) {
                Some(pattern) if pattern != host => format!("the wildcard \"{pattern}\" matches"),
                _ => "the name is that of a route".to_owned(),
            };
            why.push(format!("{listen} is routed by {what}: {how}"));
            Some(route)
        }
        (Ok(route), None) => {
            why.push(format!("{listen} is routed by {what}: without one, the only route is taken"));
            Some(route)
        }
        (Err(NoRoute::UnknownName), _) => {
            let host = host.unwrap_or_default();
            why.push(format!("{listen} is routed by {what}: no route has \"{host}\""));
            None
        }
        (Err(NoRoute::NameNeeded), _) => {
            let count = listener.len();
            why.push(format!(
                "{listen} is routed by {what}: without one, none of {count} is taken"
            ));
            None
        }
    }
}

fn has_room(route: &Route, why: &mut Vec<String>) -> bool {
    match route.served().max_connections {
        Some(most) if route.connections() >= most => {
            why.push(format!("the route has all its {most} connections"));
            false
        }
        _ => true,
    }
}

/// The same choice as that of the workers, without taking a trial of an ejected backend.
fn choose(backends: &[Arc<Backend>], now: Moment, why: &mut Vec<String>) -> Option<SocketAddr> {
    let usable = backends.iter().filter(|backend| backend.usability(now) == Usability::Usable);
    let count = usable.clone().count();
    if let Some(best) = usable.min_by_key(|backend| backend.connections()) {
        let connections = best.connections();
        why.push(format!(
            "{} has the fewest connections ({connections}) of {count} usable backends",
            best.address()
        ));
        return Some(best.address());
    }
    let until = |backend: &Backend| match backend.usability(now) {
        Usability::Ejected(until) => Some(until),
        Usability::Usable | Usability::Down => None,
    };
    let ejected = backends.iter().filter_map(|backend| Some((until(backend)?, backend.address())));
    if let Some((_, address)) = ejected.min() {
        why.push(format!("all usable backends have failed of late; {address} is tried first"));
        return Some(address);
    }
    why.push(if backends.is_empty() {
        "the route has no backend".into()
    } else {
        "checks say that every backend is down".into()
    });
    None
}

fn kind(kind: ListenerKind) -> &'static str {
    match kind {
        ListenerKind::Raw => "raw",
        ListenerKind::Tls => "tls",
        ListenerKind::Http => "http",
    }
}
