//! Tables and figures for people.

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use std::fmt::Display;

/// A table with these columns; those named with a leading `>` are right-aligned.
#[must_use]
pub fn new(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.trim_start_matches('>')));
    for (index, column) in columns.iter().enumerate() {
        if let Some(target) = table.column_mut(index) {
            target.set_padding((0, 2));
            if column.starts_with('>') {
                target.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

/// The table as lines without blanks at their ends.
#[must_use]
pub fn text(table: &Table) -> String {
    let lines: Vec<String> =
        table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A figure, or `-` if it is not known.
#[must_use]
pub fn figure(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A figure with `digits` decimals, or `-`.
#[must_use]
pub fn decimals(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A bit rate: `64.0k`.
#[must_use]
pub fn rate(bps: Option<u64>) -> String {
    bps.map_or_else(|| "-".to_owned(), |bps| scaled(bps, 1000))
}

/// A number with a scale letter: `1.5k`, `20.1M`.
#[must_use]
pub fn scaled(value: u64, from: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let exact = value as f64;
    match value {
        _ if value < from => value.to_string(),
        0..1_000_000 => format!("{:.1}k", exact / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", exact / 1e6),
        _ => format!("{:.1}G", exact / 1e9),
    }
}

/// A duration: `0:07.4`, `12:05`, `1:02:03`.
#[must_use]
pub fn duration(ms: Option<u64>) -> String {
    let Some(ms) = ms else { return "-".to_owned() };
    let (seconds, minutes, hours) = (ms / 1000 % 60, ms / 60_000 % 60, ms / 3_600_000);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else if minutes > 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("0:{seconds:02}.{}", ms / 100 % 10)
    }
}

/// A time of day with its date, in the zone of this machine.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Loss as a share of what was expected: `0.0 %`.
#[must_use]
pub fn loss(lost: u64, expected: u64) -> String {
    if expected == 0 {
        return "-".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let percent = lost as f64 * 100.0 / expected as f64;
    format!("{percent:.1} %")
}

/// A number with its noun: `1 call`, `2 calls`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(duration(Some(7_449)), "0:07.4");
        assert_eq!(duration(Some(725_000)), "12:05");
        assert_eq!(duration(Some(3_723_000)), "1:02:03");
        assert_eq!(duration(None), "-");
        assert_eq!(rate(Some(64_000)), "64.0k");
        assert_eq!(rate(Some(999)), "999");
        assert_eq!(scaled(9_999, 10_000), "9999");
        assert_eq!(scaled(20_100_000, 10_000), "20.1M");
        assert_eq!(scaled(2_000_000_000, 10_000), "2.0G");
        assert_eq!(loss(1, 1000), "0.1 %");
        assert_eq!(loss(0, 0), "-");
        assert_eq!(decimals(Some(4.374), 2), "4.37");
        assert_eq!(figure(None::<u8>), "-");
    }

    #[test]
    fn tables_have_a_header_and_no_frame() {
        let mut table = new(&["id", ">ms"]);
        table.add_row(["a", "12345"]);
        let text = text(&table);
        assert!(!text.contains('|'));
        assert!(text.lines().all(|line| line == line.trim_end()));
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
