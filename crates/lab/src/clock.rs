//! Daemons whose clock is wrong: started with libfaketime, which shifts what they believe is the time of
//! day and leaves alone how fast it goes.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use crate::{
    command::find_program,
    error::{LabError, Result},
    lab::Lab,
};

/// Where the library for programs with threads is, seen from the folder of the program `faketime`.
const LIBRARIES: [&str; 4] = [
    "../lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "../lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "../lib/faketime/libfaketimeMT.so.1",
    "../lib/libfaketimeMT.so.1",
];

/// By how many days the clocks of hosts are wrong.
pub(crate) type Clocks = BTreeMap<String, i32>;

impl Lab {
    /// From its next start the daemon of `host` believes that it is so many days later; earlier if
    /// negative.
    pub fn set_clock(&mut self, host: &str, days: i32) {
        if days == 0 {
            self.clocks.remove(host);
        } else {
            self.clocks.insert(host.to_owned(), days);
        }
    }

    /// The words to put before the command line of the daemon of `host`.
    pub(crate) fn clock_words(&self, host: &str) -> Result<Vec<OsString>> {
        let Some(days) = self.clocks.get(host) else { return Ok(Vec::new()) };
        let mut words = vec![OsString::from("env")];
        words.extend(shifted(*days)?.into_iter().map(|(name, value)| {
            let mut word = OsString::from(name);
            word.push("=");
            word.push(value);
            word
        }));
        Ok(words)
    }
}

/// The variables with which a program believes that it is so many days later.
pub fn shifted(days: i32) -> Result<[(&'static str, OsString); 3]> {
    let program = find_program("faketime", "run `cargo xtask setup`")?;
    let program = program.canonicalize().map_err(LabError::file("find", &program))?;
    let folder = program.parent().unwrap_or(Path::new("/usr/bin"));
    let mut known = LIBRARIES.into_iter().map(|library| folder.join(library));
    let library = known.find(|path| path.exists()).ok_or_else(|| LabError::WrongState {
        what: "libfaketime".to_owned(),
        state: "not installed; run `cargo xtask setup`".to_owned(),
    })?;
    Ok([
        ("LD_PRELOAD", library.into()),
        ("FAKETIME", format!("{days:+}d").into()),
        // Timers and deadlines go by this clock.
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ])
}
