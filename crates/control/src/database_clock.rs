//! Whose time it is. Replicas must agree on what is a minute ago, and a single machine's clock may
//! be wrong: time is the database's, and a replica knows how far its own clock is from that.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use sextant_model::{Timestamp, health::clock_ahead_ms};
use sextant_store::{StoreError, replicas::Sign};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// Between two looks at the database's clock, which also say that the replica runs.
const INTERVAL: Duration = Duration::from_secs(4);
/// A database that hangs must not hold up the stop.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// How far this machine's clock is ahead of the database's.
#[derive(Debug, Default)]
pub struct DatabaseClock {
    ahead_ms: AtomicI64,
}

impl DatabaseClock {
    /// In milliseconds, as it was last measured; negative if it is behind.
    pub fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }

    /// The database's time when this machine's clock says `own`.
    pub fn of(&self, own: Timestamp) -> Timestamp {
        let ahead = time::Duration::milliseconds(self.ahead_ms());
        Timestamp(own.0.saturating_sub(ahead))
    }

    /// Takes in that the database said `theirs` at some moment between the two others, which this
    /// machine's clock gave.
    pub fn note(&self, asked_at: Timestamp, theirs: Timestamp, answered_at: Timestamp) {
        let ahead = |own: Timestamp| {
            i64::try_from((own.0 - theirs.0).whole_milliseconds()).unwrap_or(i64::MAX)
        };
        let ahead = clock_ahead_ms(ahead(asked_at), Some(ahead(answered_at)));
        self.ahead_ms.store(ahead, Ordering::Relaxed);
    }
}

/// Looks at the database's clock, and says that the replica `name` runs, until `stop`.
pub async fn run(app: App, name: String, stop: CancellationToken) {
    let mut sign =
        Sign { name, process: app.id(), version: sextant_daemon::VERSION, clock_ahead_ms: 0 };
    loop {
        if let Err(error) = look(&app, &mut sign).await {
            tracing::debug!(%error, "the database's clock could not be read; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
    let goodbye = tokio::time::timeout(GOODBYE_LIMIT, app.store.forget_sign(&sign));
    if !matches!(goodbye.await, Ok(Ok(()))) {
        tracing::debug!("the database was not told that this replica stops");
    }
}

async fn look(app: &App, sign: &mut Sign) -> Result<(), StoreError> {
    let asked_at = app.clock.now();
    let theirs = app.store.clock().await?;
    app.database_clock.note(asked_at, theirs, app.clock.now());
    sign.clock_ahead_ms = app.database_clock.ahead_ms();
    if sign.clock_ahead_ms.abs() > sextant_model::health::SKEW_LIMIT_MS {
        let ahead_ms = sign.clock_ahead_ms;
        tracing::warn!(
            ahead_ms,
            "the clock of this machine differs from the database's; synchronise it (NTP)"
        );
    }
    app.store.keep_sign(sign).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_corrected_and_a_slow_answer_is_not_a_wrong_clock() {
        let at =
            |seconds: i64| Timestamp::from_unix_seconds(1_800_000_000 + seconds).expect("time");
        let clock = DatabaseClock::default();
        clock.note(at(0), at(3), at(5));
        assert_eq!(clock.ahead_ms(), 0);
        clock.note(at(-259_200), at(0), at(-259_200));
        assert_eq!(clock.ahead_ms(), -259_200_000);
        assert_eq!(clock.of(at(-259_100)), at(100));
    }
}
