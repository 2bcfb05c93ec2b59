//! What a proxy costs, read from /proc.
//!
//! The kernel accounts network work done on behalf of a process in software interrupts to whoever
//! runs at that moment, so it is in the proxy's own time as long as the proxy has its core to
//! itself; what is left over to the core's softirq thread is added. Time comes in nanoseconds from
//! `schedstat`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::{
    cores,
    error::{EdgeBenchError, Result},
};
use crate::{error::LabError, process::program_name};

/// The share of a core that others may use while something is measured.
pub(super) const TOLERABLE: f64 = 0.05;

/// The processes of one proxy and the core they run on.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pids: Vec<u32>,
    /// The kernel thread that handles the core's software interrupts when there are many.
    softirq: Option<u32>,
    /// Keeps the proxy's core awake; see [`super::cores`].
    waker: Option<u32>,
}

/// The state of all clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    at: Instant,
    proxy: Duration,
    load: Duration,
    /// What others had of the proxy's core, and of the load's. May go backwards a little: the
    /// clocks tick at different times.
    foreign: [f64; 2],
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Time that passed.
    pub(super) wall: Duration,
    /// Processor time of the proxy.
    pub(super) proxy: Duration,
    /// Processor time of the thread that makes the load.
    pub(super) load: Duration,
    /// Seconds that others had of the proxy's core, and of the load's.
    foreign: [f64; 2],
}

/// What a proxy occupies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Bytes of the proxy's processes, shared pages in proportion (PSS).
    pub(super) user: u64,
    /// Bytes in the kernel's slabs, of the whole machine.
    pub(super) slab: u64,
}

impl Meter {
    /// For the processes `pids`.
    pub(super) fn new(pids: Vec<u32>, waker: Option<u32>) -> Self {
        let name = format!("ksoftirqd/{}", cores::PROXY);
        let softirq = numbers_in(Path::new("/proc"))
            .find(|pid| program_name(*pid).as_deref() == Some(name.as_str()));
        Self { pids, softirq, waker }
    }

    /// Reads all clocks.
    pub(super) fn read(&self) -> Result<Reading> {
        let mut proxy = Duration::ZERO;
        for pid in self.pids.iter().chain(&self.softirq) {
            proxy += processor_time(*pid)?;
        }
        let load = clock_gettime(ClockId::ThreadCPUTime);
        let load = Duration::try_from(load).unwrap_or_default();
        let mut own = proxy;
        if let Some(pid) = self.waker {
            own += processor_time(pid)?;
        }
        let foreign = [
            busy_time(cores::PROXY)?.as_secs_f64() - own.as_secs_f64(),
            busy_time(cores::LOAD)?.as_secs_f64() - load.as_secs_f64(),
        ];
        Ok(Reading { at: Instant::now(), proxy, load, foreign })
    }

    /// Reads what the proxy occupies now.
    pub(super) fn memory(&self) -> Result<Memory> {
        let mut user = 0;
        for pid in &self.pids {
            user += kilobytes(Path::new(&format!("/proc/{pid}/smaps_rollup")), "Pss:")?;
        }
        let slab = kilobytes(Path::new("/proc/meminfo"), "Slab:")?;
        Ok(Memory { user: user * 1024, slab: slab * 1024 })
    }
}

impl Reading {
    /// From this moment to `later`.
    pub(super) fn until(self, later: Self) -> Span {
        Span {
            wall: later.at - self.at,
            proxy: later.proxy.saturating_sub(self.proxy),
            load: later.load.saturating_sub(self.load),
            foreign: [0, 1].map(|core| later.foreign[core] - self.foreign[core]),
        }
    }
}

impl Span {
    /// Share of the proxy's core that the proxy used.
    pub(super) fn proxy_share(&self) -> f64 {
        self.proxy.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// Share of its core that the load used.
    pub(super) fn load_share(&self) -> f64 {
        self.load.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// Whether others used more of a core than a measurement can bear.
    pub(super) fn is_disturbed(&self) -> bool {
        self.foreign_share() > TOLERABLE
    }

    /// Share that others used of the proxy's core or of the load's, whichever is more.
    pub(super) fn foreign_share(&self) -> f64 {
        let [proxy, load] = self.foreign;
        proxy.max(load).max(0.0) / self.wall.as_secs_f64()
    }
}

/// Waits until both cores are idle for a moment, or `patience` is over.
pub(super) fn await_quiet(patience: Duration) -> Result<()> {
    const MOMENT: Duration = Duration::from_millis(200);
    let deadline = Instant::now() + patience;
    let both = || -> Result<_> { Ok([busy_time(cores::PROXY)?, busy_time(cores::LOAD)?]) };
    let mut before = both()?;
    while Instant::now() < deadline {
        std::thread::sleep(MOMENT);
        let after = both()?;
        if (0..2).all(|core| after[core].saturating_sub(before[core]) <= MOMENT / 10) {
            break;
        }
        before = after;
    }
    Ok(())
}

/// Processor time of all threads of a process.
fn processor_time(pid: u32) -> Result<Duration> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let mut sum = Duration::ZERO;
    for task in numbers_in(&tasks) {
        let path = tasks.join(format!("{task}/schedstat"));
        let text = read(&path)?;
        let nanoseconds = text.split_whitespace().next().and_then(|field| field.parse().ok());
        let missing = || EdgeBenchError::NoFigure { path, what: "the time of a thread" };
        sum += Duration::from_nanos(nanoseconds.ok_or_else(missing)?);
    }
    Ok(sum)
}

/// How long a core has been doing something since the machine started; proc_stat(5).
fn busy_time(core: usize) -> Result<Duration> {
    /// Jiffies as /proc counts them.
    const JIFFY: Duration = Duration::from_millis(10);
    let path = PathBuf::from("/proc/stat");
    let text = read(&path)?;
    let name = format!("cpu{core}");
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name.as_str()));
    let fields: Vec<u32> = line
        .into_iter()
        .flat_map(|line| line.split_whitespace().skip(1))
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal.
    match fields.as_slice() {
        [user, nice, system, _, _, irq, softirq, steal, ..] => {
            Ok(JIFFY * (user + nice + system + irq + softirq + steal))
        }
        _ => Err(EdgeBenchError::NoFigure { path, what: "the time of a core" }),
    }
}

/// The figure behind `key` in a file of `key: N kB` lines.
fn kilobytes(path: &Path, key: &'static str) -> Result<u64> {
    let text = read(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| EdgeBenchError::NoFigure { path: path.to_owned(), what: key })
}

fn read(path: &Path) -> Result<String> {
    Ok(fs::read_to_string(path).map_err(LabError::file("read", path))?)
}

/// The entries of a directory that are numbers.
fn numbers_in(directory: &Path) -> impl Iterator<Item = u32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_and_memory_of_a_process_grow_with_what_it_does() {
        let meter = Meter::new(vec![std::process::id()], None);
        let (before, memory) = (meter.read().expect("read"), meter.memory().expect("read"));
        let mut block = vec![0_u8; 64 << 20];
        let deadline = Instant::now() + Duration::from_millis(300);
        let mut round = 0_u8;
        while Instant::now() < deadline {
            round = round.wrapping_add(1);
            block.fill(round);
        }
        let span = before.until(meter.read().expect("read"));
        assert!(span.wall >= Duration::from_millis(300));
        assert!(span.proxy > Duration::from_millis(30), "{span:?}");
        assert!(span.load > Duration::from_millis(30), "{span:?}");
        let grown = meter.memory().expect("read").user - memory.user;
        assert!(grown > 60 << 20, "{grown} bytes; the last is {}", block[block.len() - 1]);
    }
}
