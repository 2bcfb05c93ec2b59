//! What connections cost that do nothing.

use std::time::{Duration, Instant};

use super::{Figure, Outcome, Stage};
use crate::bench::edge::{
    client::{Clients, TURN},
    error::Result,
    reactor::Load,
};

/// How long a proxy has to put things in order after the last connection was made.
const SETTLING: Duration = Duration::from_secs(1);

pub(super) fn measure(stage: &mut Stage<'_>, connections: usize) -> Result<Outcome> {
    let start = stage.meter.read()?;
    let before = stage.meter.memory()?;
    let clients = Clients::establish(stage.load, stage.dialer, connections, stage.hello)?;
    settle(stage.load)?;
    let after = stage.meter.memory()?;
    let span = start.until(stage.meter.read()?);
    let count = f64::from(u32::try_from(clients.len()).unwrap_or(u32::MAX));
    let figures = vec![
        (Figure::Mebibytes, bytes(after.user) / f64::from(1 << 20)),
        (Figure::BytesPerConnection, bytes(after.user.saturating_sub(before.user)) / count),
        (Figure::SlabPerConnection, bytes(after.slab.saturating_sub(before.slab)) / count),
    ];
    Ok(Outcome { figures, span })
}

fn settle(load: &mut Load) -> Result<()> {
    let end = Instant::now() + SETTLING;
    while Instant::now() < end {
        load.turn(TURN, |_, _| Ok(()))?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 bytes")]
fn bytes(count: u64) -> f64 {
    count as f64
}
