//! Charts as SVG, drawn by `plotters`: lines over an axis with named ticks, and heat maps. Each is
//! drawn twice, wide and narrow, for a wide one scaled down to a phone has letters of two
//! millimetres; the page's style sheet shows the one that fits.

use std::fmt::Write as _;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

use super::style::colour;

const WIDE: (u32, u32) = (860, 360);
const NARROW: (u32, u32) = (400, 320);
const FONT: &str = "sans-serif";
/// Neutral enough for a light page and a dark one; the style sheet colours the letters.
const GRID: RGBColor = RGBColor(128, 128, 128);
const DASH_PX: i32 = 6;
/// Names of ticks are legible so far apart: `99.999 %` below, a line of letters on the left.
const X_TICKS_PX: f64 = 66.0;
const Y_TICKS_PX: f64 = 26.0;

/// An axis: its ends, and what stands at its ticks.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with the unit.
    pub name: String,
    /// Its left or lower end.
    pub from: f64,
    /// Its right or upper end.
    pub to: f64,
    /// Where ticks are, and what they say.
    pub ticks: Vec<(f64, String)>,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// Which colour: lines that belong together have one number.
    pub colour: usize,
    /// Broken, as bounds and floors are.
    pub dashed: bool,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// A field of a heat map: two corners and how hot it is, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Lower left.
    pub from: (f64, f64),
    /// Upper right.
    pub to: (f64, f64),
    /// From 0 to 1.
    pub heat: f64,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// For readers who cannot see it.
    pub title: String,
    /// The lower axis.
    pub x: Axis,
    /// The left axis.
    pub y: Axis,
    /// Lines.
    pub lines: Vec<Line>,
    /// Fields, below the lines.
    pub fields: Vec<Field>,
}

/// A drawing that failed: a bug, told in the page instead of the chart.
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Chart {
    /// Both sizes, and the legend, as HTML.
    pub fn html(&self) -> String {
        let mut html = format!("<figure><figcaption>{}</figcaption>\n", escape(&self.title));
        html += &self.legend();
        for (class, size) in [("wide", WIDE), ("narrow", NARROW)] {
            let mut svg = String::new();
            match self.draw(&mut svg, size) {
                Ok(()) => {
                    let label = escape(&self.title);
                    let tag = format!("<svg class=\"{class}\" role=\"img\" aria-label=\"{label}\"");
                    // Within HTML the name space goes without saying.
                    let svg = svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
                    html += &svg.replacen("<svg", &tag, 1);
                }
                Err(error) => html += &format!("<p>{}</p>", escape(&error.to_string())),
            }
        }
        html + "</figure>\n"
    }

    fn legend(&self) -> String {
        if self.lines.is_empty() {
            return String::new();
        }
        let mut html = "<ul class=\"legend\">".to_owned();
        for line in &self.lines {
            let [r, g, b] = colour(line.colour);
            let kind = if line.dashed { "dashed" } else { "solid" };
            let name = escape(&line.name);
            // Writing to a string cannot fail.
            let _ = write!(
                html,
                "<li><i style=\"border-top:3px {kind} rgb({r},{g},{b})\"></i>{name}</li>"
            );
        }
        html + "</ul>\n"
    }

    fn draw(&self, svg: &mut String, size: (u32, u32)) -> Drawn {
        let narrow = size.0 < WIDE.0;
        let font = if narrow { 14 } else { 15 };
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        let x_ticks = apart(&self.x, X_TICKS_PX / f64::from(size.0));
        let y_ticks = apart(&self.y, Y_TICKS_PX / f64::from(size.1));
        let mut chart = ChartBuilder::on(&root)
            .margin_top(8)
            .margin_right(if narrow { 30 } else { 40 })
            .margin_left(4)
            .x_label_area_size(46)
            .y_label_area_size(if narrow { 66 } else { 82 })
            .build_cartesian_2d(Scale::of(&self.x, &x_ticks), Scale::of(&self.y, &y_ticks))?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.mix(0.25))
            .axis_style(GRID.mix(0.8))
            .label_style((FONT, font))
            .axis_desc_style((FONT, font))
            .x_label_formatter(&|at| name_of(&x_ticks, *at))
            .y_label_formatter(&|at| name_of(&y_ticks, *at))
            .x_desc(self.x.name.as_str())
            .y_desc(self.y.name.as_str())
            .draw()?;
        chart.draw_series(self.fields.iter().map(|field| {
            let [r, g, b] = super::style::heat(field.heat);
            Rectangle::new([field.from, field.to], RGBColor(r, g, b).filled())
        }))?;
        for line in &self.lines {
            let [r, g, b] = colour(line.colour);
            let style = RGBColor(r, g, b).stroke_width(2);
            let points = line.points.iter().copied();
            if line.dashed {
                chart.draw_series(DashedLineSeries::new(points, DASH_PX, DASH_PX, style))?;
            } else if line.points.len() == 1 {
                let dot = |at| Circle::new(at, 3, RGBColor(r, g, b).filled());
                chart.draw_series(points.map(dot))?;
            } else {
                chart.draw_series(LineSeries::new(points, style))?;
            }
        }
        root.present()?;
        Ok(())
    }
}

/// An axis as `plotters` wants it: evenly from end to end, with our ticks instead of its own.
struct Scale {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Scale {
    fn of(axis: &Axis, ticks: &[(f64, String)]) -> Scale {
        Scale {
            from: axis.from,
            to: axis.to,
            ticks: ticks.iter().map(|tick| tick.0).collect(),
        }
    }
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let length = (self.to - self.from).max(f64::MIN_POSITIVE);
        let part = (value.clamp(self.from, self.to) - self.from) / length;
        low + (f64::from(high - low) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

/// The ticks that lie at least that part of the axis behind the one before.
fn apart(axis: &Axis, part: f64) -> Vec<(f64, String)> {
    let least = (axis.to - axis.from) * part;
    let mut kept: Vec<(f64, String)> = Vec::new();
    for tick in &axis.ticks {
        if kept.last().is_none_or(|last| tick.0 - last.0 >= least) {
            kept.push(tick.clone());
        }
    }
    kept
}

fn name_of(ticks: &[(f64, String)], at: f64) -> String {
    let found = ticks.iter().find(|tick| (tick.0 - at).abs() < 1e-9);
    found.map(|tick| tick.1.clone()).unwrap_or_default()
}

/// Text that is no HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_names_its_axes_and_ticks_in_both_sizes() {
        let axis = |name: &str, tick: &str| Axis {
            name: name.to_owned(),
            from: 0.0,
            to: 2.0,
            ticks: vec![(0.0, "none".to_owned()), (1.0, tick.to_owned())],
        };
        let chart = Chart {
            title: "a <chart>".to_owned(),
            x: axis("percentile", "90 %"),
            y: axis("latency", "10 ms"),
            lines: vec![Line {
                name: "spate & co".to_owned(),
                colour: 0,
                dashed: false,
                points: vec![(0.0, 1.0), (2.0, 2.0)],
            }],
            fields: Vec::new(),
        };
        let html = chart.html();
        assert_eq!(html.matches("<svg").count(), 2);
        for text in [
            "percentile",
            "90 %",
            "latency",
            "10 ms",
            "spate &amp; co",
            "a &lt;chart&gt;",
        ] {
            assert!(html.contains(text), "{text} is missing in {html}");
        }
        assert!(html.contains("<polyline"), "{html}");
    }

    #[test]
    fn ticks_are_thinned_and_keep_their_names() {
        let axis = Axis {
            name: String::new(),
            from: 0.0,
            to: 10.0,
            ticks: [0.0, 0.3, 1.0, 2.0, 3.0, 10.0]
                .map(|at| (at, at.to_string()))
                .into(),
        };
        let thin = apart(&axis, 0.1);
        let names: Vec<&str> = thin.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(names, ["0", "1", "2", "3", "10"]);
        assert_eq!(name_of(&thin, 2.0), "2");
    }
}
