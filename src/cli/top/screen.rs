//! The terminal while it is ours, and giving it back in every case.

use std::{
    io::{self, Write as _},
    panic,
    sync::Once,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::{ContentStyle, PrintStyledContent, Stylize as _},
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
        EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    },
};
use rustix::process::{
    Pid, Signal, getpgrp, getpid, getsid, kill_current_process_group, kill_process,
};

use super::text::{Line, Tone};

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
        // Before anything is done that must be undone.
        let screen = Self { is_coloured };
        enter()?;
        Ok(screen)
    }

    /// Gives the size in columns and lines.
    pub(super) fn size() -> io::Result<(usize, usize)> {
        let (width, height) = terminal::size()?;
        Ok((width.into(), height.into()))
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

    /// Gives the terminal back and stops, as Ctrl-Z does to other programs. Returns when somebody has continued this process.
    /// `group`: whoever waits for this process is stopped with it.
    pub(super) fn suspend(group: bool) -> io::Result<()> {
        give_back();
        if group {
            kill_current_process_group(Signal::STOP)?;
        } else {
            kill_process(getpid(), Signal::STOP)?;
        }
        enter()
    }

    /// Takes the terminal again, whatever was done to it meanwhile.
    pub(super) fn take_again() -> io::Result<()> {
        // Raw mode is taken to be on until it is turned off.
        terminal::disable_raw_mode()?;
        enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    // Whoever is stopped meanwhile, as in the background, is interrupted when it goes on.
    while let Err(error) = terminal::enable_raw_mode() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
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

/// Tells whether there is a shell that could continue this process. In the group that leads the session there is none, as
/// behind `kubectl exec`: who stops there stops for good.
pub(super) fn can_suspend() -> bool {
    let session: Option<Pid> = getsid(None).ok();
    session.is_some_and(|session| session != getpgrp())
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
