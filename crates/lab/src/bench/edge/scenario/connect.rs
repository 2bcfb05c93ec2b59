//! How many connections a proxy takes, and what one costs it.
//!
//! A client connects, says its hello, waits for the server's first byte and closes, with nothing
//! left to read: an orderly end that passes through the proxy to the server and back. The next
//! client follows at once.

use std::{
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{Figure, Outcome, Stage};
use crate::bench::edge::{
    client::{Dialer, TURN},
    error::Result,
    reactor::{Epoll, Load, Role},
};

/// Clients at work.
struct Crowd<'a> {
    streams: Vec<TcpStream>,
    dialer: &'a mut Dialer,
    hello: &'a [u8],
    done: u32,
    failed: u32,
}

pub(super) fn measure(stage: &mut Stage<'_>, at_once: usize) -> Result<Outcome> {
    let (dialer, hello) = (&mut *stage.dialer, stage.hello);
    let mut crowd = Crowd { streams: Vec::new(), dialer, hello, done: 0, failed: 0 };
    for number in 0..at_once {
        let stream = crowd.client(&stage.load.epoll, number)?;
        crowd.streams.push(stream);
    }
    crowd.work(stage.load, stage.length.warm_up)?;
    (crowd.done, crowd.failed) = (0, 0);
    let start = stage.meter.read()?;
    crowd.work(stage.load, stage.length.measured)?;
    let span = start.until(stage.meter.read()?);
    let done = f64::from(crowd.done);
    let figures = vec![
        (Figure::ConnectionsPerSecond, done / span.wall.as_secs_f64()),
        (Figure::MicrosecondsPerConnection, span.proxy.as_secs_f64() * 1e6 / done),
        (Figure::ConnectionsPerCore, done / span.proxy.as_secs_f64()),
        (Figure::Failures, f64::from(crowd.failed)),
    ];
    Ok(Outcome { figures, span })
}

impl Crowd<'_> {
    fn work(&mut self, load: &mut Load, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            load.turn(TURN, |epoll, number| self.finish(epoll, number))?;
        }
        Ok(())
    }

    /// The server's byte is there, or the connection has ended; in both cases the next follows.
    fn finish(&mut self, epoll: &Epoll, number: usize) -> Result<()> {
        let mut byte = [0];
        match self.streams[number].read(&mut byte) {
            Ok(1) => self.done += 1,
            _ => self.failed += 1,
        }
        self.streams[number] = self.client(epoll, number)?;
        Ok(())
    }

    fn client(&mut self, epoll: &Epoll, number: usize) -> Result<TcpStream> {
        let stream = self.dialer.dial(self.hello)?;
        epoll.add(&stream, Role::Client, number)?;
        Ok(stream)
    }
}
