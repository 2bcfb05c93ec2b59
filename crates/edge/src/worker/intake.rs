//! Reads what a connection says of where it goes, and looks that up.

use super::{
    connection::{Connection, Context, Next, Stage, Waiting},
    dial,
    preread::{Preread, Verdict},
    slab::{Key, Token},
    socket::Read,
};
use crate::{limits::Limit, outcome::Outcome};
use sextant_model::routing::table::{Listener, NoRoute};

/// Most bytes of one read. Nearly every ClientHello is far shorter, and what follows it can wait.
pub const READ_SIZE: usize = 16 * 1024;

/// Begins with a connection that was accepted just now: nearly always it has said enough already.
pub fn begin(connection: &mut Connection, key: Key, context: &mut Context) -> Next {
    let snapshot = context.published.load();
    let Some(kind) = snapshot.table.listener(connection.arrived).map(Listener::kind) else {
        return Next::End(Outcome::NoListener);
    };
    connection.kind = kind;
    let mut preread = Preread::new(kind, connection.expects_header());
    if preread.needs_nothing() {
        return route(connection, key, context, Verdict::Whole, &[]);
    }
    connection.client.readable = true;
    let mut kept = Vec::new();
    let next = read(connection, key, context, &mut preread, &mut kept);
    next.unwrap_or_else(|| wait(connection, key, context, Box::new(Waiting { preread, kept })))
}

/// Goes on with a connection that had not said enough.
pub fn resume(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    mut waiting: Box<Waiting>,
) -> Next {
    let Waiting { preread, kept } = &mut *waiting;
    let next = read(connection, key, context, preread, kept);
    next.unwrap_or_else(|| {
        connection.stage = Stage::Preread(waiting);
        Next::Stay
    })
}

/// The deadline counts from accept, and nothing extends it.
fn wait(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    waiting: Box<Waiting>,
) -> Next {
    if connection.client.register(&context.epoll, Token::Client(key), false).is_err() {
        return Next::End(Outcome::OutOfResources);
    }
    context.wheel.set(key.index, connection.accepted + context.settings.preread_timeout);
    connection.stage = Stage::Preread(waiting);
    Next::Stay
}

/// Reads until there is a verdict. `None`: there is none yet.
fn read(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    preread: &mut Preread,
    kept: &mut Vec<u8>,
) -> Option<Next> {
    context.round.prompt = true;
    let mut buffer = std::mem::take(&mut context.first_bytes);
    let next = loop {
        if !connection.client.readable {
            break None;
        }
        let new = match connection.client.read(&mut buffer) {
            Read::Bytes(count) => &buffer[..count],
            Read::Later => break None,
            Read::End | Read::Broken => break Some(Next::End(preread.closed())),
        };
        let fed = preread.feed(new);
        if let Some(addresses) = fed.addresses {
            connection.proxied = Some(Box::new(addresses));
            if let Err(limit) = connection.admission.name_source(addresses.source.ip()) {
                break Some(Next::End(Outcome::OverLimit(limit)));
            }
        }
        let new = &new[fed.header..];
        let Some(verdict) = fed.verdict else {
            kept.extend_from_slice(new);
            if let Err(limit) = connection.admission.keep(kept.capacity()) {
                break Some(Next::End(Outcome::OverLimit(limit)));
            }
            if connection.client.is_drained() {
                break Some(Next::End(preread.closed()));
            }
            continue;
        };
        let first = if kept.is_empty() {
            new
        } else {
            kept.extend_from_slice(new);
            kept
        };
        break Some(route(connection, key, context, verdict, first));
    };
    context.first_bytes = buffer;
    next
}

/// Looks up where the connection goes, and connects. `first`: what it said so far.
fn route(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    verdict: Verdict,
    first: &[u8],
) -> Next {
    let name = match verdict {
        Verdict::Whole => None,
        Verdict::Hello(hello) => {
            context.counters.count_hello(hello.size, hello.ech_offered);
            context.counters.count_address_for_name(hello.address_for_name);
            hello.server_name
        }
        Verdict::Request(request) => {
            context.counters.count_address_for_name(request.address_for_name);
            request.host
        }
        Verdict::Refused(outcome) => return Next::End(outcome),
    };
    connection.name = name;
    let snapshot = context.published.load();
    // The routes here may have become others while it spoke. What it said is no answer to what
    // these would ask.
    let listener = snapshot.table.listener(connection.arrived);
    let Some(listener) = listener.filter(|listener| listener.kind() == connection.kind) else {
        return Next::End(Outcome::NoListener);
    };
    let found = match &connection.name {
        Some(name) => listener.by_name(name.as_str()),
        None => listener.without_name(),
    };
    let route = match found {
        Ok(route) => route,
        Err(NoRoute::UnknownName) => return Next::End(Outcome::UnknownName),
        Err(NoRoute::NameNeeded) => return Next::End(Outcome::NoName),
    };
    let Ok(lease) = route.enter() else {
        return Next::End(Outcome::OverLimit(Limit::RouteConnections));
    };
    connection.route = Some(lease);
    connection.routed = Some(context.now);
    connection.admission.end_preread();
    context.counters.prereads.subtract(1);
    dial::begin(connection, key, context, first)
}

impl Connection {
    fn expects_header(&self) -> bool {
        self.place.requires_header(self.peer)
    }
}
