//! Connects to a backend, and to another one if that fails before a byte was sent.

use rustix::io::Errno;

use super::{
    connection::{Connection, Context, Next, Stage},
    relay,
    slab::{Key, Token},
    socket::{self, Written},
};
use crate::{
    balance::choose,
    connect_error::{ConnectError, Failure},
    outcome::Outcome,
    proxy_protocol::{self, Header},
    table::RouteLease,
};

/// Most backends that are tried for one connection.
const MOST_ATTEMPTS: usize = 3;

/// A connection whose backend has not answered yet.
#[derive(Debug)]
pub struct Dialling {
    header: Option<Header>,
    /// What the client said so far.
    first: Box<[u8]>,
    tried: Tried,
}

/// The places of backends that were tried.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    places: [usize; MOST_ATTEMPTS],
    count: usize,
}

/// What trying backends led to.
enum Tries {
    /// One is connected and has taken so many bytes.
    Connected(usize),
    /// One has not answered yet.
    Unanswered,
    /// None is left.
    Failed(Outcome),
}

/// Chooses a backend and begins to connect. On the same host that is done at once, and then the
/// bytes in `first` are sent from where they are.
pub fn begin(connection: &mut Connection, key: Key, context: &mut Context, first: &[u8]) -> Next {
    let tells =
        connection.route.as_ref().is_some_and(|lease| lease.route().served().proxy_protocol);
    let header = tells.then(|| proxy_protocol::encode(connection.source(), connection.local()));
    let mut tried = Tried::default();
    match try_backends(connection, key, context, &mut tried, header.as_ref(), first) {
        Tries::Connected(sent) => {
            relay::begin(connection, key, context, header.as_ref(), first, sent)
        }
        Tries::Failed(outcome) => Next::End(outcome),
        Tries::Unanswered => {
            if connection.client.register(&context.epoll, Token::Client(key), false).is_err() {
                return Next::End(Outcome::OutOfResources);
            }
            if let Err(limit) = connection.admission.keep(first.len()) {
                return Next::End(Outcome::OverLimit(limit));
            }
            let dialling = Dialling { header, first: first.into(), tried };
            connection.stage = Stage::Dialling(Box::new(dialling));
            Next::Stay
        }
    }
}

/// Goes on after an event of the backend.
pub fn resume(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    dialling: Box<Dialling>,
) -> Next {
    match send_first(connection, dialling.header.as_ref(), &dialling.first, true) {
        Ok(Some(sent)) => {
            let Dialling { header, first, .. } = &*dialling;
            relay::begin(connection, key, context, header.as_ref(), first, sent)
        }
        Ok(None) => {
            connection.stage = Stage::Dialling(dialling);
            Next::Stay
        }
        Err(Failure::Process) => Next::End(Outcome::OutOfResources),
        Err(Failure::Backend(why)) => {
            note_failure(connection, context, why);
            try_others(connection, key, context, dialling, why.into())
        }
    }
}

/// Goes on when the backend did not answer in time.
pub fn time_out(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    dialling: Box<Dialling>,
) -> Next {
    let why = ConnectError::TimedOut;
    note_failure(connection, context, why);
    try_others(connection, key, context, dialling, why.into())
}

fn try_others(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    mut dialling: Box<Dialling>,
    last: Outcome,
) -> Next {
    let Dialling { header, first, tried } = &mut *dialling;
    match try_backends(connection, key, context, tried, header.as_ref(), first) {
        Tries::Connected(sent) => {
            relay::begin(connection, key, context, header.as_ref(), first, sent)
        }
        Tries::Unanswered => {
            connection.stage = Stage::Dialling(dialling);
            Next::Stay
        }
        // What the last attempt showed says more than that no other is left.
        Tries::Failed(Outcome::NoBackend) => Next::End(last),
        Tries::Failed(outcome) => Next::End(outcome),
    }
}

fn try_backends(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    tried: &mut Tried,
    header: Option<&Header>,
    first: &[u8],
) -> Tries {
    let mut last = Outcome::NoBackend;
    let most = usize::from(context.settings.connect_attempts).clamp(1, MOST_ATTEMPTS);
    while tried.count < most && choose_backend(connection, context, tried) {
        connection.attempts += 1;
        context.counters.connects.add(1);
        match connect(connection, key, context, header, first) {
            Ok(Some(sent)) => return Tries::Connected(sent),
            Ok(None) => {
                context.wheel.set(key.index, context.now + context.settings.connect_timeout);
                return Tries::Unanswered;
            }
            Err(Failure::Process) => return Tries::Failed(Outcome::OutOfResources),
            Err(Failure::Backend(why)) => {
                last = why.into();
                note_failure(connection, context, why);
            }
        }
    }
    Tries::Failed(last)
}

/// Takes the lease of a backend that was not tried yet, if there is one.
fn choose_backend(connection: &mut Connection, context: &mut Context, tried: &mut Tried) -> bool {
    let Some(route) = connection.route.as_ref().map(RouteLease::route) else { return false };
    context.rotation = context.rotation.wrapping_add(1);
    let before = &tried.places[..tried.count];
    let Some((place, lease)) = choose(route.backends(), before, context.now, context.rotation)
    else {
        return false;
    };
    tried.places[tried.count] = place;
    tried.count += 1;
    connection.backend = None;
    connection.lease = Some(lease);
    true
}

/// Connects to the chosen backend. `Some`: done, and so many bytes were sent.
fn connect(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    header: Option<&Header>,
    first: &[u8],
) -> Result<Option<usize>, Failure> {
    let lease = connection.lease.as_ref().ok_or(Errno::DESTADDRREQ)?;
    let address = lease.backend().address();
    if context.published.load().table.listener(address).is_some()
        && lease.backend().is_on_this_host(context.now)
    {
        return Err(Failure::Backend(ConnectError::Itself));
    }
    connection.backend = Some(socket::connect(address)?);
    let sent = send_first(connection, header, first, false)?;
    let token = connection.backend_token(key);
    if let Some(backend) = &mut connection.backend {
        let registered = backend.register(&context.epoll, token, sent.is_none());
        registered.map_err(|_| Failure::Process)?;
    }
    Ok(sent)
}

/// Sends the first bytes in one call, which shows whether the backend is connected. With nothing to
/// send that shows in an event only. `None`: not connected yet.
fn send_first(
    connection: &mut Connection,
    header: Option<&Header>,
    first: &[u8],
    after_event: bool,
) -> Result<Option<usize>, Failure> {
    let backend = connection.backend.as_mut().ok_or(Errno::NOTCONN)?;
    let header = header.map_or(&[][..], Header::as_bytes);
    let sent = if !header.is_empty() || !first.is_empty() {
        match backend.write_both(header, first) {
            Written::Bytes(sent) => Some(sent),
            Written::Later => None,
            Written::Broken(error) => return Err(error.into()),
        }
    } else if after_event {
        backend.error()?;
        Some(0)
    } else {
        None
    };
    if let Some(lease) = connection.lease.as_ref().filter(|_| sent.is_some()) {
        lease.connected();
    }
    Ok(sent)
}

fn note_failure(connection: &Connection, context: &Context, why: ConnectError) {
    context.counters.connect_failures.add(1);
    let Some(lease) = &connection.lease else { return };
    if lease.failed(context.now, &context.settings.ejection) {
        context.counters.ejections.add(1);
        let backend = lease.backend().address();
        let reason = why.towards(backend);
        tracing::warn!(%backend, reason, "backend is ejected: connections to it fail in a row");
    }
}

impl From<ConnectError> for Outcome {
    fn from(why: ConnectError) -> Self {
        match why {
            ConnectError::Refused => Self::ConnectRefused,
            ConnectError::TimedOut => Self::ConnectTimeout,
            ConnectError::Itself => Self::Loop,
            other => Self::ConnectFailed(other),
        }
    }
}
