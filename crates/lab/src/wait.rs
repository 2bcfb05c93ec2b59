//! Waiting for a condition, with a deadline.

use std::{
    ops::ControlFlow,
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{LabError, Result},
    interrupt::Interrupt,
};

/// Between two looks at the condition.
const INTERVAL: Duration = Duration::from_millis(25);

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
