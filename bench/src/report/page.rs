//! A report as one HTML page that needs nothing else: no network, no script. First a sentence that
//! says the result, then warnings, tables and charts, at the end all settings and the machine.

mod charts;
mod headline;
mod load;
mod plot;
mod style;
mod tables;

use std::fs;
use std::path::PathBuf;

use clap::Args;

use self::load::Material;
use self::plot::{Chart, escape};
use crate::compare::{Compared, Said, Verdicts};
use crate::probe::Probe;
use crate::result::{ResultError, RunResult, merge};
use crate::saturate::{self, Saturation};

/// What to report.
#[derive(Clone, Debug, Args)]
pub struct ReportOptions {
    /// Results: JSON of run, compare, saturate and probe, .hlog files, or directories of them
    #[arg(required = true, value_name = "RESULT|DIR")]
    pub results: Vec<PathBuf>,
    /// The page to be written
    #[arg(short, long, default_value = "report.html", value_name = "FILE")]
    pub output: PathBuf,
    /// The runs are one, driven from several machines at a time: add up their rates, and merge
    /// their distributions
    #[arg(long)]
    pub merge: bool,
    /// A headline of your own
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
}

/// Writes the page.
pub fn report(options: &ReportOptions) -> Result<(), ResultError> {
    let mut material = load::load(&options.results)?;
    if options.merge
        && let Some(merged) = merge(&material.runs)?
    {
        material.runs = vec![merged];
    }
    tell_apart(&mut material.runs);
    let page = page(&material, options.title.as_deref())?;
    fs::write(&options.output, page).map_err(|source| ResultError::File {
        path: options.output.clone(),
        source,
    })
}

/// Runs of one label get numbers: a legend with the same name twice says nothing.
fn tell_apart(runs: &mut [RunResult]) {
    let labels: Vec<String> = runs.iter().map(|run| run.label.clone()).collect();
    let mut number = 0;
    for run in runs {
        if labels.iter().filter(|label| **label == run.label).count() > 1 {
            number += 1;
            run.label = format!("{} #{number}", run.label);
        }
    }
}

fn page(material: &Material, title: Option<&str>) -> Result<String, ResultError> {
    let headline = title.map_or_else(|| headline::headline(material), str::to_owned);
    let mut body = format!("<h1>{}</h1>\n", escape(&headline));
    body += &tables::machines(material);
    let mut warnings = Vec::new();
    for run in &material.runs {
        let mine = run.warnings().into_iter();
        warnings.extend(mine.map(|text| format!("{}: {text}", run.label)));
    }
    let notes = material.probe.iter().flat_map(|probe| &probe.notes);
    warnings.extend(notes.map(|note| format!("probe: {note}")));
    body += &list("warnings", &warnings);
    if !material.runs.is_empty() {
        body += &runs(material)?;
    }
    for compared in &material.comparisons {
        body += &comparison(compared, material)?;
    }
    if !material.saturations.is_empty() {
        body += &saturations(&material.saturations);
    }
    if let Some(probe) = &material.probe {
        body += "<h2>What this machine gives at best</h2>\n";
        // Its notes are among the warnings.
        let quiet = Probe {
            notes: Vec::new(),
            ..probe.clone()
        };
        let text = escape(&crate::probe::text(&quiet));
        body += &format!("<pre class=\"scroll\">{text}</pre>\n");
    }
    body += &tables::settings(material);
    let (sheet, title) = (style::SHEET, escape(&headline));
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{sheet}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    ))
}

fn list(class: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items = items
        .iter()
        .map(|item| format!("<li>{}</li>", escape(item)));
    format!("<ul class=\"{class}\">{}</ul>\n", items.collect::<String>())
}

fn runs(material: &Material) -> Result<String, ResultError> {
    let runs = &material.runs;
    let floor = material
        .probe
        .as_ref()
        .and_then(|probe| probe.reach.as_ref());
    let mut html = "<h2>Results</h2>\n".to_owned();
    html += &tables::percentiles(runs);
    html += &tables::usage(runs);
    html += &charts::percentiles(runs, floor)?.html();
    html += &over_time(runs);
    html += &heat_maps(runs)?;
    Ok(html)
}

fn over_time(runs: &[RunResult]) -> String {
    let charts = [
        charts::latency_over_time(runs),
        charts::throughput_over_time(runs),
    ];
    charts.iter().flatten().map(Chart::html).collect()
}

fn heat_maps(runs: &[RunResult]) -> Result<String, ResultError> {
    let mut html = String::new();
    for run in runs {
        if let Some(map) = charts::heat_map(run)? {
            html += &map.html();
            html += &scale();
        }
    }
    Ok(html)
}

/// What is there for those who ask for it.
fn details(summary: &str, inner: &str) -> String {
    match inner {
        "" => String::new(),
        _ => format!("<details><summary>{summary}</summary>\n{inner}</details>\n"),
    }
}

/// What the colours of a heat map mean.
fn scale() -> String {
    let stops = (0..=4).map(|stop| {
        let [r, g, b] = style::heat(f64::from(stop) / 4.0);
        format!("rgb({r},{g},{b})")
    });
    let stops = stops.collect::<Vec<_>>().join(",");
    format!(
        "<p class=\"note\">one record<i class=\"scale\" style=\"background:\
         linear-gradient(to right,{stops})\"></i>most records (logarithmic)</p>\n"
    )
}

fn comparison(compared: &Compared, material: &Material) -> Result<String, ResultError> {
    let mut html = "<h2>Comparison</h2>\n".to_owned();
    html += "<p class=\"note\">Medians of interleaved rounds; &plusmn; is half the range of the \
             rounds.</p>\n";
    for case in &compared.cases {
        html += &format!("<h3>{}. {}</h3>\n", case.number, escape(&case.question));
        html += &format!("<p class=\"note\">{}</p>\n", escape(&case.load));
        html += &tables::table("", &case.head, &case.rows);
        for verdicts in &case.verdicts {
            html += &verdict(verdicts);
        }
        let rounds = compared
            .rounds
            .iter()
            .filter(|round| round.case == case.number);
        let merged = by_broker(rounds.map(|round| &round.outcome))?;
        let drawn = merged.iter().any(|run| run.main_stream().is_some());
        if drawn {
            let floor = material
                .probe
                .as_ref()
                .and_then(|probe| probe.reach.as_ref());
            html += &charts::percentiles(&merged, floor)?.html();
        }
        let shown = over_time(&merged) + &heat_maps(&merged)?;
        html += &details("Latency and throughput over time", &shown);
        let of_brokers = merged.iter().map(tables::column).collect();
        html += &details("Settings", &tables::settings_of(of_brokers));
        let warnings: Vec<String> = merged
            .iter()
            .flat_map(|run| {
                run.warnings()
                    .into_iter()
                    .map(|text| format!("{}: {text}", run.label))
            })
            .collect();
        html += &list("warnings", &warnings);
    }
    Ok(html)
}

/// All rounds of a broker as one run: one distribution, none averaged.
fn by_broker<'a>(
    rounds: impl Iterator<Item = &'a RunResult>,
) -> Result<Vec<RunResult>, ResultError> {
    let mut brokers: Vec<(&str, Vec<RunResult>)> = Vec::new();
    for round in rounds {
        // As if they had begun together: they are rounds, not hours.
        let round_from_0 = RunResult {
            started_unix_ms: 0,
            ..round.clone()
        };
        match brokers.iter_mut().find(|(label, _)| *label == round.label) {
            Some((_, rounds)) => rounds.push(round_from_0),
            None => brokers.push((&round.label, vec![round_from_0])),
        }
    }
    let mut merged = Vec::new();
    for (label, rounds) in brokers {
        let count = rounds.len() as u64;
        let Some(run) = merge(&rounds)? else { continue };
        // They were one after the other: a second moved the mean of them, not the sum.
        let per_second = run.per_second.iter().map(|second| second.divided_by(count));
        merged.push(RunResult {
            label: label.to_owned(),
            per_second: per_second.collect(),
            ..run
        });
    }
    Ok(merged)
}

fn verdict(verdicts: &Verdicts) -> String {
    let numbers = verdicts.numbers.iter().map(|verdict| {
        let class = match verdict.said {
            Said::Better => "better",
            Said::Worse => "worse",
            Said::Noise | Said::TooFewRounds => "noise",
        };
        format!("<span class=\"{class}\">{}</span>", escape(&verdict.text()))
    });
    format!(
        "<p class=\"verdict\">{} beside {}: {}</p>\n",
        escape(&verdicts.first),
        escape(&verdicts.other),
        numbers.collect::<Vec<_>>().join("; ")
    )
}

fn saturations(found: &[Saturation]) -> String {
    let mut html = "<h2>Saturation</h2>\n".to_owned();
    for one in found {
        html += &format!("<p>{}</p>\n", escape(&saturate::headline(one)));
    }
    html += &charts::saturation(found)
        .as_ref()
        .map(Chart::html)
        .unwrap_or_default();
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests_of_results::result_of;

    fn material(runs: Vec<RunResult>) -> Material {
        Material {
            runs,
            ..Material::default()
        }
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let run = result_of("spate <1>", 0, &[(0, 1_000_000, 100), (1, 5_000_000, 100)]);
        let page = page(&material(vec![run]), None).expect("it is made");
        assert!(!page.contains("http"), "something is fetched");
        assert!(!page.contains("<script") && !page.contains("<1>"));
        for text in [
            "<h1>",
            "Latency by percentile",
            "over time",
            "99 %",
            "record_bytes",
        ] {
            assert!(page.contains(text), "{text} is missing");
        }
    }

    #[test]
    fn runs_of_one_name_are_told_apart() {
        let mut runs = ["a", "b", "a"].map(|label| result_of(label, 0, &[(0, 1, 1)]));
        tell_apart(&mut runs);
        assert_eq!(runs.map(|run| run.label), ["a #1", "b", "a #2"]);
    }

    #[test]
    fn the_rounds_of_a_broker_are_one_distribution() {
        let rounds = [
            result_of("a", 1_000, &[(0, 1_000, 99)]),
            result_of("b", 2_000, &[(0, 7, 1)]),
            result_of("a", 99_000, &[(0, 1_000_000, 1)]),
        ];
        let merged = by_broker(rounds.iter()).expect("they merge");
        assert_eq!(merged.len(), 2);
        let summary = &merged[0].streams["produce"].summary;
        assert_eq!((summary.count, summary.p99_ns), (100, 1_000));
        assert_eq!(merged[0].per_second[0].produced_records, 50);
        assert!(
            merged[0].warnings().is_empty(),
            "{:?}",
            merged[0].warnings()
        );
    }
}
