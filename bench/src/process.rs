//! What a process uses, from `/proc`: the broker's and the driver's own CPU, memory, context
//! switches and bytes written, as differences between two samples.

mod scrape;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Serialize;

/// What `/proc/PID/stat` counts CPU time in. The kernel's interface fixes it at 100 a second,
/// whatever the kernel's own tick is.
const TICK_MS: u64 = 10;
/// How far ticks and nanoseconds of the same work lie apart at most: user and kernel time are each
/// cut off to whole ticks.
const CUT_OFF: Duration = Duration::from_millis(2 * TICK_MS);

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The file is missing or not readable.
    #[error("cannot read {}: {source}; is it running, and ours to look at?", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file's content is not what Linux writes.
    #[error("{} has no usable {field}: is this Linux?", path.display())]
    Unexpected {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        field: &'static str,
    },
    /// No process, or several, with that name.
    #[error("{found} processes are called {name:?}: give the number of one")]
    Ambiguous {
        /// The name.
        name: String,
        /// How many there are.
        found: usize,
    },
    /// A page of metrics.
    #[error("cannot read metrics from {url}: {source}; give the address that Prometheus scrapes")]
    Unscraped {
        /// Its address.
        url: String,
        /// Why not.
        source: io::Error,
    },
}

/// A process at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// All threads that ever were, in steps of [`TICK_MS`].
    cpu_coarse: Duration,
    /// The threads that are, to the nanosecond.
    cpu_of_threads: BTreeMap<u32, Duration>,
    context_switches: Option<u64>,
    rss_bytes: u64,
    written_bytes: Option<u64>,
    open_files: u64,
}

/// What a process used between two samples.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Usage {
    /// CPU time of all threads, in user and kernel.
    pub cpu_s: f64,
    /// Context switches of the threads that lived through; unknown of a process that was scraped.
    pub context_switches: Option<u64>,
    /// Resident memory at the end.
    pub rss_bytes: u64,
    /// Bytes it had the kernel send to disks, if we may know.
    pub written_bytes: Option<u64>,
    /// Its file descriptors at the end, sockets among them.
    pub open_files: u64,
}

impl Sample {
    /// Looks at a process through what it tells Prometheus at that address.
    pub fn scrape(url: &str) -> Result<Sample, ProcessError> {
        scrape::scrape(url)
    }

    /// Looks at a process.
    pub fn take(pid: u32) -> Result<Sample, ProcessError> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let stat = Text::read(process.join("stat"))?;
        let cpu_coarse = cpu_of_stat(&stat.text).ok_or(stat.lacks("CPU time"))?;
        let status = Text::read(process.join("status"))?;
        let rss = status.number("VmRSS:").ok_or(status.lacks("VmRSS"))?;
        // Only the owner may read it; a report without it is still a report.
        let written = Text::read(process.join("io")).ok();
        let written = written.and_then(|text| text.number("write_bytes:"));
        let mut sample = Sample {
            cpu_coarse,
            cpu_of_threads: BTreeMap::new(),
            context_switches: None,
            rss_bytes: rss * 1024,
            written_bytes: written,
            open_files: fs::read_dir(process.join("fd")).map_or(0, |files| files.count() as u64),
        };
        sample.add_threads(&process.join("task"))?;
        Ok(sample)
    }

    fn add_threads(&mut self, tasks: &Path) -> Result<(), ProcessError> {
        let unreadable = |source| ProcessError::Unreadable {
            path: tasks.to_owned(),
            source,
        };
        let mut all_switches = 0;
        for entry in fs::read_dir(tasks).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let thread = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            // A thread may end while we look.
            let (Some(thread), Ok(status)) = (thread, Text::read(path.join("status"))) else {
                continue;
            };
            let switches = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
            all_switches += switches
                .iter()
                .filter_map(|key| status.number(key))
                .sum::<u64>();
            let schedstat = Text::read(path.join("schedstat")).ok();
            if let Some(cpu) = schedstat.and_then(|schedstat| cpu_of_schedstat(&schedstat.text)) {
                self.cpu_of_threads.insert(thread, cpu);
            }
        }
        self.context_switches = Some(all_switches);
        Ok(())
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Sample) -> Usage {
        let coarse = self.cpu_coarse.saturating_sub(earlier.cpu_coarse);
        let fine = || -> Option<Duration> {
            // A thread that has ended took its nanoseconds with it: then only the ticks are whole.
            let mut earlier_threads = earlier.cpu_of_threads.keys();
            let all_alive = earlier_threads.all(|thread| self.cpu_of_threads.contains_key(thread));
            if self.cpu_of_threads.is_empty() || !all_alive {
                return None;
            }
            let total = |sample: &Sample| sample.cpu_of_threads.values().sum::<Duration>();
            Some(total(self).saturating_sub(total(earlier)))
        };
        // One that came and went between the samples is in the ticks only.
        let cpu = fine().filter(|fine| coarse <= *fine + CUT_OFF);
        let cpu = cpu.unwrap_or(coarse);
        Usage {
            cpu_s: cpu.as_secs_f64(),
            context_switches: grown(self.context_switches, earlier.context_switches),
            rss_bytes: self.rss_bytes,
            written_bytes: grown(self.written_bytes, earlier.written_bytes),
            open_files: self.open_files,
        }
    }
}

/// How much a counter has grown, if it is known at both ends.
fn grown(now: Option<u64>, earlier: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(earlier?))
}

/// The process of that number, or the only one of that name.
pub fn find(wanted: &str) -> Result<u32, ProcessError> {
    if let Ok(pid) = wanted.parse() {
        return Ok(pid);
    }
    let unreadable = |source| ProcessError::Unreadable {
        path: PathBuf::from("/proc"),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let pid = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        // A process may end while we look.
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if let Some(pid) = pid
            && name.trim_end() == wanted
        {
            found.push(pid);
        }
    }
    match found[..] {
        [pid] => Ok(pid),
        _ => Err(ProcessError::Ambiguous {
            name: wanted.to_owned(),
            found: found.len(),
        }),
    }
}

/// CPU time that the whole machine has used since it started, in all processes and the kernel:
/// write-back of dirty pages and interrupts are work for a broker that no process is charged for.
pub fn machine_cpu() -> Result<Duration, ProcessError> {
    let stat = Text::read(PathBuf::from("/proc/stat"))?;
    cpu_of_machine(&stat.text).ok_or(stat.lacks("cpu line"))
}

/// A file of `/proc`.
struct Text {
    path: PathBuf,
    text: String,
}

impl Text {
    fn read(path: PathBuf) -> Result<Text, ProcessError> {
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Text { path, text }),
            Err(source) => Err(ProcessError::Unreadable { path, source }),
        }
    }

    /// The number behind `key` at the start of a line.
    fn number(&self, key: &str) -> Option<u64> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    }

    fn lacks(&self, field: &'static str) -> ProcessError {
        ProcessError::Unexpected {
            path: self.path.clone(),
            field,
        }
    }
}

/// User and kernel time of `/proc/PID/stat`. The second field is the name in parentheses, and the
/// name may hold both blanks and parentheses: fields are counted behind the last one.
fn cpu_of_stat(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    // The first field here is the third of proc(5); user time is the 14th, kernel time the 15th.
    let mut times = fields.split_whitespace().skip(11);
    let (user, kernel) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
    of_ticks(&[user, kernel])
}

/// The time of so many ticks; 64 bits, for a machine of many cores idles for more ticks than fit in
/// 32 within days.
fn of_ticks(ticks: &[u64]) -> Option<Duration> {
    let add = |sum: u64, each: &u64| sum.checked_add(*each);
    let ticks = ticks.iter().try_fold(0, add)?;
    Some(Duration::from_millis(ticks.checked_mul(TICK_MS)?))
}

/// All that is not idle in the first line of `/proc/stat`: user, nice, system, irq and softirq;
/// idle, waiting for disks and what a host took away stand between and behind them.
fn cpu_of_machine(stat: &str) -> Option<Duration> {
    let times = stat.lines().next()?.strip_prefix("cpu ")?;
    // One that cannot be read must not be passed over: those behind it would take its place.
    let ticks = times.split_whitespace().map(|ticks| ticks.parse().ok());
    let ticks: Vec<u64> = ticks.collect::<Option<_>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else {
        return None;
    };
    of_ticks(&[user, nice, system, irq, softirq])
}

/// The time on CPU of `/proc/PID/task/TID/schedstat`.
fn cpu_of_schedstat(schedstat: &str) -> Option<Duration> {
    let nanos = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_hostile_name() {
        let stat = "4711 (a) R (b) S 1 4711 4711 0 -1 4194560 1 2 3 4 250 31 7 8 20 0 3 0 99 0";
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_millis(2_810)));
        assert_eq!(cpu_of_stat("4711 (a) S 1"), None);
        assert_eq!(cpu_of_stat(""), None);
    }

    #[test]
    fn the_machines_cpu_time_leaves_out_idling() {
        let stat = "cpu  10 2 30 5000 700 4 5 60 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(cpu_of_machine(stat), Some(Duration::from_millis(510)));
        assert_eq!(cpu_of_machine("cpu  10 2"), None);
        assert_eq!(cpu_of_machine("intr 1"), None);
    }

    #[test]
    fn ticks_beyond_32_bits_are_counted_and_unreadable_ones_refused() {
        let idle = "cpu  10 2 30 99999999999 700 4 5 60 0 0\n";
        assert_eq!(cpu_of_machine(idle), Some(Duration::from_millis(510)));
        let busy = "cpu  5000000000 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(cpu_of_machine(busy), Some(Duration::from_secs(50_000_000)));
        assert_eq!(cpu_of_machine("cpu  10 2 x 5000 700 4 5 60 0 0\n"), None);
        let stat = "1 (a) S 1 1 1 0 -1 0 1 2 3 4 5000000000 0 7 8 20 0 3 0 99 0";
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_secs(50_000_000)));
    }

    #[test]
    fn numbers_are_found_by_their_key() {
        let text = "Name:\tspate\nVmRSS:\t   2048 kB\nvoluntary_ctxt_switches:\t17\n".to_owned();
        let status = Text {
            path: PathBuf::new(),
            text,
        };
        assert_eq!(status.number("VmRSS:"), Some(2048));
        assert_eq!(status.number("voluntary_ctxt_switches:"), Some(17));
        assert_eq!(status.number("VmHWM:"), None);
        assert_eq!(
            cpu_of_schedstat("1500 20 3\n"),
            Some(Duration::from_nanos(1_500))
        );
    }

    fn sample(coarse_ms: u64, threads: &[(u32, u64)]) -> Sample {
        Sample {
            cpu_coarse: Duration::from_millis(coarse_ms),
            cpu_of_threads: threads
                .iter()
                .map(|(thread, ms)| (*thread, Duration::from_millis(*ms)))
                .collect(),
            context_switches: None,
            rss_bytes: 0,
            written_bytes: None,
            open_files: 0,
        }
    }

    #[test]
    fn a_thread_that_came_and_went_is_in_the_ticks() {
        let before = sample(100, &[(1, 60)]);
        // 30 ms of an io-worker that neither sample saw.
        let after = sample(150, &[(1, 80)]);
        assert_eq!(after.since(&before).cpu_s, 0.05);
        // Two ticks may be cut off before: the nanoseconds are the better number.
        let after = sample(150, &[(1, 91)]);
        assert_eq!(after.since(&before).cpu_s, 0.031);
    }

    #[test]
    fn an_ended_thread_leaves_the_ticks_to_count() {
        let before = sample(100, &[(1, 60), (2, 41)]);
        let all_alive = sample(150, &[(1, 70), (2, 81), (3, 3)]);
        assert_eq!(all_alive.since(&before).cpu_s, 0.053);
        let one_ended = sample(150, &[(1, 70), (3, 3)]);
        assert_eq!(one_ended.since(&before).cpu_s, 0.05);
    }

    #[test]
    fn processes_are_found_by_number_and_by_name() {
        assert_eq!(find("4711").ok(), Some(4711));
        let error = find("no such process").expect_err("nothing is called that");
        assert!(error.to_string().starts_with("0 processes"), "{error}");
    }

    #[test]
    fn our_own_work_is_seen() {
        let pid = std::process::id();
        let before = Sample::take(pid).expect("we can look at ourselves");
        let mut sum = 0u64;
        for n in 0..50_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(n));
        }
        let usage = Sample::take(pid).expect("again").since(&before);
        assert!(usage.cpu_s > 0.0 && usage.rss_bytes > 0, "{usage:?}");
    }
}
