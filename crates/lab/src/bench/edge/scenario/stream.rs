//! How much a proxy passes, and what a byte costs it.

use std::{
    io::{ErrorKind, Write},
    time::{Duration, Instant},
};

use super::{Figure, Outcome, Stage};
use crate::bench::edge::{
    backend::is_cut,
    client::TURN,
    error::{EdgeBenchError, Result},
    reactor::Load,
};

/// Bytes offered to the kernel at a time.
const WRITE: usize = 128 * 1024;

pub(super) fn measure(stage: &mut Stage<'_>, connections: usize) -> Result<Outcome> {
    let mut streams = Vec::new();
    for number in 0..connections {
        let stream = stage.dialer.dial(stage.hello)?;
        stage.load.epoll.add_writer(&stream, number)?;
        streams.push(stream);
    }
    let block = vec![0x5a; WRITE];
    let mut pump = |load: &mut Load, time: Duration| -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            load.turn(TURN, |_, number| match streams[number].write(&block) {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                Err(error) if is_cut(&error) => Err(EdgeBenchError::Cut { how: "reset" }),
                Err(source) => Err(EdgeBenchError::load("write")(source)),
            })?;
        }
        Ok(())
    };
    pump(stage.load, stage.length.warm_up)?;
    let (start, before) = (stage.meter.read()?, stage.load.backends.sunk);
    pump(stage.load, stage.length.measured)?;
    let span = start.until(stage.meter.read()?);
    let bytes = exact(stage.load.backends.sunk - before);
    let figures = vec![
        (Figure::GigabitsPerSecond, bytes * 8.0 / 1e9 / span.wall.as_secs_f64()),
        (Figure::MillisecondsPerGigabyte, span.proxy.as_secs_f64() * 1e3 / (bytes / 1e9)),
    ];
    Ok(Outcome { figures, span })
}

#[expect(clippy::cast_precision_loss, reason = "no run moves 2^53 bytes")]
fn exact(bytes: u64) -> f64 {
    bytes as f64
}
