//! The process that makes the traffic.

use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    task::{JoinSet, LocalSet},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Tally, TrafficPlan, Visit,
    attempt::{LIMIT, Visitor, expect},
};
use crate::error::{LabError, Result};

/// Between two messages on a held connection.
const PAUSE: Duration = Duration::from_millis(50);
const MESSAGE: &[u8; 64] = &[b'm'; 64];

#[derive(Clone)]
struct Driver {
    visitor: Visitor,
    tally: Rc<RefCell<Tally>>,
    start: Instant,
    stop: CancellationToken,
}

pub(super) fn run() -> Result<()> {
    let failed = |source| LabError::Spawn { program: "traffic".to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let tally = LocalSet::new().block_on(&runtime, drive()).map_err(failed)?;
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &tally)
        .map_err(io::Error::from)
        .and_then(|()| out.flush())
        .map_err(LabError::file("write", "stdout"))
}

async fn drive() -> io::Result<Tally> {
    let mut stdin = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    stdin.read_line(&mut line).await?;
    let plan: TrafficPlan = serde_json::from_str(&line).map_err(io::Error::other)?;
    let driver = Driver {
        visitor: Visitor::new().map_err(io::Error::other)?,
        tally: Rc::default(),
        start: Instant::now(),
        stop: CancellationToken::new(),
    };
    let mut tasks = JoinSet::new();
    for visit in &plan.held {
        for _ in 0..plan.held_each {
            tasks.spawn_local(driver.clone().hold(visit.clone()));
        }
    }
    if plan.per_second > 0 && !plan.targets.is_empty() {
        tasks.spawn_local(driver.clone().connect(plan.targets, plan.per_second));
    }
    // Whoever started this ends it by closing its stdin, or by dying.
    let mut rest = Vec::new();
    stdin.read_to_end(&mut rest).await?;
    driver.stop.cancel();
    while tasks.join_next().await.is_some() {}
    let mut tally = driver.tally.take();
    tally.times_ms.sort_by(f64::total_cmp);
    Ok(tally)
}

impl Driver {
    /// New connections at a steady rate, however long each takes.
    async fn connect(self, targets: Vec<Visit>, per_second: u32) {
        let mut ticks = interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut under_way = JoinSet::new();
        for visit in targets.iter().cycle() {
            tokio::select! {
                () = self.stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            under_way.spawn_local(self.clone().one(visit.clone()));
            while under_way.try_join_next().is_some() {}
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn one(self, visit: Visit) {
        let begin = Instant::now();
        let outcome = self.visitor.visit(&visit).await;
        let took = begin.elapsed().as_secs_f64() * 1000.0;
        let mut tally = self.tally.borrow_mut();
        tally.connections += 1;
        match outcome {
            Ok(()) => tally.times_ms.push(took),
            Err(error) => {
                tally.failed += 1;
                let what = format!("{} through {}: {error}", visit.name, visit.address);
                tally.fail(begin - self.start, what);
            }
        }
    }

    /// One connection over which messages go to and fro until the end.
    async fn hold(self, visit: Visit) {
        self.tally.borrow_mut().held += 1;
        if let Err(error) = self.exchange(&visit).await {
            let mut tally = self.tally.borrow_mut();
            tally.dropped += 1;
            let what =
                format!("held connection to {} through {}: {error}", visit.name, visit.address);
            tally.fail(self.start.elapsed(), what);
        }
    }

    async fn exchange(&self, visit: &Visit) -> io::Result<()> {
        let held = tokio::time::timeout(LIMIT, self.visitor.hold(visit.address, &visit.name));
        let mut stream = held.await??;
        while !self.stop.is_cancelled() {
            stream.write_all(MESSAGE).await?;
            tokio::time::timeout(LIMIT, expect(&mut stream, MESSAGE)).await??;
            self.tally.borrow_mut().exchanges += 1;
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        Ok(())
    }
}
