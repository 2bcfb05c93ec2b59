//! Waiting for a condition, with a deadline.

use std::{
    ops::ControlFlow,
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{LabError, Result},
    interrupt::Interrupt,
    progress::Progress,
};

/// Between two looks at the condition.
const INTERVAL: Duration = Duration::from_millis(25);
/// Between two lines that say different things, and before the first.
const BETWEEN_NEWS: Duration = Duration::from_secs(1);
/// Between two lines that say the same.
const BETWEEN_REPEATS: Duration = Duration::from_secs(10);

/// Looks until the condition breaks with a value, `limit` has passed or `interrupt` is set.
/// The condition continues with what it saw, which becomes part of the error.
pub fn until<T>(
    what: &str,
    limit: Duration,
    interrupt: &Interrupt,
    mut condition: impl FnMut() -> Result<ControlFlow<T, String>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        interrupt.check()?;
        match condition()? {
            ControlFlow::Break(value) => return Ok(value),
            ControlFlow::Continue(state) if Instant::now() >= deadline => {
                return Err(LabError::Timeout { what: what.to_owned(), limit, state });
            }
            ControlFlow::Continue(_) => thread::sleep(INTERVAL),
        }
    }
}

/// Like [`until`], and says from time to time what it waits for and what it sees.
pub fn until_saying<T>(
    what: &str,
    limit: Duration,
    interrupt: &Interrupt,
    progress: &Progress,
    mut condition: impl FnMut() -> Result<ControlFlow<T, String>>,
) -> Result<T> {
    let (mut said, mut said_at) = (None, Instant::now());
    until(what, limit, interrupt, || {
        let seen = condition()?;
        if let ControlFlow::Continue(state) = &seen {
            let is_news = said.as_ref() != Some(state);
            let pause = if is_news { BETWEEN_NEWS } else { BETWEEN_REPEATS };
            if said_at.elapsed() >= pause {
                progress.say(format_args!("waiting for {what}: {state}"));
                (said, said_at) = (Some(state.clone()), Instant::now());
            }
        }
        Ok(seen)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_what_was_seen_last() {
        let mut looks = 0;
        let error = until::<()>("the sun", Duration::from_millis(60), &Interrupt::never(), || {
            looks += 1;
            Ok(ControlFlow::Continue(format!("dark, {looks} looks")))
        })
        .expect_err("never true");
        assert!(looks > 1);
        assert!(error.to_string().ends_with(&format!("dark, {looks} looks")), "{error}");
    }
}
