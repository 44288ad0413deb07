//! A run's results for people: a few lines, the warnings before the numbers. For programs there is
//! the same as JSON, made by serde from the outcome itself.

pub mod number;
pub mod page;
pub mod table;

use std::fmt::{self, Write};

use clap::ValueEnum;

use self::number::{bytes, per_second, time, whole};
use crate::histogram::Summary;
use crate::process::Usage;
use crate::run::{ChurnOutcome, ConsumeOutcome, Outcome, ProduceOutcome};
use crate::scenario::{Compression, Keys, Scenario};

/// Bytes in the GB of "CPU seconds per GB".
pub const GB: f64 = 1e9;

/// The report of one run.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, outcome);
    text
}

fn write(out: &mut String, outcome: &Outcome) -> fmt::Result {
    for warning in &outcome.warnings {
        writeln!(out, "! {warning}")?;
    }
    let Outcome {
        broker,
        topic,
        scenario,
        seconds,
        ..
    } = outcome;
    writeln!(out, "{broker}, topic {topic}: {}", describe(scenario))?;
    writeln!(
        out,
        "measured for {seconds} s after {} s",
        scenario.warm_up.as_secs_f64()
    )?;
    if let Some(produced) = &outcome.produced {
        write_produced(out, produced, *seconds)?;
    }
    if let Some(consumed) = &outcome.consumed {
        write_consumed(out, consumed, *seconds)?;
    }
    if let Some(churn) = &outcome.churn {
        write_churn(out, churn)?;
    }
    if let Some(usage) = &outcome.broker_usage {
        write_usage(out, "broker", usage, outcome)?;
    }
    write_usage(out, "driver", &outcome.driver_usage, outcome)
}

/// What a scenario does, in a line.
pub fn describe(scenario: &Scenario) -> String {
    let Scenario {
        producers,
        partitions,
        in_flight,
        ..
    } = scenario;
    let mut text = format!(
        "{partitions} partition{}",
        if *partitions == 1 { "" } else { "s" }
    );
    if *producers > 0 {
        let acks = match scenario.acks.code() {
            -1 => "all".to_owned(),
            code => code.to_string(),
        };
        let idempotent = if scenario.idempotent {
            ", idempotent"
        } else {
            ""
        };
        let rate = match scenario.rate.per_second() {
            Some(rate) => format!("{}/s, open loop", whole(rate.get())),
            None => "as fast as answers come".to_owned(),
        };
        let record = &scenario.record_bytes;
        let batch = match scenario.linger {
            Some(linger) => format!(
                "{record} B a record, batches of {} B or {linger:?}",
                scenario.batch_bytes
            ),
            None => format!("{} x {record} B a batch", scenario.batch_records),
        };
        text += &format!(
            "; {producers} producers x {in_flight} in flight, {batch}, acks={acks}{idempotent}, \
             {rate}"
        );
    }
    if scenario.keys != Keys::None {
        text += &format!(", {} keys", name_of(&scenario.keys));
    }
    if scenario.codec != Compression::None {
        text += &format!(", {}", name_of(&scenario.codec));
    }
    text + &describe_readers(scenario)
}

/// As the flag has it.
fn name_of(value: &impl ValueEnum) -> String {
    let found = value.to_possible_value();
    found.map_or(String::new(), |found| found.get_name().to_owned())
}

fn describe_readers(scenario: &Scenario) -> String {
    let mut text = String::new();
    match (scenario.groups, scenario.consumers) {
        (_, 0) => {}
        (0, consumers) => {
            let repeat = if scenario.repeat {
                ", over and over"
            } else {
                ""
            };
            text += &format!("; {consumers} consumers{repeat}");
        }
        (groups, members) => text += &format!("; {groups} groups of {members} members"),
    }
    if scenario.backfill > 0 {
        text += &format!("; {} read the backlog", scenario.backfill);
    }
    if let Some(rate) = scenario.churn_connections {
        text += &format!("; {rate} connections/s come and go");
    }
    if let Some(rate) = scenario.churn_topics {
        text += &format!("; {rate} topics/s come and go");
    }
    text
}

fn write_produced(out: &mut String, produced: &ProduceOutcome, seconds: f64) -> fmt::Result {
    let (records, volume) = (
        produced.records as f64 / seconds,
        produced.bytes as f64 / seconds,
    );
    writeln!(out)?;
    writeln!(
        out,
        "produced   {}, {}/s",
        per_second(records, "records"),
        bytes(volume)
    )?;
    write_head(out)?;
    write_summary(out, "latency", &produced.latency)?;
    write_summary(out, "service", &produced.service)?;
    write_summary(out, "driver's lag", &produced.driver_lag)
}

fn write_consumed(out: &mut String, consumed: &ConsumeOutcome, seconds: f64) -> fmt::Result {
    let (records, volume) = (
        consumed.records as f64 / seconds,
        consumed.bytes as f64 / seconds,
    );
    writeln!(out)?;
    writeln!(
        out,
        "fetched    {}, {}/s in {}",
        per_second(records, "records"),
        bytes(volume),
        per_second(consumed.fetches as f64 / seconds, "fetches")
    )?;
    if consumed.end_to_end.count > 0 {
        write_head(out)?;
        write_summary(out, "end to end", &consumed.end_to_end)?;
    }
    if consumed.backfilled_records > 0 {
        let (records, volume) = (
            consumed.backfilled_records as f64 / seconds,
            consumed.backfilled_bytes as f64 / seconds,
        );
        writeln!(
            out,
            "backfilled {}, {}/s",
            per_second(records, "records"),
            bytes(volume)
        )?;
    }
    if consumed.rebalances > 0 {
        writeln!(
            out,
            "groups     {} assignments, {} commits, {} records given again",
            whole(consumed.rebalances),
            whole(consumed.commits),
            whole(consumed.verification.redelivered)
        )?;
    }
    let found = &consumed.verification;
    if found.expired > 0 {
        let expired = whole(found.expired);
        writeln!(
            out,
            "expired    {expired} records, deleted before they were read"
        )?;
    }
    if found.unread > 0 {
        let unread = whole(found.unread);
        writeln!(
            out,
            "unread     {unread} records, acknowledged and not read in time"
        )?;
    }
    let verdict = if found.is_clean() {
        "nothing lost, doubled, reordered or changed"
    } else {
        "FAILED"
    };
    writeln!(
        out,
        "verified   {} records: {verdict}",
        whole(found.records)
    )
}

fn write_churn(out: &mut String, churn: &ChurnOutcome) -> fmt::Result {
    writeln!(out, "\ncome and go")?;
    write_head(out)?;
    let kinds = [
        ("connections", &churn.connections),
        ("topics", &churn.topics),
    ];
    for (name, summary) in kinds {
        if let Some(summary) = summary {
            write_summary(out, name, summary)?;
            writeln!(out, "{:12} {} of them", "", whole(summary.count))?;
        }
    }
    for (text, times) in &churn.errors {
        writeln!(out, "! {times} x {text}")?;
    }
    Ok(())
}

fn write_head(out: &mut String) -> fmt::Result {
    let [p50, p90, p99, p999, max] = ["p50", "p90", "p99", "p99.9", "max"];
    writeln!(
        out,
        "{:12} {p50:>10} {p90:>10} {p99:>10} {p999:>10} {max:>10}",
        ""
    )
}

fn write_summary(out: &mut String, name: &str, summary: &Summary) -> fmt::Result {
    let Summary {
        p50_ns,
        p90_ns,
        p99_ns,
        p999_ns,
        max_ns,
        ..
    } = summary;
    write!(out, "{name:12}")?;
    for nanos in [p50_ns, p90_ns, p99_ns, p999_ns, max_ns] {
        write!(out, " {:>10}", time(*nanos as f64))?;
    }
    writeln!(out)
}

fn write_usage(out: &mut String, who: &str, usage: &Usage, outcome: &Outcome) -> fmt::Result {
    let cpu = 100.0 * usage.cpu_s / outcome.seconds;
    write!(out, "\n{who:10} {cpu:.1} % CPU")?;
    if let Some(us) = outcome.per_record_us(usage.cpu_s) {
        write!(out, ", {us:.2} us/record")?;
    }
    if let Some(s) = outcome.per_gb_s(usage.cpu_s) {
        write!(out, ", {s:.3} s/GB")?;
    }
    write!(out, "; {} resident", bytes(usage.rss_bytes as f64))?;
    if let Some(switches) = usage.context_switches {
        let switches = switches as f64 / outcome.seconds;
        write!(out, "; {}", per_second(switches, "context switches"))?;
    }
    if let Some(written) = usage.written_bytes {
        write!(
            out,
            "; {}/s to disk",
            bytes(written as f64 / outcome.seconds)
        )?;
    }
    writeln!(out)
}

impl Outcome {
    /// Records and bytes that moved in the measured window, in and out; the broker's CPU time
    /// includes serving backlogs.
    fn moved(&self) -> (u64, u64) {
        let produced = self
            .produced
            .as_ref()
            .map_or((0, 0), |done| (done.records, done.bytes));
        let consumed = self.consumed.as_ref().map_or((0, 0), |done| {
            (
                done.records + done.backfilled_records,
                done.bytes + done.backfilled_bytes,
            )
        });
        (produced.0 + consumed.0, produced.1 + consumed.1)
    }

    /// CPU time per record, in microseconds.
    pub fn per_record_us(&self, cpu_s: f64) -> Option<f64> {
        let (records, _) = self.moved();
        (records > 0).then(|| cpu_s * 1e6 / records as f64)
    }

    /// CPU seconds per GB.
    pub fn per_gb_s(&self, cpu_s: f64) -> Option<f64> {
        let (_, bytes) = self.moved();
        (bytes > 0).then(|| cpu_s * GB / bytes as f64)
    }
}

#[cfg(test)]
mod tests {
    use crate::run::example;
    use crate::verify::Findings;

    #[test]
    fn serving_a_backlog_counts_as_work() {
        let mut outcome = example::outcome("1000");
        assert_eq!(outcome.per_record_us(2.0), Some(1_000.0));
        let mut consumed = example::consumed(Findings::default());
        (consumed.backfilled_records, consumed.backfilled_bytes) = (6_000, 6_144_000);
        outcome.consumed = Some(consumed);
        assert_eq!(outcome.per_record_us(2.0), Some(250.0));
        assert_eq!(outcome.per_gb_s(0.8192), Some(100.0));
    }
}
