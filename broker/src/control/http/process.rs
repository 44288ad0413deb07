//! What the kernel says of this process, under Prometheus' usual names. Read when
//! asked; what cannot be read is left out.

use std::fs;

use super::exposition::Exposition;

/// Adds the families.
pub fn add(out: &mut Exposition) {
    out.counter(
        "process_cpu_seconds_total",
        "User and system time of all threads.",
        cpu_s().map(|seconds| (vec![], seconds)),
    );
    out.gauge(
        "process_resident_memory_bytes",
        "Memory in use, as the kernel counts it.",
        status_bytes("VmRSS:").map(|bytes| (vec![], bytes)),
    );
    out.gauge(
        "process_open_fds",
        "Descriptors in use.",
        open_fds().map(|count| (vec![], count)),
    );
    out.gauge(
        "process_max_fds",
        "Descriptors that may be in use.",
        rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .map(|count| (vec![], count as f64)),
    );
}

fn cpu_s() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold spaces; user and system time are the 12th and 13th behind.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn status_bytes(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn open_fds() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}
