//! The probe's numbers for people, and what follows from them for a broker.

use super::{DiskPoint, Jitter, Loopback, Probe, Reach};
use crate::histogram::Summary;
use crate::report::number::{bytes, per_second, time, whole};
use crate::report::table::table;

/// All of it.
pub fn text(probe: &Probe) -> String {
    let mut parts: Vec<String> = probe.notes.iter().map(|note| format!("! {note}")).collect();
    parts.push(probe.machine.line());
    if !probe.disk.is_empty() {
        parts.push(disk(probe));
    }
    parts.extend(probe.loopback.as_ref().map(loopback));
    parts.extend(probe.jitter.as_ref().map(jitter));
    parts.extend(probe.reach.as_ref().map(reach));
    parts.join("\n\n") + "\n"
}

fn disk(probe: &Probe) -> String {
    let how = match probe.buffered {
        false => "direct",
        true => "buffered, for the file system refuses direct writes,",
    };
    let mut rows = table(&["write", "depth", "writes/s", "bytes/s", "p50", "p99", "max"]);
    for point in &probe.disk {
        let DiskPoint {
            write_bytes,
            depth,
            writes_per_s,
            bytes_per_s,
            latency,
        } = point;
        rows.add_row([
            format!("{} KiB", write_bytes / 1024),
            depth.to_string(),
            whole(writes_per_s.round() as u64),
            bytes(*bytes_per_s),
            time(latency.p50_ns as f64),
            time(latency.p99_ns as f64),
            time(latency.max_ns as f64),
        ]);
    }
    format!(
        "sequential {how} writes with flush, each durable before it counts, to {}\n{rows}",
        probe.file.display()
    )
}

fn summary(name: &str, summary: &Summary) -> [String; 6] {
    let Summary {
        p50_ns,
        p90_ns,
        p99_ns,
        p999_ns,
        max_ns,
        ..
    } = summary;
    let [p50, p90, p99, p999, max] =
        [p50_ns, p90_ns, p99_ns, p999_ns, max_ns].map(|nanos| time(*nanos as f64));
    [name.to_owned(), p50, p90, p99, p999, max]
}

const PERCENTILES: [&str; 6] = ["", "p50", "p90", "p99", "p99.9", "max"];

fn loopback(found: &Loopback) -> String {
    let mut rows = table(&PERCENTILES);
    rows.add_row(summary("round trip of 256 B", &found.round_trip));
    format!(
        "loopback, by blocking calls: {}/s one way\n{rows}",
        bytes(found.bytes_per_s)
    )
}

fn jitter(found: &Jitter) -> String {
    let mut rows = table(&PERCENTILES);
    rows.add_row(summary("timer late by", &found.timer_late));
    rows.add_row(summary("off the core for", &found.gaps));
    format!(
        "timers and scheduling: a busy thread was off its core {} times, {:.1} % of the time\n\
         {rows}",
        whole(found.gaps.count),
        found.gaps_part * 100.0
    )
}

fn reach(found: &Reach) -> String {
    let mut lines = vec!["a durable broker here can at best reach (the floor server):".to_owned()];
    for point in &found.one_by_one {
        let s = if point.connections == 1 { "" } else { "s" };
        lines.push(format!(
            "  {:>13}   one 1 KiB record at a time on {} connection{s}; p99 {}",
            per_second(point.acks_per_s, "acks"),
            point.connections,
            time(point.service.p99_ns as f64)
        ));
    }
    lines.push(format!(
        "  {:>13}   in batches of {} KiB",
        format!("{}/s", bytes(found.batch_bytes_per_s)),
        found.batch_bytes / 1024
    ));
    lines.push(format!(
        "  {:>13}   p99 from the intended send time at {} records/s (p50 {})",
        time(found.steady.p99_ns as f64),
        whole(found.steady_per_s.into()),
        time(found.steady.p50_ns as f64)
    ));
    lines.join("\n")
}
