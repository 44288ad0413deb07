//! The tables of a page: percentiles, what broker and driver used, machines, and all settings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::load::Material;
use super::plot::escape;
use crate::machine::Machine;
use crate::report::GB;
use crate::report::number::{bytes, three_digits, time, whole};
use crate::result::RunResult;

/// A table that scrolls by itself where the page is narrower.
pub fn table(class: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, row: &[String]| {
        let cells = row
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        cells.collect::<String>()
    };
    let head = cells("th", head);
    let rows = rows
        .iter()
        .map(|row| format!("<tr>{}</tr>\n", cells("td", row)));
    format!(
        "<div class=\"scroll\"><table class=\"{class}\"><thead><tr>{head}</tr></thead><tbody>\n\
         {}</tbody></table></div>\n",
        rows.collect::<String>()
    )
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Rates and percentiles, a row for each latency of each run.
pub fn percentiles(runs: &[RunResult]) -> String {
    let head = words(&[
        "run",
        "records/s",
        "bytes/s",
        "latency",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
    ]);
    let mut rows = Vec::new();
    for run in runs {
        for (name, stream) in &run.streams {
            let side = if name == "end-to-end" {
                "consumed"
            } else {
                "produced"
            };
            let rate = run.rate(&[side, "records"]).unwrap_or(0.0);
            let volume = run.rate(&[side, "bytes"]).unwrap_or(0.0);
            let summary = &stream.summary;
            let mut row = vec![
                run.label.clone(),
                whole(rate.round() as u64),
                bytes(volume),
                name.clone(),
            ];
            let percentiles = [
                summary.p50_ns,
                summary.p90_ns,
                summary.p99_ns,
                summary.p999_ns,
                summary.max_ns,
            ];
            row.extend(percentiles.map(|nanos| time(nanos as f64)));
            rows.push(row);
        }
    }
    table("", &head, &rows)
}

/// What broker and driver used.
pub fn usage(runs: &[RunResult]) -> String {
    let head = words(&[
        "used by",
        "CPU",
        "us/record",
        "s/GB",
        "resident",
        "switches/s",
        "to disk",
    ]);
    let mut rows = Vec::new();
    for run in runs {
        for (who, key) in [("broker", "broker_usage"), ("driver", "driver_usage")] {
            let Some(cpu_s) = run.number(&[key, "cpu_s"]) else {
                continue;
            };
            let per = |part: f64| match part > 0.0 {
                true => three_digits(cpu_s / part),
                false => "-".to_owned(),
            };
            let each_second = |name| {
                let number = run.number(&[key, name]);
                number.map(|number| number / run.seconds())
            };
            let switches = each_second("context_switches");
            rows.push(vec![
                format!("{}: {who}", run.label),
                format!("{:.0} %", 100.0 * cpu_s / run.seconds()),
                per(moved(run, "records", "backfilled_records") / 1e6),
                per(moved(run, "bytes", "backfilled_bytes") / GB),
                run.number(&[key, "rss_bytes"])
                    .map_or("-".to_owned(), bytes),
                switches.map_or("-".to_owned(), |rate| whole(rate.round() as u64)),
                each_second("written_bytes")
                    .map_or("-".to_owned(), |rate| format!("{}/s", bytes(rate))),
            ]);
        }
    }
    match rows.is_empty() {
        true => String::new(),
        false => table("", &head, &rows),
    }
}

/// What moved in and out, backlogs too: the broker's CPU time includes serving them.
fn moved(run: &RunResult, of: &str, of_backlog: &str) -> f64 {
    let counts = [["produced", of], ["consumed", of], ["consumed", of_backlog]];
    let counts = counts.iter().filter_map(|count| run.number(count));
    counts.sum()
}

/// Where the numbers come from, in a line for each machine.
pub fn machines(material: &Material) -> String {
    let all = material.runs.iter().map(|run| &run.machine);
    let all = all.chain(material.comparisons.iter().map(|one| &one.machine));
    let all = all.chain(material.saturations.iter().map(|one| &one.machine));
    let all = all.chain(material.probe.iter().map(|probe| &probe.machine));
    let lines: BTreeSet<String> = all.map(line).collect();
    let lines = lines
        .iter()
        .map(|line| format!("<p class=\"where\">{}</p>\n", escape(line)));
    lines.collect()
}

fn line(machine: &Machine) -> String {
    format!("{}; {}", machine.line(), machine.driver)
}

/// Every setting of every run, those that differ in bold; and the command lines.
pub fn settings(material: &Material) -> String {
    let mut columns: Vec<(String, Value)> = Vec::new();
    let mut commands: BTreeSet<String> = BTreeSet::new();
    for run in &material.runs {
        columns.push(column(run));
        commands.insert(run.command.join(" "));
    }
    for found in &material.saturations {
        columns.push((found.broker.clone(), found.settings.clone()));
        commands.insert(found.command.join(" "));
    }
    commands.extend(material.comparisons.iter().map(|one| one.command.join(" ")));
    let mut html = "<h2>Settings</h2>\n".to_owned();
    html += &settings_of(columns);
    for command in commands {
        html += &format!("<p class=\"note\"><code>{}</code></p>\n", escape(&command));
    }
    html
}

/// A run's name and all its settings.
pub fn column(run: &RunResult) -> (String, Value) {
    let scenario = run.value(&["scenario"]).cloned().unwrap_or(Value::Null);
    (run.label.clone(), scenario)
}

/// A row for each setting, a column for each run.
pub fn settings_of(columns: Vec<(String, Value)>) -> String {
    let keys: BTreeSet<&String> = columns
        .iter()
        .filter_map(|(_, settings)| settings.as_object())
        .flat_map(|settings| settings.keys())
        .collect();
    if keys.is_empty() {
        return String::new();
    }
    let heads = columns.iter().map(|(label, _)| escape(label));
    let heads: String = heads.map(|label| format!("<th>{label}</th>")).collect();
    let rows: String = keys.iter().map(|key| row(key, &columns)).collect();
    format!(
        "<div class=\"scroll\"><table class=\"settings\"><thead><tr><th>setting</th>{heads}\
         </tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn row(key: &str, columns: &[(String, Value)]) -> String {
    let values: Vec<String> = columns.iter().map(|(_, all)| show(&all[key])).collect();
    let differs = values.iter().any(|value| *value != values[0]);
    let class = if differs { " class=\"differs\"" } else { "" };
    let cells = values
        .iter()
        .map(|value| format!("<td>{}</td>", escape(value)));
    format!(
        "<tr{class}><td>{}</td>{}</tr>\n",
        escape(key),
        cells.collect::<String>()
    )
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests_of_results::result_of;

    #[test]
    fn settings_that_differ_stand_out() {
        let mut runs = vec![
            result_of("a", 0, &[(0, 1, 1)]),
            result_of("b", 0, &[(0, 1, 1)]),
        ];
        runs[1].outcome["scenario"]["rate"] = serde_json::json!("200");
        let html = settings(&Material {
            runs,
            ..Material::default()
        });
        assert!(html.contains("<tr class=\"differs\"><td>rate</td><td>100</td><td>200</td>"));
        assert!(
            html.contains("<tr><td>record_bytes</td><td>1024</td><td>1024</td>"),
            "{html}"
        );
    }

    #[test]
    fn serving_a_backlog_counts_as_work() {
        let mut run = result_of("a", 0, &[(0, 1, 100)]);
        let consumed = serde_json::json!({
            "records": 0, "bytes": 0, "backfilled_records": 300, "backfilled_bytes": 307_200,
        });
        run.outcome.insert("consumed".to_owned(), consumed);
        let html = usage(&[run]);
        assert!(
            html.contains("<td>50 %</td><td>1250</td><td>1221</td>"),
            "{html}"
        );
    }

    #[test]
    fn cpu_is_told_per_record_and_per_gb() {
        // Half a second of CPU for 100 records of 1 KiB: 5 ms each, 4,883 s/GB.
        let html = usage(&[result_of("a", 0, &[(0, 1, 100)])]);
        assert!(
            html.contains("<td>50 %</td><td>5000</td><td>4883</td>"),
            "{html}"
        );
    }
}
