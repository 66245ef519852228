//! The live screen.

use super::EVERY;
use super::frame::{COLUMNS, Frame};
use crate::cli::{CliError, CliResult, Daemon};
use ratatui::Frame as Canvas;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState};
use std::io;
use std::time::Instant;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Quit,
    Up,
    Down,
    Nothing,
}

/// Shows frames until `q`; the terminal is put back whatever happens.
pub(super) fn run(daemon: &Daemon, first: Frame) -> CliResult {
    let mut terminal = ratatui::try_init().map_err(terminal_error)?;
    let result = show(daemon, first, &mut terminal);
    ratatui::restore();
    result
}

fn terminal_error(error: io::Error) -> CliError {
    CliError::failed(format!(
        "this terminal cannot show a live screen: {error}; use `tandem top --once`"
    ))
}

fn show(daemon: &Daemon, mut frame: Frame, terminal: &mut ratatui::DefaultTerminal) -> CliResult {
    let mut state = TableState::default().with_selected(Some(0));
    let mut due = Instant::now() + EVERY;
    loop {
        terminal.draw(|canvas| draw(canvas, &frame, &mut state)).map_err(terminal_error)?;
        let left = due.saturating_duration_since(Instant::now());
        if event::poll(left).map_err(terminal_error)? {
            match wish(&event::read().map_err(terminal_error)?) {
                Wish::Quit => return Ok(()),
                Wish::Up => state.select_previous(),
                Wish::Down => state.select_next(),
                Wish::Nothing => {}
            }
        } else {
            frame = Frame::look(daemon)?.since(&frame);
            due = Instant::now() + EVERY;
        }
    }
}

fn wish(event: &Event) -> Wish {
    let Event::Key(key) = event else { return Wish::Nothing };
    if key.kind == KeyEventKind::Release {
        return Wish::Nothing;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Up | KeyCode::Char('k') => Wish::Up,
        KeyCode::Down | KeyCode::Char('j') => Wish::Down,
        _ => Wish::Nothing,
    }
}

fn draw(canvas: &mut Canvas<'_>, frame: &Frame, state: &mut TableState) {
    let head = wrapped(&frame.head(), canvas.area().width.into());
    // However narrow it is, half of the screen is for the legs.
    let most = canvas.area().height / 2;
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX).saturating_add(1).min(most);
    let [top, rest] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(canvas.area());
    let lines: Vec<Line<'_>> = head.into_iter().map(Line::from).collect();
    canvas.render_widget(Paragraph::new(lines).block(Block::new().borders(Borders::BOTTOM)), top);
    canvas.render_stateful_widget(legs(frame, rest.width), rest, state);
}

/// The lines of the head, broken between words where the terminal ends.
fn wrapped(head: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for text in head {
        lines.push(String::new());
        for word in text.split(' ') {
            let Some(line) = lines.last_mut() else { continue };
            if line.is_empty() {
                line.push_str(word);
            } else if line.chars().count() + 1 + word.chars().count() <= width {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(format!("  {word}"));
            }
        }
    }
    lines
}

/// The widest that a column becomes: texts end there, figures are always whole.
const WIDEST: [usize; 11] = [20, 9, 22, 9, 12, 20, 20, 20, 20, 20, 20];

/// Columns in the order in which a narrow terminal goes without them: the party, the leg, the rate
/// of packets and the MOS stay longest.
const DISPENSABLE: [usize; 10] = [0, 4, 3, 8, 9, 7, 6, 2, 5, 1];

/// The table of the legs, with the columns that fit into `width`.
fn legs(frame: &Frame, width: u16) -> Table<'static> {
    let rows = frame.rows();
    let (shown, widths) = columns(&rows, width.into());
    let style = Style::new().add_modifier(Modifier::BOLD);
    let header = Row::new(shown.iter().map(|&index| {
        let name = COLUMNS[index].trim_start_matches('>');
        if is_figure(index) { Text::from(name).right_aligned() } else { Text::from(name) }
    }));
    let rows = rows.into_iter().map(|mut row| {
        let colour = colour(&row[10]);
        Row::new(shown.clone().into_iter().map(move |index| {
            let text = Text::from(std::mem::take(&mut row[index]));
            let text = if is_figure(index) { text.right_aligned() } else { text };
            Cell::from(text).style(if index == 10 { colour } else { Style::new() })
        }))
    });
    Table::new(rows, widths.into_iter().map(Constraint::Length))
        .header(header.style(style))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
}

fn is_figure(column: usize) -> bool {
    COLUMNS[column].starts_with('>')
}

/// The columns that fit, and how wide each is.
fn columns(rows: &[[String; 11]], width: usize) -> (Vec<usize>, Vec<u16>) {
    let of_column = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        let name = COLUMNS[column].trim_start_matches('>').len();
        cells.fold(name, usize::max).min(WIDEST[column])
    };
    let needed: [usize; 11] = std::array::from_fn(of_column);
    let mut shown: Vec<usize> = (0..COLUMNS.len()).collect();
    for column in DISPENSABLE {
        let gaps = shown.len() - 1;
        if shown.iter().map(|&index| needed[index]).sum::<usize>() + gaps <= width {
            break;
        }
        shown.retain(|&index| index != column);
    }
    let widths = shown.iter().map(|&index| u16::try_from(needed[index]).unwrap_or(u16::MAX));
    let widths = widths.collect();
    (shown, widths)
}

/// Colour of a MOS: from 4.0 good, below 3.1 many are dissatisfied (ITU-T G.107 Annex B).
fn colour(mos: &str) -> Style {
    match mos.parse::<f64>() {
        Ok(mos) if mos >= 4.0 => Style::new().fg(Color::Green),
        Ok(mos) if mos >= 3.1 => Style::new().fg(Color::Yellow),
        Ok(_) => Style::new().fg(Color::Red),
        Err(_) => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::frame::tests::frame;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    #[test]
    fn the_screen_shows_head_and_legs() {
        let mut terminal = Terminal::new(TestBackend::new(130, 12)).unwrap();
        let mut state = TableState::default();
        let shown = frame(1, 100).since(&frame(0, 0));
        terminal.draw(|canvas| draw(canvas, &shown, &mut state)).unwrap();
        let text = terminal.backend().to_string();
        for part in ["calls 1", "socket(io_uring)", "in 100 packets/s", "alice@tandem", "4.37"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        // A small terminal must not fail.
        let mut terminal = Terminal::new(TestBackend::new(10, 3)).unwrap();
        terminal.draw(|canvas| draw(canvas, &shown, &mut state)).unwrap();
    }

    #[test]
    fn a_narrow_terminal_drops_columns_and_never_digits() {
        let shown = frame(1, 100).since(&frame(0, 0));
        let row = &shown.rows()[0];
        for width in 5..140 {
            let mut terminal = Terminal::new(TestBackend::new(width, 12)).unwrap();
            let mut state = TableState::default();
            terminal.draw(|canvas| draw(canvas, &shown, &mut state)).unwrap();
            let text = terminal.backend().to_string();
            let legs: Vec<&str> = text.lines().skip(6).take(2).collect();
            assert!(legs[0].contains("MOS") && legs[1].contains("4.37"), "{width}\n{text}");
            for (column, value) in COLUMNS.iter().zip(row).skip(5) {
                let name = column.trim_start_matches('>');
                if legs[0].contains(name) {
                    let mut words = legs[1].trim_matches('"').split(' ');
                    let whole = value.split(' ').all(|part| words.any(|word| word == part));
                    assert!(whole, "{width}: {name} {value}\n{text}");
                }
            }
            if width == 60 {
                assert!(["party", "rx pps"].iter().all(|name| legs[0].contains(name)), "{text}");
            }
            if width >= 100 {
                assert!(COLUMNS.iter().all(|it| legs[0].contains(it.trim_start_matches('>'))));
            }
        }
    }

    #[test]
    fn keys_do_what_they_say() {
        let key = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Wish::Quit);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Wish::Quit);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), Wish::Nothing);
        assert_eq!(key(KeyCode::Down, KeyModifiers::NONE), Wish::Down);
        assert_eq!(wish(&Event::FocusLost), Wish::Nothing);
    }
}
