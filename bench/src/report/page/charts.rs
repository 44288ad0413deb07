//! Which charts a report has, out of results: percentile curves, latency and throughput over time,
//! heat maps, and latency over rate.

use std::collections::BTreeMap;

use crate::histogram::Latencies;
use crate::probe::Reach;
use crate::report::number::{bytes, time, whole};
use crate::report::page::plot::{Axis, Chart, Field, Line};
use crate::result::{ResultError, RunResult, Stream};
use crate::saturate::{Found, Saturation};

/// Percentiles beyond this have no record behind them in most runs.
const NINES_MAX: f64 = 6.0;
/// Points of a percentile curve for each nine.
const POINTS_PER_NINE: u32 = 24;
/// Rows of a heat map.
const HEAT_ROWS: usize = 44;
/// Columns of a heat map: a run of hours has several seconds in each.
const HEAT_COLUMNS: u64 = 200;
/// The floor's line is not a run's: a colour that no chart with fewer than six runs has.
const FLOOR_COLOUR: usize = 5;

/// Latency over percentile, for each run, and the machine's floor.
pub fn percentiles(runs: &[RunResult], floor: Option<&Reach>) -> Result<Chart, ResultError> {
    let mut lines = Vec::new();
    let mut nines_max: f64 = 2.0;
    for (number, run) in runs.iter().enumerate() {
        for (name, stream) in curves(run, runs.len()) {
            let latencies = stream.latencies()?;
            let nines = nines_of(stream.summary.count);
            nines_max = nines_max.max(nines);
            lines.push(Line {
                name: format!("{}{name}", run.label),
                colour: if runs.len() == 1 { lines.len() } else { number },
                dashed: false,
                points: curve(&latencies, nines),
            });
        }
    }
    lines.extend(floor.map(|reach| floor_line(reach, nines_max)));
    let y = latency_axis(&lines);
    Ok(Chart {
        title: "Latency by percentile".to_owned(),
        x: percentile_axis(nines_max),
        y,
        lines,
        fields: Vec::new(),
    })
}

/// A run alone shows all its latencies; beside others only the one that counts.
fn curves(run: &RunResult, runs: usize) -> Vec<(String, &Stream)> {
    if runs > 1 {
        let main = run.main_stream().map(|(_, stream)| (String::new(), stream));
        return main.into_iter().collect();
    }
    let streams = run.streams.iter();
    streams
        .map(|(name, stream)| (format!(": {}", long_name(name)), stream))
        .collect()
}

fn long_name(name: &str) -> String {
    match name {
        "produce" => "intended send to answer".to_owned(),
        "service" => "real send to answer".to_owned(),
        "end-to-end" => "intended send to consumer".to_owned(),
        other => other.to_owned(),
    }
}

/// How many nines so many records allow.
fn nines_of(count: u64) -> f64 {
    (count.max(10) as f64).log10().min(NINES_MAX)
}

fn curve(latencies: &Latencies, nines: f64) -> Vec<(f64, f64)> {
    let points = (nines * f64::from(POINTS_PER_NINE)) as u32;
    let at = |point: u32| {
        let x = f64::from(point) / f64::from(POINTS_PER_NINE);
        let quantile = 1.0 - 10f64.powf(-x);
        (x, log(latencies.quantile(quantile) as f64))
    };
    (0..=points).map(at).collect()
}

fn floor_line(reach: &Reach, nines_max: f64) -> Line {
    let steady = &reach.steady;
    let known = [
        (0.301, steady.p50_ns),
        (1.0, steady.p90_ns),
        (2.0, steady.p99_ns),
        (3.0, steady.p999_ns),
    ];
    let known = known.into_iter().filter(|(nines, _)| *nines <= nines_max);
    Line {
        name: format!(
            "this machine's floor, at {} records/s",
            whole(reach.steady_per_s.into())
        ),
        colour: FLOOR_COLOUR,
        dashed: true,
        points: known
            .map(|(nines, nanos)| (nines, log(nanos as f64)))
            .collect(),
    }
}

fn percentile_axis(nines_max: f64) -> Axis {
    let names = [
        "0 %",
        "90 %",
        "99 %",
        "99.9 %",
        "99.99 %",
        "99.999 %",
        "99.9999 %",
    ];
    let ticks = (0..)
        .map(f64::from)
        .zip(names)
        .filter(|(at, _)| *at <= nines_max);
    let mut ticks: Vec<(f64, String)> = ticks.map(|(at, name)| (at, name.to_owned())).collect();
    ticks.insert(1, (2f64.log10(), "50 %".to_owned()));
    Axis {
        name: "percentile of records".to_owned(),
        from: 0.0,
        to: nines_max,
        ticks,
    }
}

fn log(value: f64) -> f64 {
    value.max(1.0).log10()
}

/// A logarithmic axis of times around all points.
fn latency_axis(lines: &[Line]) -> Axis {
    let values = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1);
    let (from, to) = around(values, (5.0, 7.0));
    Axis {
        name: "latency".to_owned(),
        from,
        to,
        ticks: log_ticks(from, to, time),
    }
}

/// The ends of an axis: what is there, and a little more.
fn around(values: impl Iterator<Item = f64>, nothing: (f64, f64)) -> (f64, f64) {
    let (mut from, mut to) = (f64::MAX, f64::MIN);
    for value in values {
        (from, to) = (from.min(value), to.max(value));
    }
    match from <= to {
        true => (from - 0.1, to + 0.1),
        false => nothing,
    }
}

/// Ticks at 1, 2 and 5 of each decade, or at the decades alone if there are many.
fn log_ticks(from: f64, to: f64, name: fn(f64) -> String) -> Vec<(f64, String)> {
    let steps: &[f64] = match to - from {
        ..2.2 => &[1.0, 2.0, 5.0],
        ..3.5 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let mut ticks = Vec::new();
    for decade in from.floor() as i32..=to.ceil() as i32 {
        for step in steps {
            let value = step * 10f64.powi(decade);
            let at = value.log10();
            if (from..=to).contains(&at) {
                ticks.push((at, short(&name(value))));
            }
        }
    }
    ticks
}

/// `1.00 ms` as `1 ms`: ticks are round.
fn short(text: &str) -> String {
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => text.to_owned(),
    }
}

/// Latency over time: of one run p50, p99 and the maximum; of several the p99 of each.
pub fn latency_over_time(runs: &[RunResult]) -> Option<Chart> {
    let mut lines = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let Some((_, stream)) = run.main_stream() else {
            continue;
        };
        let points = |value: fn(&crate::histogram::Summary) -> u64| {
            let seconds = stream.seconds.iter();
            seconds
                .map(|each| (each.second as f64, log(value(&each.summary) as f64)))
                .collect::<Vec<_>>()
        };
        let mut add = |name: &str, colour, points| {
            lines.push(Line {
                name: format!("{} {name}", run.label),
                colour,
                dashed: false,
                points,
            });
        };
        if runs.len() == 1 {
            add("p50", 0, points(|summary| summary.p50_ns));
            add("p99", 1, points(|summary| summary.p99_ns));
            add("maximum", 3, points(|summary| summary.max_ns));
        } else {
            add("p99", number, points(|summary| summary.p99_ns));
        }
    }
    let y = latency_axis(&lines);
    (!lines.is_empty()).then(|| Chart {
        title: "Latency over time, second by second".to_owned(),
        x: seconds_axis(last_second(runs)),
        y,
        lines,
        fields: Vec::new(),
    })
}

/// Bytes per second over time, produced and fetched.
pub fn throughput_over_time(runs: &[RunResult]) -> Option<Chart> {
    let mut lines = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        // What is answered behind the measured window is a part of a second.
        let within = |second: &&crate::result::Second| (second.second as f64) < run.seconds();
        let mut add = |name: &str, dashed, value: fn(&crate::result::Second) -> u64| {
            let seconds = run.per_second.iter().filter(within);
            let points = seconds.map(|each| (each.second as f64, value(each) as f64));
            let points: Vec<(f64, f64)> = points.collect();
            if points.iter().any(|point| point.1 > 0.0) {
                lines.push(Line {
                    name: format!("{} {name}", run.label),
                    colour: number,
                    dashed,
                    points,
                });
            }
        };
        add("produced", false, |second| second.produced_bytes);
        add("fetched", true, |second| second.fetched_bytes);
    }
    let most = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1);
    let most = most.fold(0.0, f64::max);
    (most > 0.0).then(|| Chart {
        title: "Throughput over time, second by second".to_owned(),
        x: seconds_axis(last_second(runs)),
        y: Axis {
            name: "bytes per second".to_owned(),
            from: 0.0,
            to: most * 1.08,
            ticks: round_ticks(most * 1.08, |value| match value {
                0.0 => "0".to_owned(),
                value => short(&bytes(value)),
            }),
        },
        lines,
        fields: Vec::new(),
    })
}

/// The end of the time axis, the same for all charts of the same runs.
fn last_second(runs: &[RunResult]) -> f64 {
    let streams = runs.iter().filter_map(RunResult::main_stream);
    let last = streams.filter_map(|(_, stream)| Some(stream.seconds.last()?.second + 1));
    let of_volume = runs
        .iter()
        .filter_map(|run| Some(run.per_second.last()?.second + 1));
    last.chain(of_volume).max().unwrap_or(1) as f64
}

fn seconds_axis(last: f64) -> Axis {
    Axis {
        name: "time since measuring began, in s".to_owned(),
        from: 0.0,
        to: last,
        ticks: round_ticks(last, |second| whole(second.round() as u64)),
    }
}

/// Some six round numbers from 0 on.
fn round_ticks(to: f64, name: impl Fn(f64) -> String) -> Vec<(f64, String)> {
    let raw = (to / 6.0).max(f64::MIN_POSITIVE);
    let decade = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * decade >= raw);
    let mut step = step.unwrap_or(10.0) * decade;
    // Seconds and records have no halves.
    if to >= 1.0 {
        step = step.max(1.0);
    }
    let ticks = (0..).map(|number: u32| f64::from(number) * step);
    let ticks = ticks.take_while(|at| *at <= to);
    ticks.map(|at| (at, name(at))).collect()
}

/// How many records had which latency in which second.
pub fn heat_map(run: &RunResult) -> Result<Option<Chart>, ResultError> {
    let Some((name, stream)) = run.main_stream() else {
        return Ok(None);
    };
    let (from, to) = around(
        [stream.summary.min_ns, stream.summary.max_ns]
            .into_iter()
            .map(|nanos| log(nanos as f64)),
        (5.0, 7.0),
    );
    let last = stream.seconds.last().map_or(0, |last| last.second) + 1;
    let per_column = last.div_ceil(HEAT_COLUMNS);
    let mut counts = vec![[0u64; HEAT_ROWS]; last.div_ceil(per_column) as usize];
    for second in &stream.seconds {
        let column = &mut counts[(second.second / per_column) as usize];
        let latencies = crate::result::unpack(&second.histogram)?;
        for value in latencies.histogram().iter_recorded() {
            let at = (log(value.value_iterated_to() as f64) - from) / (to - from);
            let row = ((at * HEAT_ROWS as f64) as usize).min(HEAT_ROWS - 1);
            column[row] += value.count_at_value();
        }
    }
    let ends = Ends {
        from,
        height: (to - from) / HEAT_ROWS as f64,
        width: per_column as f64,
    };
    Ok(Some(Chart {
        title: format!(
            "{}: {}, records by second and latency",
            run.label,
            long_name(name)
        ),
        x: seconds_axis(last as f64),
        y: Axis {
            name: "latency".to_owned(),
            from,
            to,
            ticks: log_ticks(from, to, time),
        },
        lines: Vec::new(),
        fields: fields(&counts, &ends),
    }))
}

/// Where a heat map's fields lie.
struct Ends {
    from: f64,
    height: f64,
    width: f64,
}

/// The fields with something in them; heat is logarithmic, for the few slow ones are what matters.
fn fields(counts: &[[u64; HEAT_ROWS]], ends: &Ends) -> Vec<Field> {
    let most = counts.iter().flatten().max().copied().unwrap_or(0);
    let scale = (most as f64 + 1.0).ln();
    let mut fields = Vec::new();
    for (column, rows) in counts.iter().enumerate() {
        for (row, count) in rows.iter().enumerate().filter(|(_, count)| **count > 0) {
            let left = column as f64 * ends.width;
            let low = ends.from + row as f64 * ends.height;
            fields.push(Field {
                from: (left, low),
                to: (left + ends.width, low + ends.height),
                heat: (*count as f64 + 1.0).ln() / scale,
            });
        }
    }
    fields
}

/// The steps of a search by rate; of one that was tried again the median.
fn curve_of(search: &Found) -> Vec<(f64, f64)> {
    let mut by_rate: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for step in search.steps.iter().filter(|step| step.latency_ns > 0) {
        by_rate.entry(step.rate).or_default().push(step.latency_ns);
    }
    let median = |(rate, mut latencies): (u64, Vec<u64>)| {
        latencies.sort_unstable();
        let median = latencies[latencies.len() / 2];
        (log(rate as f64), log(median as f64))
    };
    by_rate.into_iter().map(median).collect()
}

/// Latency over rate, for each broker that was saturated, and its bound.
pub fn saturation(found: &[Saturation]) -> Option<Chart> {
    let mut lines = Vec::new();
    for (number, one) in found.iter().enumerate() {
        for (repeat, search) in (1..).zip(&one.searches) {
            let points = curve_of(search);
            let colour = if found.len() == 1 { repeat - 1 } else { number };
            lines.push(Line {
                name: format!("{} p{}, search {repeat}", one.broker, one.percentile),
                colour,
                dashed: false,
                points,
            });
        }
    }
    let (from, to) = around(
        lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.0),
        (3.0, 5.0),
    );
    let bounds = found.iter().map(|one| Line {
        name: format!("bound of {}", time(one.bound_ns as f64)),
        colour: FLOOR_COLOUR,
        dashed: true,
        points: vec![
            (from, log(one.bound_ns as f64)),
            (to, log(one.bound_ns as f64)),
        ],
    });
    let bounds: Vec<Line> = bounds.take(1).collect();
    lines.extend(bounds);
    let y = latency_axis(&lines);
    (!found.is_empty()).then(|| Chart {
        title: "Latency over rate".to_owned(),
        x: Axis {
            name: "records per second that were due".to_owned(),
            from,
            to,
            ticks: log_ticks(from, to, |rate| whole(rate.round() as u64)),
        },
        y,
        lines,
        fields: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests_of_results::result_of;

    #[test]
    fn a_percentile_curve_passes_through_its_percentiles() {
        let mut latencies = Latencies::new();
        latencies.record(1_000, 990);
        latencies.record(1_000_000, 10);
        let points = curve(&latencies, nines_of(1_000));
        assert_eq!(points.first(), Some(&(0.0, 3.0)));
        let at = |nines: f64| {
            let point = points.iter().find(|point| (point.0 - nines).abs() < 1e-9);
            point.expect("nines are points").1
        };
        // 99 % of all are at most 1 us; of the last hundredth all are 1 ms.
        assert!(
            (at(1.0) - 3.0).abs() < 0.01 && (at(3.0) - 6.0).abs() < 0.01,
            "{points:?}"
        );
        assert!((points.last().expect("there are some").0 - 3.0).abs() < 1e-9);
    }

    #[test]
    fn ticks_are_round_and_few() {
        let names = |ticks: Vec<(f64, String)>| -> Vec<String> {
            ticks.into_iter().map(|tick| tick.1).collect()
        };
        assert_eq!(
            names(log_ticks(5.9, 7.1, time)),
            ["1 ms", "2 ms", "5 ms", "10 ms"]
        );
        assert_eq!(names(log_ticks(3.0, 9.0, time)).len(), 7);
        let seconds = names(round_ticks(60.0, |at| at.to_string()));
        assert_eq!(seconds, ["0", "10", "20", "30", "40", "50", "60"]);
        assert_eq!(
            names(round_ticks(2.0, |at| at.to_string())),
            ["0", "1", "2"]
        );
    }

    #[test]
    fn heat_lies_where_the_records_are() {
        let run = result_of("a", 0, &[(0, 1_000, 1), (2, 1_000_000, 1_000)]);
        let map = heat_map(&run)
            .expect("it is sound")
            .expect("there is something");
        assert_eq!(map.fields.len(), 2);
        let (cold, hot) = (map.fields[0], map.fields[1]);
        assert_eq!((cold.from.0, hot.from.0), (0.0, 2.0));
        assert!(cold.from.1 <= 3.0 && 3.0 <= cold.to.1, "{cold:?}");
        assert!(hot.from.1 <= 6.01 && 5.99 <= hot.to.1, "{hot:?}");
        assert!(cold.heat < hot.heat && hot.heat > 0.99);
    }

    #[test]
    fn a_run_of_hours_has_no_more_columns_than_fit() {
        let seconds: Vec<_> = (0..1_001).map(|second| (second, 1_000, 1)).collect();
        let map = heat_map(&result_of("a", 0, &seconds))
            .expect("sound")
            .expect("something");
        assert!(map.fields.len() <= HEAT_COLUMNS as usize);
    }
}
