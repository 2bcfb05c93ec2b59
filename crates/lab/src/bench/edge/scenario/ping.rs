//! How long a proxy makes small messages wait.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Figure, Outcome, Stage};
use crate::bench::{
    edge::{client::Clients, error::Result, meter::Span, reactor::Load},
    figures::Figures,
};

/// Every connection has one ping under way, always. The load never sleeps, here and in the open
/// loop: its own waking up would be measured.
pub(super) fn closed_loop(stage: &mut Stage<'_>, connections: usize) -> Result<Outcome> {
    let mut clients = Clients::establish(stage.load, stage.dialer, connections, stage.hello)?;
    let mut sent = Vec::new();
    for number in 0..clients.len() {
        sent.push(Instant::now());
        clients.ping(number)?;
    }
    let mut times = Vec::new();
    let mut play = |load: &mut Load, time: Duration, times: &mut Vec<Duration>| -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            load.turn(Duration::ZERO, |_, number| {
                if clients.answers(number)? > 0 {
                    let now = Instant::now();
                    times.push(now - sent[number]);
                    sent[number] = now;
                    clients.ping(number)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    };
    play(stage.load, stage.length.warm_up, &mut times)?;
    times.clear();
    let start = stage.meter.read()?;
    play(stage.load, stage.length.measured, &mut times)?;
    Ok(outcome(times, start.until(stage.meter.read()?)))
}

/// Pings are sent in turn over all connections when they are due. A ping's time starts when it was
/// due, so a proxy that stalls is charged for all that should have been sent meanwhile.
pub(super) fn open_loop(stage: &mut Stage<'_>, connections: usize, rate: u32) -> Result<Outcome> {
    let mut clients = Clients::establish(stage.load, stage.dialer, connections, stage.hello)?;
    let mut under_way = vec![VecDeque::new(); connections];
    let interval = Duration::from_secs(1) / rate;
    let mut due = Instant::now();
    let mut next = 0;
    let mut times = Vec::new();
    let mut play = |load: &mut Load, time: Duration, times: &mut Vec<Duration>| -> Result<()> {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            while due <= now {
                under_way[next].push_back(due);
                clients.ping(next)?;
                next = (next + 1) % connections;
                due += interval;
            }
            load.turn(Duration::ZERO, |_, number| {
                let answers = clients.answers(number)?;
                let now = Instant::now();
                times.extend(under_way[number].drain(..answers).map(|due| now - due));
                Ok(())
            })?;
        }
    };
    play(stage.load, stage.length.warm_up, &mut times)?;
    times.clear();
    let start = stage.meter.read()?;
    play(stage.load, stage.length.measured, &mut times)?;
    Ok(outcome(times, start.until(stage.meter.read()?)))
}

fn outcome(times: Vec<Duration>, span: Span) -> Outcome {
    let count = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
    let times = Figures::new(times);
    let microseconds = |percent| times.percentile(percent).as_secs_f64() * 1e6;
    let figures = vec![
        (Figure::PingsPerSecond, count / span.wall.as_secs_f64()),
        (Figure::MicrosecondsPerPing, span.proxy.as_secs_f64() * 1e6 / count),
        (Figure::MedianMicroseconds, microseconds(50)),
        (Figure::P99Microseconds, microseconds(99)),
    ];
    Outcome { figures, span }
}
