//! When this replica last got somewhere. What it says of itself rests on this, not on the process
//! being there: a replica whose database does not answer, or whose task hangs, is not well.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sextant_api::frame::LOG_AGE_LIMIT;

/// The loop that reads the log comes round every second, and each of its waits for the database has
/// a deadline far below this.
const HANG_LIMIT: Duration = Duration::from_secs(60);

/// The last moments at which something went well.
#[derive(Debug)]
pub struct Progress(Mutex<Moments>);

#[derive(Debug)]
struct Moments {
    /// The loop that reads the log came round, with or without a database.
    turned: Instant,
    /// Every event up to the end of the log had been handed out.
    read: Option<Instant>,
    /// The projections lack settled events since then.
    behind: Option<Instant>,
}

/// Why a replica does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stall {
    /// The log was never read.
    #[error("this replica has not read the log yet; its database does not answer")]
    NeverRead,
    /// The log was not read lately.
    #[error("this replica last read the log {} s ago; its database does not answer", .0.as_secs())]
    Log(Duration),
    /// The projections stand still.
    #[error("the projections have stood still for {} s while the log went on", .0.as_secs())]
    Projections(Duration),
}

impl Progress {
    /// A replica that has just started.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Moments { turned: now, read: None, behind: None }))
    }

    /// The loop came round.
    pub fn turned(&self, now: Instant) {
        self.moments().turned = now;
    }

    /// The log was read to its end.
    pub fn read(&self, now: Instant) {
        self.moments().read = Some(now);
    }

    /// There is something to project.
    pub fn behind(&self, now: Instant) {
        self.moments().behind.get_or_insert(now);
    }

    /// Something was projected: everything there was, if `caught_up`.
    pub fn projected(&self, now: Instant, caught_up: bool) {
        self.moments().behind = if caught_up { None } else { Some(now) };
    }

    /// How long ago the log was read to its end; `None` if it never was.
    pub fn log_age(&self, now: Instant) -> Option<Duration> {
        self.moments().read.map(|read| now.saturating_duration_since(read))
    }

    /// Whether the log was read lately.
    pub fn check_log(&self, now: Instant) -> Result<(), Stall> {
        match self.log_age(now) {
            None => Err(Stall::NeverRead),
            Some(age) if age > LOG_AGE_LIMIT => Err(Stall::Log(age)),
            Some(_) => Ok(()),
        }
    }

    /// Whether the log was read lately and the projections go on.
    pub fn check(&self, now: Instant) -> Result<(), Stall> {
        self.check_log(now)?;
        let behind = self.moments().behind.map(|behind| now.saturating_duration_since(behind));
        match behind {
            Some(age) if age > LOG_AGE_LIMIT => Err(Stall::Projections(age)),
            _ => Ok(()),
        }
    }

    /// Whether the loop comes round, for the service manager's watchdog. A database that is away is
    /// no reason to be killed.
    pub fn turns(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.moments().turned) < HANG_LIMIT
    }

    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_ready_while_log_and_projections_go_on_and_alive_while_its_loop_turns() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let progress = Progress::new(start);
        assert_eq!(progress.check(at(1)), Err(Stall::NeverRead));
        progress.read(at(1));
        assert_eq!(progress.check(at(11)), Ok(()));
        assert_eq!(progress.check(at(12)), Err(Stall::Log(Duration::from_secs(11))));
        assert_eq!(progress.log_age(at(12)), Some(Duration::from_secs(11)));
        progress.behind(at(12));
        progress.read(at(23));
        progress.behind(at(23));
        let still = Err(Stall::Projections(Duration::from_secs(11)));
        assert_eq!(progress.check(at(23)), still);
        assert_eq!(progress.check_log(at(23)), Ok(()), "followers do not need the projections");
        progress.projected(at(23), false);
        assert_eq!(progress.check(at(24)), Ok(()), "slow is not still");
        progress.projected(at(24), true);
        assert_eq!(progress.check(at(33)), Ok(()));
        assert!(progress.turns(at(59)));
        assert!(!progress.turns(at(60)));
        progress.turned(at(60));
        assert!(progress.turns(at(61)));
    }
}
