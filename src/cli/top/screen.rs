//! The terminal while it is ours, and giving it back in every case.

use std::{
    io::{self, Write as _},
    panic,
    sync::Once,
};

use super::text::{Line, Tone};
use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::{ContentStyle, PrintStyledContent, Stylize as _},
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
        EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    },
};

/// Holds the terminal. When this is dropped, and when there is a panic, it is as it was.
#[derive(Debug)]
pub struct Screen {
    is_coloured: bool,
}

impl Screen {
    /// Takes the terminal.
    pub fn take(is_coloured: bool) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        // The message of a panic must not go to the screen that vanishes.
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |what| {
                give_back();
                before(what);
            }));
        });
        terminal::enable_raw_mode()?;
        // From here on there is something to undo.
        let screen = Self { is_coloured };
        begin()?;
        Ok(screen)
    }

    /// Gives the size in columns and lines. A serial line does not know its own.
    pub(super) fn size() -> io::Result<(usize, usize)> {
        match terminal::size()? {
            (0, _) | (_, 0) => Ok((80, 24)),
            (width, height) => Ok((width.into(), height.into())),
        }
    }

    /// Forgets what stands there, so that all is drawn anew.
    pub(super) fn clear() -> io::Result<()> {
        execute!(io::stdout(), Clear(ClearType::All))
    }

    /// Draws all lines.
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(lines) {
            queue!(out, MoveTo(0, row))?;
            for (tone, text) in line.pieces() {
                let style = self.style(tone, line.is_chosen);
                queue!(out, PrintStyledContent(style.apply(text)))?;
            }
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()
    }

    fn style(&self, tone: Tone, is_chosen: bool) -> ContentStyle {
        let style = ContentStyle::new();
        let style = if is_chosen { style.reverse() } else { style };
        let style = match tone {
            Tone::Strong | Tone::Alarm => style.bold(),
            _ => style,
        };
        if !self.is_coloured {
            return style;
        }
        match tone {
            Tone::Plain | Tone::Strong => style,
            Tone::Faint => style.dim(),
            Tone::Notice => style.cyan(),
            Tone::Warning => style.yellow(),
            Tone::Alarm => style.red(),
        }
    }

    /// Gives the terminal back for a while.
    pub(super) fn leave() {
        give_back();
    }

    /// Takes the terminal again, whatever was done to it meanwhile.
    pub(super) fn take_again() -> io::Result<()> {
        // Raw mode is taken to be on until it is turned off.
        terminal::disable_raw_mode()?;
        terminal::enable_raw_mode()?;
        begin()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn begin() -> io::Result<()> {
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        Hide,
        DisableLineWrap,
        Clear(ClearType::All)
    )
}

/// Nothing helps if the terminal is gone.
fn give_back() {
    let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_what_matters_is_still_told_apart() {
        let all = [
            Tone::Plain,
            Tone::Faint,
            Tone::Strong,
            Tone::Notice,
            Tone::Warning,
            Tone::Alarm,
        ];
        let styles = |is_coloured, is_chosen| {
            let screen = std::mem::ManuallyDrop::new(Screen { is_coloured });
            all.map(|tone| screen.style(tone, is_chosen))
        };
        for style in styles(false, true) {
            assert_eq!(style.foreground_color, None);
            assert_ne!(style.attributes, ContentStyle::new().attributes);
        }
        let [plain, .., alarm] = styles(false, false);
        assert_ne!(plain, alarm);
        let [.., warning, alarm] = styles(true, false);
        assert_ne!(warning.foreground_color, alarm.foreground_color);
    }
}
