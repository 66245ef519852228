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
    let head = frame.head();
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX).saturating_add(1);
    let [top, rest] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(canvas.area());
    let lines: Vec<Line<'_>> = head.into_iter().map(Line::from).collect();
    canvas.render_widget(Paragraph::new(lines).block(Block::new().borders(Borders::BOTTOM)), top);
    canvas.render_stateful_widget(legs(frame), rest, state);
}

fn legs(frame: &Frame) -> Table<'static> {
    let style = Style::new().add_modifier(Modifier::BOLD);
    let header = Row::new(COLUMNS.map(|column| column.trim_start_matches('>'))).style(style);
    let rows = frame.rows().into_iter().map(|row| {
        let colour = colour(&row[10]);
        let cells = row.into_iter().enumerate().map(|(index, text)| {
            let text = Text::from(text);
            let text = if COLUMNS[index].starts_with('>') { text.right_aligned() } else { text };
            Cell::from(text).style(if index == 10 { colour } else { Style::new() })
        });
        Row::new(cells)
    });
    let widths = [20, 9, 22, 9, 12, 7, 7, 7, 7, 8, 5].map(Constraint::Max);
    Table::new(rows, widths)
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
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
    fn keys_do_what_they_say() {
        let key = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Wish::Quit);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Wish::Quit);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), Wish::Nothing);
        assert_eq!(key(KeyCode::Down, KeyModifiers::NONE), Wish::Down);
        assert_eq!(wish(&Event::FocusLost), Wish::Nothing);
    }
}
