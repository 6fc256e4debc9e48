//! What keys do.

use clap::ValueEnum as _;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    ListArgs,
    app::{App, Deed, Detail, Mode, View},
    asker::Ask,
    cursor::Step,
    text::Tone,
};
use crate::admin::api::{past::Kind, streams::Column};

/// What has to be done after a key.
#[derive(Debug)]
pub(super) enum Then {
    /// Draws.
    Draw,
    /// Looks at the router at once.
    Look,
    /// Asks it for something.
    Ask(Ask),
    /// Leaves.
    Leave,
    /// Gives the terminal back to the shell for a while.
    Suspend,
    /// Draws all of it, whatever stands there.
    Repaint,
}

impl App {
    /// Does what a key says.
    pub(super) fn key(&mut self, key: KeyEvent) -> Then {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.control(key.code);
        }
        if self.is_help {
            self.is_help = false;
            return Then::Draw;
        }
        match self.mode.clone() {
            Mode::Keys => self.command(key.code),
            Mode::Filter => self.typed(key.code),
            Mode::Question(deed) => self.answered(key.code, deed),
        }
    }

    fn control(&mut self, code: KeyCode) -> Then {
        match code {
            KeyCode::Char('c') => Then::Leave,
            KeyCode::Char('z') => Then::Suspend,
            KeyCode::Char('l') => Then::Repaint,
            KeyCode::Char('u') if self.mode == Mode::Filter => self.filtered(String::new()),
            _ => Then::Draw,
        }
    }

    fn typed(&mut self, code: KeyCode) -> Then {
        let mut text = self.list.filter.clone();
        match code {
            KeyCode::Char(c) => text.push(c),
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Esc => {
                self.mode = Mode::Keys;
                text.clear();
            }
            KeyCode::Enter => {
                self.mode = Mode::Keys;
                return Then::Draw;
            }
            _ => return self.moved(code),
        }
        self.filtered(text)
    }

    fn filtered(&mut self, text: String) -> Then {
        self.list.filter = text;
        Then::Look
    }

    fn answered(&mut self, code: KeyCode, deed: Deed) -> Then {
        self.mode = Mode::Keys;
        match (code, deed) {
            (KeyCode::Char('y' | 'Y'), Deed::End(id)) => Then::Ask(Ask::End(id)),
            (KeyCode::Char('y' | 'Y'), Deed::Drain) => Then::Ask(Ask::Drain),
            _ => {
                self.say(Tone::Notice, "nothing was done");
                Then::Draw
            }
        }
    }

    fn command(&mut self, code: KeyCode) -> Then {
        match code {
            KeyCode::Char('q') if self.detail.take().is_none() => return Then::Leave,
            KeyCode::Esc => return self.back(),
            KeyCode::Char('?' | 'h') => self.is_help = true,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('p') | KeyCode::Tab | KeyCode::BackTab => {
                return self.turn_view();
            }
            KeyCode::Char('s' | '>') => return self.sort(|list| list.turn(1)),
            KeyCode::Char('S' | '<') => return self.sort(|list| list.turn(-1)),
            KeyCode::Char('r') => return self.sort(|list| list.ascending = !list.ascending),
            KeyCode::Char(digit @ '1'..='9') => {
                let place = digit as usize - '1' as usize;
                let column = Column::value_variants().get(place).copied();
                return self.sort(|list| list.sort = column.unwrap_or(list.sort));
            }
            KeyCode::Char('o') if self.view == View::Past => {
                self.kind = match self.kind {
                    None => Some(Kind::Ended),
                    Some(Kind::Ended) => Some(Kind::Refused),
                    Some(Kind::Refused) => None,
                };
                return Then::Look;
            }
            KeyCode::Enter => return self.open(),
            KeyCode::Char('k' | 'e') => self.ask_to_end(),
            KeyCode::Char('d') => self.ask(Deed::Drain),
            _ => return self.moved(code),
        }
        Then::Draw
    }

    fn moved(&mut self, code: KeyCode) -> Then {
        let step = match code {
            KeyCode::Up => Step::Up,
            KeyCode::Down => Step::Down,
            KeyCode::PageUp => Step::PageUp,
            KeyCode::PageDown => Step::PageDown,
            KeyCode::Home => Step::First,
            KeyCode::End => Step::Last,
            _ => return Then::Draw,
        };
        let names = self.names();
        self.cursor().go(step, &names);
        Then::Draw
    }

    /// Goes back by one step: from a stream to the list, from what is chosen or filtered to everything, from the past to what
    /// lives.
    fn back(&mut self) -> Then {
        if self.detail.take().is_some() || self.cursor().clear() {
            return Then::Draw;
        }
        if !self.list.filter.is_empty() {
            return self.filtered(String::new());
        }
        self.view = View::Live;
        Then::Draw
    }

    fn turn_view(&mut self) -> Then {
        self.detail = None;
        self.view = match self.view {
            View::Live => View::Past,
            View::Past => View::Live,
        };
        Then::Look
    }

    fn sort(&mut self, change: impl FnOnce(&mut ListArgs)) -> Then {
        if self.view == View::Past {
            self.say(
                Tone::Notice,
                "what has ended is shown in that order, the newest first",
            );
            return Then::Draw;
        }
        change(&mut self.list);
        Then::Look
    }

    fn open(&mut self) -> Then {
        let names = self.names();
        let Some(at) = self.cursor().index(&names) else {
            self.say(Tone::Notice, "choose a stream with the arrow keys first");
            return Then::Draw;
        };
        self.detail = Some(match self.view {
            View::Live => Detail::Live {
                row: Box::new(self.seen.streams.streams[at].clone()),
                is_gone: false,
            },
            View::Past => match self
                .seen
                .past
                .as_ref()
                .and_then(|past| past.streams.get(at))
            {
                Some(ended) => Detail::Ended(Box::new(ended.clone())),
                None => return Then::Draw,
            },
        });
        Then::Look
    }

    fn ask_to_end(&mut self) {
        let names = self.names();
        let chosen = match (&self.detail, self.view) {
            (
                Some(Detail::Live {
                    row,
                    is_gone: false,
                }),
                _,
            ) => Some(row.id),
            (None, View::Live) => {
                let at = self.live.index(&names);
                at.map(|at| self.seen.streams.streams[at].id)
            }
            _ => return self.say(Tone::Notice, "it has ended already"),
        };
        match chosen {
            Some(id) => self.ask(Deed::End(id)),
            None => self.say(Tone::Notice, "choose a stream with the arrow keys first"),
        }
    }

    /// Asks before it does something, and says why it cannot.
    fn ask(&mut self, deed: Deed) {
        if self.seen.status.access == "read" {
            let text = "this token only reads: start with the full one to end streams or to drain";
            return self.say(Tone::Alarm, text);
        }
        self.mode = Mode::Question(deed);
    }
}
