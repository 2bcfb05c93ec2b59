//! Waiting for something that goes on by itself.

use std::time::Duration;

use crate::{
    exit::{Exit, Failure},
    output::Output,
};

const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What one look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// It has come to its end.
    Ended(T),
    /// It goes on, and this is what it waits for.
    Waits(String),
}

/// How long a command stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Only until it has begun.
    No,
    /// Until its end.
    ForEnd,
    /// Until its end or until the time is over.
    AtMost(Duration),
}

impl Wait {
    /// As `--wait` and `--timeout` say.
    pub fn new(wait: bool, timeout: Option<Duration>) -> Self {
        match timeout {
            Some(timeout) => Self::AtMost(timeout),
            None if wait => Self::ForEnd,
            None => Self::No,
        }
    }
}

/// Looks until the end, and says what it waits for whenever that changes. Rides out a control
/// plane that is away. `None` if the time is over before.
pub async fn until_ended<T>(
    wait: Wait,
    output: &Output,
    look: impl AsyncFnMut() -> Result<Progress<T>, Failure>,
) -> Result<Option<T>, Failure> {
    match wait {
        Wait::No => Ok(None),
        Wait::ForEnd => watched(output, look).await.map(Some),
        Wait::AtMost(time) => match tokio::time::timeout(time, watched(output, look)).await {
            Ok(ended) => ended.map(Some),
            Err(_) => Ok(None),
        },
    }
}

async fn watched<T>(
    output: &Output,
    mut look: impl AsyncFnMut() -> Result<Progress<T>, Failure>,
) -> Result<T, Failure> {
    let mut interval = tokio::time::interval(POLL_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        interval.tick().await;
        let now = match look().await {
            Ok(Progress::Ended(value)) => return Ok(value),
            Ok(Progress::Waits(what)) => format!("waiting for {what}"),
            Err(failure) if failure.exit() == Exit::Unreachable => {
                format!("{failure}; trying again")
            }
            Err(failure) => return Err(failure),
        };
        if said != now {
            output.notice(&now);
            said = now;
        }
    }
}
