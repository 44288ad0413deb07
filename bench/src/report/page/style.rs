//! The page's colours and its style sheet. Lines are coloured by Okabe and Ito's palette, heat by
//! cividis: eyes of every kind tell them apart, and they stand out on light pages and dark ones.

/// Okabe and Ito's palette, without black (a dark page) and yellow (a light one).
const LINES: [[u8; 3]; 6] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
];

/// Five stops of cividis.
const HEAT: [[f64; 3]; 5] = [
    [0.0, 34.0, 78.0],
    [65.0, 77.0, 107.0],
    [124.0, 123.0, 120.0],
    [188.0, 175.0, 111.0],
    [254.0, 232.0, 56.0],
];

/// The colour of a line; they come again after six.
pub fn colour(number: usize) -> [u8; 3] {
    LINES[number % LINES.len()]
}

/// The colour of a heat from 0 to 1.
pub fn heat(part: f64) -> [u8; 3] {
    let at = part.clamp(0.0, 1.0) * (HEAT.len() - 1) as f64;
    let below = (at as usize).min(HEAT.len() - 2);
    let rest = at - below as f64;
    let mut mixed = [0; 3];
    for (index, channel) in mixed.iter_mut().enumerate() {
        let (from, to) = (HEAT[below][index], HEAT[below + 1][index]);
        *channel = (from + (to - from) * rest).round() as u8;
    }
    mixed
}

/// The style sheet.
pub const SHEET: &str = r#"
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --page: #ffffff;
  --card: #f6f8fa; --line: #d0d7de; --bad: #9a3412; --bad-page: #fff4ed; --good: #00614a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4af; --page: #0f1317;
  --card: #181d23; --line: #343b44; --bad: #ffb38a; --bad-page: #33200f; --good: #4fd1ab; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 940px; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.45rem; line-height: 1.3; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid var(--line);
  padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p.where, p.note, figcaption { color: var(--soft); font-size: .9rem; margin: .2rem 0; }
ul.warnings { background: var(--bad-page); color: var(--bad); border-left: 4px solid var(--bad);
  padding: .6rem 1rem .6rem 2rem; margin: 1rem 0; border-radius: 4px; }
p.verdict { margin: .3rem 0; }
.better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
.noise { color: var(--soft); }
.scroll { overflow-x: auto; margin: .4rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums;
  min-width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 600; }
table.settings td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
tr.differs td { font-weight: 600; }
figure { margin: 1.4rem 0 0; }
figcaption { color: var(--ink); font-weight: 600; }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0;
  margin: .3rem 0; font-size: .88rem; }
ul.legend i { display: inline-block; width: 1.6rem; vertical-align: middle; margin-right: .4rem; }
.scale { display: inline-block; width: 9rem; height: .7rem; vertical-align: middle;
  margin: 0 .5rem; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); font-family: inherit; }
svg rect { shape-rendering: crispEdges; }
svg.narrow { display: none; }
details { margin-top: 1rem; } summary { cursor: pointer; color: var(--soft); }
code { font-size: .88em; overflow-wrap: anywhere; }
@media (max-width: 640px) { svg.wide { display: none; } svg.narrow { display: block; }
  body { padding: 1rem .7rem 3rem; } h1 { font-size: 1.2rem; } th, td { padding: .3rem .4rem; } }
@media print { body { max-width: none; } }
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_goes_from_dark_to_bright() {
        assert_eq!(heat(0.0), [0, 34, 78]);
        assert_eq!(heat(1.0), [254, 232, 56]);
        let brightness = |part| {
            heat(part)
                .iter()
                .map(|channel| u32::from(*channel))
                .sum::<u32>()
        };
        let steps: Vec<u32> = (0..=20)
            .map(|step| brightness(f64::from(step) / 20.0))
            .collect();
        assert!(steps.is_sorted(), "{steps:?}");
    }
}
