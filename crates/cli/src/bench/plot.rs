//! Throughput and latency over time, as a picture.
//!
//! In: points. Out: an SVG with two panels above one another, axes and all, which every browser
//! shows. Written by hand: two lines need no library.

use super::messages::Point;
use super::report::Report;
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 220.0;
/// Around each panel, for what stands beside the axes.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const ABOVE: f64 = 40.0;
const BELOW: f64 = 40.0;
/// Lines across a panel.
const STEPS: u32 = 4;

/// A line of a panel.
struct Series {
    name: &'static str,
    colour: &'static str,
    of: fn(&Point) -> f64,
}

/// One panel.
struct Panel<'a> {
    title: String,
    top: f64,
    series: &'a [Series],
}

/// `report` as an SVG.
pub(crate) fn of(report: &Report) -> String {
    let throughput = [Series {
        name: "records/s",
        colour: "#1f77b4",
        of: |point| point.per_second,
    }];
    let latency = [
        Series {
            name: "p99",
            colour: "#d62728",
            of: |point| point.p99_ms,
        },
        Series {
            name: "p50",
            colour: "#2ca02c",
            of: |point| point.p50_ms,
        },
    ];
    let what = report.kind;
    let mut panels = vec![Panel {
        title: format!("bench {what}: records a second"),
        top: ABOVE,
        series: &throughput,
    }];
    if report.ack_ms.is_some() {
        panels.push(Panel {
            title: "milliseconds until the acknowledgement".to_owned(),
            top: ABOVE * 2.0 + PANEL + BELOW,
            series: &latency,
        });
    }
    let height = panels.len() as f64 * (ABOVE + PANEL + BELOW);
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _written = write(&mut svg, &panels, &report.points, height).is_ok();
    svg
}

fn write(
    svg: &mut String,
    panels: &[Panel<'_>],
    points: &[Point],
    height: f64,
) -> std::fmt::Result {
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    )?;
    let end = points.iter().map(|point| point.seconds).fold(0.0, f64::max);
    for panel in panels {
        let values = panel.series.iter().flat_map(|it| points.iter().map(it.of));
        let top = ceiling(values.fold(0.0, f64::max));
        panel.axes(svg, end, top)?;
        panel.lines(svg, points, end, top)?;
    }
    writeln!(svg, "</svg>")
}

// === impl Panel ===

impl Panel<'_> {
    fn axes(&self, svg: &mut String, end: f64, top: f64) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, self.top + PANEL);
        let title = self.top - 14.0;
        writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{title}\" font-size=\"14\">{}</text>",
            self.title
        )?;
        for step in 0..=STEPS {
            let share = f64::from(step) / f64::from(STEPS);
            let y = bottom - share * PANEL;
            let x = LEFT + share * (right - LEFT);
            writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
                 <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{:.1} s</text>",
                LEFT - 6.0,
                y + 4.0,
                short(share * top),
                bottom + 18.0,
                share * end
            )?;
        }
        for (place, series) in self.series.iter().enumerate() {
            let x = right - 40.0 - 60.0 * place as f64;
            writeln!(
                svg,
                "<text x=\"{x}\" y=\"{title}\" text-anchor=\"middle\" fill=\"{}\">{}</text>",
                series.colour, series.name
            )?;
        }
        Ok(())
    }

    fn lines(&self, svg: &mut String, points: &[Point], end: f64, top: f64) -> std::fmt::Result {
        let (width, bottom) = (WIDTH - LEFT - RIGHT, self.top + PANEL);
        for series in self.series {
            write!(
                svg,
                "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"{}\" points=\"",
                series.colour
            )?;
            for point in points {
                let x = LEFT + point.seconds / end * width;
                let y = bottom - (series.of)(point) / top * PANEL;
                write!(svg, "{x:.1},{y:.1} ")?;
            }
            writeln!(svg, "\"/>")?;
        }
        Ok(())
    }
}

/// The next round number above `value`, at which an axis can end.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    let fits = steps.iter().map(|step| step * power);
    fits.into_iter().find(|end| *end >= value).unwrap_or(value)
}

fn short(value: f64) -> String {
    if value >= 1_000_000.0 {
        format!("{:.2} M", value / 1e6)
    } else if value >= 1_000.0 {
        format!("{:.0} k", value / 1e3)
    } else if value >= 10.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_above_everything() {
        for (value, end) in [(0.0, 1.0), (0.7, 0.8), (1.0, 1.0), (123_456.0, 200_000.0)] {
            assert!((ceiling(value) - end).abs() < 1e-9, "{value}");
        }
        assert_eq!(
            [0.0, 2.5, 25.0, 150_000.0, 1_250_000.0].map(short),
            ["0", "2.50", "25", "150 k", "1.25 M"]
        );
    }
}
