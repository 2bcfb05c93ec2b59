//! Progress lines on stderr.

use std::{io::Write, time::Instant};

/// Writes what happens, with the seconds since the start.
#[derive(Clone, Debug)]
pub struct Progress(Option<Instant>);

impl Progress {
    /// The clock starts now.
    pub fn start() -> Self {
        Self(Some(Instant::now()))
    }

    /// Says nothing.
    pub fn silent() -> Self {
        Self(None)
    }

    /// One line.
    pub fn say(&self, line: impl std::fmt::Display) {
        if let Some(start) = self.0 {
            let seconds = start.elapsed().as_secs_f64();
            // Who closed stderr does not want to know.
            let _ = writeln!(std::io::stderr().lock(), "{seconds:6.1} s  {line}");
        }
    }
}
