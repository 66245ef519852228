//! The growth as a picture: time per event and memory per object over the number of objects.

use super::growth::{Point, Series};
use std::fmt::Write;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 60.0;
const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];

type Get = fn(&Point) -> f64;

/// An SVG with two panels; the numbers of objects are on a logarithmic axis.
pub(super) fn svg(series: &[Series]) -> String {
    let panels: [(&str, Get); 2] = [
        ("µs of CPU per event", |point| point.cpu_us_per_event),
        ("octets per object", |point| point.bytes_per_object),
    ];
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n",
        2.0 * (WIDTH + MARGIN),
        HEIGHT + 2.0 * MARGIN
    );
    for (place, (title, get)) in panels.into_iter().enumerate() {
        let left = MARGIN + place as f64 * (WIDTH + MARGIN);
        panel(&mut out, left, title, get, series);
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, left: f64, title: &str, get: Get, series: &[Series]) {
    let points = || series.iter().flat_map(|series| &series.points);
    let highest = points().map(get).fold(1.0, f64::max);
    let log = |objects: u64| (objects.max(1) as f64).log10();
    let last = points().map(|point| log(point.objects)).fold(1.0, f64::max);
    let first = points().map(|point| log(point.objects)).fold(last, f64::min);
    let x =
        |objects: u64| left + (log(objects) - first) / (last - first).max(0.1) * (WIDTH - MARGIN);
    let y = |value: f64| MARGIN + HEIGHT - value.max(0.0) / highest * (HEIGHT - 20.0);
    let bottom = MARGIN + HEIGHT;
    let right = left + WIDTH - MARGIN;
    let _ = writeln!(out, "<text x=\"{left}\" y=\"{}\">{title}</text>", MARGIN - 10.0);
    let _ = writeln!(
        out,
        "<path d=\"M{left} {MARGIN}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>"
    );
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{highest:.0}</text>",
        left - 4.0,
        y(highest) + 4.0
    );
    for (line, (series, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let path: String = series
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1} ", x(point.objects), y(get(point))))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.trim_end()
        );
        for point in &series.points {
            let (x, y) = (x(point.objects), y(get(point)));
            let _ = writeln!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{colour}\">{:.0}</text>\
                 <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
                y - 6.0,
                get(point),
                bottom + 16.0,
                point.objects
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{left}\" y=\"{:.0}\" fill=\"{colour}\">{}</text>",
            bottom + 34.0 + 14.0 * line as f64,
            series.name
        );
    }
}
