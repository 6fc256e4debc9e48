//! Draws the table anew at each look, and reads a few keys.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    execute, queue,
    style::Print,
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
        EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    },
};

use super::{ListArgs, table};
use crate::cli::{
    admin_client::{AdminError, Look},
    exit::Failure,
};

/// Holds the terminal while it is ours. When this is dropped, it is as it was.
struct Screen;

impl Screen {
    fn take() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing helps if the terminal is gone.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// Shows what `look` sees until the user has seen enough. If the router cannot be asked, it says so and goes on;
/// but the first look must succeed.
pub(crate) fn show(
    interval: Duration,
    mut list: ListArgs,
    look: impl Fn(&ListArgs) -> Result<Look, AdminError>,
) -> Result<(), Failure> {
    let mut seen = look(&list)?;
    let mut trouble = None;
    let _screen = Screen::take()?;
    loop {
        draw(&seen, &list, trouble.as_deref())?;
        if !wait(interval, &mut list)? {
            return Ok(());
        }
        match look(&list) {
            Ok(new) => {
                seen = new;
                trouble = None;
            }
            Err(error) => trouble = Some(error.to_string()),
        }
    }
}

fn draw(seen: &Look, list: &ListArgs, trouble: Option<&str>) -> io::Result<()> {
    let (_, height) = terminal::size()?;
    let mut out = io::stdout().lock();
    queue!(out, BeginSynchronizedUpdate)?;
    let way = if list.ascending { "up" } else { "down" };
    let keys = format!("q quit   s sort: {}   r direction: {way}", list.sort.name());
    let note = trouble.map_or(keys, |error| {
        format!("not up to date: {}", table::printable(error))
    });
    let mut lines = vec![table::head(&seen.status), note, String::new()];
    lines.extend(table::lines(&seen.streams));
    let room = usize::from(height);
    for (row, line) in (0..height).zip(lines.iter().take(room)) {
        queue!(
            out,
            MoveTo(0, row),
            Print(line),
            Clear(ClearType::UntilNewLine)
        )?;
    }
    if lines.len() < room {
        queue!(
            out,
            MoveTo(0, lines.len() as u16),
            Clear(ClearType::FromCursorDown)
        )?;
    }
    queue!(out, EndSynchronizedUpdate)?;
    out.flush()
}

/// Waits for the next look, which a key may bring about earlier. False if the user wants to leave.
fn wait(interval: Duration, list: &mut ListArgs) -> io::Result<bool> {
    let end = Instant::now() + interval;
    loop {
        if !event::poll(end.saturating_duration_since(Instant::now()))? {
            return Ok(true);
        }
        let key = match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => key,
            Event::Resize(..) => return Ok(true),
            _ => continue,
        };
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Ok(false),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Ok(false);
            }
            KeyCode::Char('s') => {
                list.turn();
                return Ok(true);
            }
            KeyCode::Char('r') => {
                list.ascending = !list.ascending;
                return Ok(true);
            }
            _ => {}
        }
    }
}
