//! Random changes to bytes, and how long to try them.

use std::{
    env,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Values that lengths and types go wrong at.
const EDGES: [u8; 10] = [0, 1, 2, 3, 4, 22, 63, 127, 128, 255];

/// Calls `try_one` with its own generator, `count` times or for as long as the environment says. The
/// number given to it is the seed of that generator, which repeats the one case.
pub fn repeat(count: u64, mut try_one: impl FnMut(u64, &mut StdRng)) {
    let first = number("SEXTANT_FUZZ_SEED").unwrap_or(1) << 32;
    let until = number("SEXTANT_FUZZ_SECONDS").map(|seconds| {
        Instant::now().checked_add(Duration::from_secs(seconds)).expect("a time to end")
    });
    for seed in first.. {
        match until {
            Some(until) if Instant::now() > until => break,
            None if seed == first + count => break,
            _ => try_one(seed, &mut StdRng::seed_from_u64(seed)),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is \"{text}\"; give a number")))
}

/// One of `from`.
pub fn pick<'a, T>(rng: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// Changes `bytes` in up to four places; `other` gives what is put in.
pub fn mutate(rng: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.random_range(0..=4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let length = rng.random_range(0..=(bytes.len() - at).min(40));
        match rng.random_range(0..8) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = *pick(rng, &EDGES),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes[at] = bytes[at].wrapping_sub(1),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..at + length)),
            6 => {
                let again = bytes[at..at + length].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let from = rng.random_range(0..=other.len());
                let to = (from + length).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}

/// As the bytes would be written in a test.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
