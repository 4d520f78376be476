//! The picture: cost against the number of Services, both on logarithmic scales. The same results always give the same
//! bytes.

use std::fmt::Write as _;

use super::results::{Cost, Results, System};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 460.0;
/// The size of the plot in a panel, without labels.
const PLOT_WIDTH: f64 = 340.0;
const PLOT_HEIGHT: f64 = 290.0;
const TOP: f64 = 70.0;

/// Decades of the horizontal axis: numbers of Services.
const SERVICES: (f64, f64) = (2.0, 5.0);

/// The systems that have lines: with colours that are visible on white and on black, and marks that differ without
/// colour.
const LINES: [(System, &str, &str); 3] = [
    (System::ShapeA, "#d1495b", "older kube-proxy (A)"),
    (System::ShapeB, "#d9822b", "kube-proxy 1.36 (B)"),
    (System::Portolan, "#2a9d6f", "Portolan"),
];

/// Readable on white and on black.
const INK: &str = "#7a828c";

struct Panel {
    left: f64,
    title: &'static str,
    /// Decades of the vertical axis, in seconds.
    seconds: (f64, f64),
    value: fn(&Cost) -> Option<f64>,
}

const PANELS: [Panel; 2] = [
    Panel {
        left: 90.0,
        title: "One endpoint changed: time to the kernel",
        seconds: (-6.0, 1.0),
        value: |cost| cost.change,
    },
    Panel {
        left: 570.0,
        title: "Cold start: time until all rules are loaded",
        seconds: (-4.0, 3.0),
        value: |cost| cost.load,
    },
];

/// Draws the results.
pub fn svg(results: &Results) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"{INK}\">\n\
         <title>Cost against the number of Services: one changed endpoint, and a cold start</title>\n"
    );
    for panel in &PANELS {
        panel.draw(results, &mut out);
    }
    legend(&mut out);
    let machine = escape(&results.machine);
    // Writing into a `String` does not fail.
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11.5\">5 endpoints a Service. kube-proxy: its \
         rules for the same Services, loaded with nft -f. {machine}</text>\n</svg>",
        WIDTH / 2.0,
        HEIGHT - 10.0
    );
    out
}

impl Panel {
    fn x(&self, services: f64) -> f64 {
        self.left + (services.log10() - SERVICES.0) / (SERVICES.1 - SERVICES.0) * PLOT_WIDTH
    }

    fn y(&self, seconds: f64) -> f64 {
        let (low, high) = self.seconds;
        TOP + (high - seconds.log10()) / (high - low) * PLOT_HEIGHT
    }

    fn draw(&self, results: &Results, out: &mut String) {
        let middle = self.left + PLOT_WIDTH / 2.0;
        let (left, right, bottom) = (self.left, self.left + PLOT_WIDTH, TOP + PLOT_HEIGHT);
        let _ = writeln!(
            out,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"15\" font-weight=\"600\">{}</text>",
            TOP - 16.0,
            self.title
        );
        for decade in self.seconds.0 as i32..=self.seconds.1 as i32 {
            let y = self.y(10f64.powi(decade));
            let _ = writeln!(
                out,
                "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"{INK}\" stroke-opacity=\"0.3\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                y + 4.5,
                duration(decade)
            );
        }
        for decade in SERVICES.0 as i32..=SERVICES.1 as i32 {
            let x = self.x(10f64.powi(decade));
            let _ = writeln!(
                out,
                "<path d=\"M{x:.1} {TOP}V{bottom:.1}\" stroke=\"{INK}\" stroke-opacity=\"0.3\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 19.0,
                number(decade)
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">Services</text>",
            bottom + 38.0
        );
        for (system, colour, _) in LINES {
            self.line(results, system, colour, out);
        }
    }

    fn line(&self, results: &Results, system: System, colour: &str, out: &mut String) {
        let rows = results.rows.iter().filter(|row| row.system == system);
        let points: Vec<_> = rows
            .filter_map(|row| Some((self.x(f64::from(row.services)), self.y((self.value)(&row.cost)?))))
            .collect();
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        if path.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-linejoin=\"round\"/>",
            path.join("L")
        );
        for (x, y) in points {
            let _ = writeln!(out, "{}", mark(system, colour, x, y));
        }
    }
}

fn legend(out: &mut String) {
    for (i, (system, colour, label)) in LINES.iter().rev().enumerate() {
        let x = 270.0 + 170.0 * i as f64;
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} 22H{:.1}\" stroke=\"{colour}\" stroke-width=\"2.5\"/>{}\
             <text x=\"{:.1}\" y=\"26.5\">{label}</text>",
            x - 14.0,
            x + 14.0,
            mark(*system, colour, x, 22.0),
            x + 22.0
        );
    }
}

/// A circle, a square or a triangle.
fn mark(system: System, colour: &str, x: f64, y: f64) -> String {
    match system {
        System::ShapeB => {
            format!("<path d=\"M{:.1} {:.1}h8v8h-8z\" fill=\"{colour}\"/>", x - 4.0, y - 4.0)
        }
        System::ShapeA => {
            format!("<path d=\"M{x:.1} {:.1}l5 9h-10z\" fill=\"{colour}\"/>", y - 5.5)
        }
        _ => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"/>"),
    }
}

/// A power of ten seconds.
fn duration(decade: i32) -> String {
    let (unit, decade) = match decade {
        ..=-4 => ("µs", decade + 6),
        -3..=-1 => ("ms", decade + 3),
        _ => ("s", decade),
    };
    format!("{} {unit}", number(decade))
}

/// A power of ten, with a thousands separator.
fn number(decade: i32) -> String {
    let digits = "1".to_owned() + &"0".repeat(usize::try_from(decade).unwrap_or(0));
    if digits.len() > 3 {
        let (thousands, rest) = digits.split_at(digits.len() - 3);
        return format!("{thousands},{rest}");
    }
    digits
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Row;

    fn results() -> Results {
        let row = |services, system, load, change| Row {
            services,
            system,
            cost: Cost { load, change, ..Cost::default() },
        };
        Results {
            machine: "a & b <c>".into(),
            rows: vec![
                row(100, System::Portolan, Some(1e-3), Some(1e-5)),
                row(100, System::ShapeB, Some(1e-1), Some(1e-2)),
                row(100_000, System::Portolan, Some(1.0), Some(1e-5)),
                row(100_000, System::ShapeB, None, None),
            ],
        }
    }

    #[test]
    fn the_same_results_draw_the_same_picture_also_after_a_file() {
        let text = serde_json::to_string(&results()).unwrap();
        let read: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(svg(&results()), svg(&read));
    }

    #[test]
    fn a_flat_line_is_flat_and_what_was_not_measured_is_not_drawn() {
        let svg = svg(&results());
        let flat = "<path d=\"M90.0 318.6L430.0 318.6\"";
        assert!(svg.contains(flat), "no {flat} in {svg}");
        assert_eq!(svg.matches('L').count(), 2, "two lines of two points: {svg}");
        assert!(svg.contains("a &amp; b &lt;c>"));
    }
}
