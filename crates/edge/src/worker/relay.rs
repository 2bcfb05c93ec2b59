//! Moves bytes between the two sides of a connection.

use std::time::Duration;

use super::{
    connection::{Connection, Context, Next, Stage},
    flow::{Flow, Held, Step},
    slab::{Key, Token},
    socket::{Loss, Read, Socket, Written},
};
use crate::{outcome::Outcome, proxy_protocol::Header};

/// Most bytes that are read in one round, by all that are ready together.
const ROUND: usize = 8 << 20;
/// Most and least bytes that one direction reads before others have their turn.
const LARGEST_SHARE: usize = 1 << 20;
const SMALLEST_SHARE: usize = 64 * 1024;

/// A splice of less is followed by others' turns, and by a nap if nobody has more: the next one then
/// moves more at once, with fewer acknowledgements and wake-ups on both sides.
const WORTHWHILE: usize = 768 * 1024;

/// A connection that is older than this lasts.
const LASTING: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// How a turn of one direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It waits for its source, or has nothing to do any more.
    Idle,
    /// It waits for room in its sink.
    Blocked,
    /// It had its share, and there is more.
    Share,
    /// It moved so little that waiting for more is worth it.
    Gather,
    /// Everything of the source was written, and its end is to be passed on.
    End,
    /// The source is gone, and everything that came from it was written.
    SourceBroken,
    /// The sink is gone.
    SinkBroken,
}

/// Begins to forward, with a backend that has taken `sent` bytes of the header and of what the
/// client said first.
pub fn begin(
    connection: &mut Connection,
    key: Key,
    context: &mut Context,
    header: Option<&Header>,
    first: &[u8],
    sent: usize,
) -> Next {
    let header = header.map_or(&[][..], Header::as_bytes);
    let of_client = sent.saturating_sub(header.len());
    connection.up.moved = of_client as u64;
    context.counters.bytes_up.add(of_client as u64);
    let rest = [header.get(sent..).unwrap_or_default(), &first[of_client..]];
    if rest.iter().any(|part| !part.is_empty()) {
        connection.up.hold(&rest.concat());
    }
    if connection.client.register(&context.epoll, Token::Client(key), false).is_err() {
        return Next::End(Outcome::OutOfResources);
    }
    connection.admission.release_kept();
    connection.stage = Stage::Relaying { settled: false };
    connection.active = context.now;
    context.wheel.set(key.index, context.now + LASTING);
    if connection.client.is_drained() {
        connection.up.end();
    }
    resume(connection, key, context)
}

/// Moves what can be moved now.
pub fn resume(connection: &mut Connection, key: Key, context: &mut Context) -> Next {
    for direction in [Direction::Up, Direction::Down] {
        if let Err(outcome) = advance(connection, direction, key, context) {
            return Next::End(outcome);
        }
    }
    let Connection { client, backend, up, down, .. } = connection;
    if !(up.is_over() && down.is_over()) {
        return Next::Stay;
    }
    let backend = backend.as_ref().and_then(Socket::broken);
    let lost = client.broken().map(client_lost).or(backend.map(backend_lost));
    Next::End(lost.unwrap_or(Outcome::Completed))
}

/// How a connection ends whose client is lost.
pub fn client_lost(loss: Loss) -> Outcome {
    match loss {
        Loss::Reset => Outcome::ClientReset,
        Loss::Gone => Outcome::ClientGone,
    }
}

fn backend_lost(loss: Loss) -> Outcome {
    match loss {
        Loss::Reset => Outcome::BackendReset,
        Loss::Gone => Outcome::BackendGone,
    }
}

/// How much one direction may read in a round in which `ready` events came: who waits for an answer
/// shares a round with many who move bulk data.
pub fn share(ready: usize) -> usize {
    (ROUND / ready.max(1)).clamp(SMALLEST_SHARE, LARGEST_SHARE)
}

/// Gives one direction its turn, and does what that calls for.
fn advance(
    connection: &mut Connection,
    direction: Direction,
    key: Key,
    context: &mut Context,
) -> Result<(), Outcome> {
    let backend_token = connection.backend_token(key);
    let Connection { client, backend, up, down, queued, .. } = connection;
    let backend = backend.as_mut().ok_or(Outcome::NoBackend)?;
    let (flow, other, source, sink, sink_token, lost) = match direction {
        Direction::Up => {
            (up, &*down, client, backend, backend_token, client_lost as fn(Loss) -> Outcome)
        }
        Direction::Down => (down, &*up, backend, client, Token::Client(key), backend_lost as _),
    };
    let before = flow.moved;
    let turn = take_turn(flow, source, sink, context);
    if flow.moved != before {
        connection.active = context.now;
        let counter = match direction {
            Direction::Up => &context.counters.bytes_up,
            Direction::Down => &context.counters.bytes_down,
        };
        counter.add(flow.moved - before);
    }
    match turn {
        Turn::Idle => {}
        Turn::Blocked => sink
            .watch_for_writing(&context.epoll, sink_token)
            .map_err(|_| Outcome::OutOfResources)?,
        Turn::Share => {
            context.round.hungry = true;
            context.come_back(key, queued);
        }
        Turn::Gather => context.come_back(key, queued),
        // A write has had the error that is behind this end.
        Turn::End if source.broken().is_some() => flow.lose(),
        Turn::End => {
            flow.deliver();
            // If the other direction is over too, closing says the same.
            if !other.is_over() {
                sink.shut();
                // An end is a sign of life: patience with the other half counts from here.
                connection.active = context.now;
                context.wheel.set(key.index, context.now + LASTING);
            }
        }
        Turn::SourceBroken => return Err(lost(source.loss())),
        Turn::SinkBroken => {
            // What it said before it broke is still passed on; reading ends with its error.
            flow.lose();
            sink.readable = true;
            if !other.is_over() {
                context.round.hungry = true;
                context.come_back(key, queued);
                connection.active = context.now;
                context.wheel.set(key.index, context.now + LASTING);
            }
        }
    }
    Ok(())
}

fn take_turn(
    flow: &mut Flow,
    source: &mut Socket,
    sink: &mut Socket,
    context: &mut Context,
) -> Turn {
    let mut share = context.round.share;
    loop {
        let stop = match flow.next(source.readable, sink.writable) {
            Step::AwaitSource | Step::Over => Some(Turn::Idle),
            Step::AwaitSink => Some(Turn::Blocked),
            Step::End => Some(Turn::End),
            Step::Write => write_held(flow, sink, context),
            Step::Read if share == 0 => Some(Turn::Share),
            Step::Read => {
                let (count, stop) = forward(flow, source, sink, context);
                share = share.saturating_sub(count);
                stop
            }
        };
        if let Some(turn) = stop {
            return turn;
        }
    }
}

/// Reads once and writes it at once. Returns what was read, and the turn if that ends it.
fn forward(
    flow: &mut Flow,
    source: &mut Socket,
    sink: &mut Socket,
    context: &mut Context,
) -> (usize, Option<Turn>) {
    if flow.is_busy()
        && source.can_splice()
        && let Some(pipe) = context.pipes.take(context.now, &context.counters)
    {
        return splice(flow, source, sink, context, pipe);
    }
    copy(flow, source, sink, context)
}

fn copy(
    flow: &mut Flow,
    source: &mut Socket,
    sink: &mut Socket,
    context: &mut Context,
) -> (usize, Option<Turn>) {
    context.round.prompt = true;
    let buffer = &mut context.buffer[..flow.read_size()];
    let count = match source.read(buffer) {
        Read::Bytes(count) => count,
        other => return (0, no_bytes(flow, other)),
    };
    flow.note_read(count, context.now);
    if source.is_drained() {
        flow.end();
    }
    let bytes = &buffer[..count];
    let written = match sink.write(bytes) {
        Written::Bytes(written) => written,
        Written::Later => 0,
        Written::Broken(_) => return (count, Some(Turn::SinkBroken)),
    };
    flow.moved += written as u64;
    if written < count {
        flow.hold(&bytes[written..]);
    }
    (count, None)
}

fn splice(
    flow: &mut Flow,
    source: &mut Socket,
    sink: &mut Socket,
    context: &mut Context,
    mut pipe: super::pipe::Pipe,
) -> (usize, Option<Turn>) {
    let count = match pipe.fill(source) {
        Read::Bytes(count) => count,
        other => {
            context.pipes.give_back(pipe, &context.counters);
            return (0, no_bytes(flow, other));
        }
    };
    flow.note_read(count, context.now);
    context.round.busy = true;
    flow.hold_pipe(pipe);
    let stop = write_held(flow, sink, context);
    let gathers = count < WORTHWHILE && !flow.is_held();
    (count, stop.or(gathers.then_some(Turn::Gather)))
}

fn no_bytes(flow: &mut Flow, read: Read) -> Option<Turn> {
    match read {
        Read::Bytes(_) | Read::Later => None,
        Read::End => {
            flow.end();
            None
        }
        Read::Broken => Some(Turn::SourceBroken),
    }
}

/// Writes as much of what is held as the sink takes. Returns the turn if that ends it.
fn write_held(flow: &mut Flow, sink: &mut Socket, context: &mut Context) -> Option<Turn> {
    match flow.take_held() {
        Held::Nothing => None,
        Held::Bytes(bytes, before) => {
            let written = match sink.write(&bytes[before..]) {
                Written::Bytes(written) => written,
                Written::Later => 0,
                Written::Broken(_) => return Some(Turn::SinkBroken),
            };
            flow.moved += written as u64;
            if before + written < bytes.len() {
                flow.put_back(Held::Bytes(bytes, before + written));
            }
            None
        }
        Held::Pipe(mut pipe) => {
            let written = pipe.drain(sink);
            if let Written::Bytes(count) = written {
                flow.moved += count as u64;
                context.counters.bytes_spliced.add(count as u64);
            }
            let broken = matches!(written, Written::Broken(_));
            if pipe.is_empty() || broken {
                context.pipes.give_back(pipe, &context.counters);
            } else {
                flow.put_back(Held::Pipe(pipe));
            }
            broken.then_some(Turn::SinkBroken)
        }
    }
}

/// What is to be done when a deadline of a connection that is being forwarded has come.
pub fn on_deadline(connection: &mut Connection, key: Key, context: &mut Context) -> Next {
    let now = context.now;
    if connection.cut_at.is_some_and(|cut_at| cut_at <= now) {
        match connection.removal() {
            Some(outcome) => return Next::End(outcome),
            // The backend is back.
            None => connection.cut_at = None,
        }
    }
    if let Stage::Relaying { settled: settled @ false } = &mut connection.stage {
        *settled = true;
        if let Some(backend) = &mut connection.backend {
            backend.settle(context.settings.tcp_user_timeout);
        }
    }
    let half = connection.up.is_over() || connection.down.is_over();
    let (patience, outcome) = if half {
        (context.settings.half_close_timeout, Outcome::HalfCloseTimeout)
    } else {
        (context.settings.idle_timeout, Outcome::IdleTimeout)
    };
    let deadline = connection.active + patience;
    if deadline <= now {
        return Next::End(outcome);
    }
    let next = connection.cut_at.map_or(deadline, |cut_at| cut_at.min(deadline));
    context.wheel.set(key.index, next);
    Next::Stay
}
