//! What the screen shows. Knows neither a terminal nor the router.

use std::time::{Duration, Instant};

use super::{
    ListArgs,
    asker::{Found, Seen, Told, Wish},
    cursor::Cursor,
    query,
    text::Tone,
};
use crate::{
    admin::api::{
        past::{Kind, Row as Ended},
        streams::Row,
    },
    cli::admin_client::named,
};

/// How long a message stays.
const NOTE: Duration = Duration::from_secs(8);

/// Which list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Streams that live.
    Live,
    /// Streams that have ended or were refused.
    Past,
}

/// What keys are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Commands.
    Keys,
    /// The text of the filter.
    Filter,
    /// The answer to whether this is to be done.
    Question(Deed),
}

/// What is done only after a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Ends this stream.
    End(u64),
    /// Begins the drain.
    Drain,
}

/// The stream of which all is shown.
#[derive(Debug)]
pub(super) enum Detail {
    /// Lives; or nobody knows what has become of it.
    Live {
        /// As it was seen last.
        row: Box<Row>,
        /// Whether it is not there any more.
        is_gone: bool,
    },
    /// Has ended.
    Ended(Box<Ended>),
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct App {
    pub(super) list: ListArgs,
    pub(super) seen: Seen,
    /// When that was.
    pub(super) seen_at: Instant,
    /// Why there was nothing newer to see.
    pub(super) trouble: Option<String>,
    pub(super) view: View,
    pub(super) live: Cursor,
    pub(super) past: Cursor,
    /// Which kind of the past is shown; `None` for all.
    pub(super) kind: Option<Kind>,
    pub(super) detail: Option<Detail>,
    pub(super) is_help: bool,
    pub(super) mode: Mode,
    note: Option<(Tone, String, Instant)>,
}

impl App {
    /// Shows what was seen first.
    pub(super) fn new(list: ListArgs, seen: Seen) -> Self {
        Self {
            list,
            seen,
            seen_at: Instant::now(),
            trouble: None,
            view: View::Live,
            live: Cursor::default(),
            past: Cursor::default(),
            kind: None,
            detail: None,
            is_help: false,
            mode: Mode::Keys,
            note: None,
        }
    }

    /// Says what is to be looked at.
    pub(super) fn wish(&self) -> Wish {
        let kind = self.kind.map(|kind| match kind {
            Kind::Ended => "ended",
            Kind::Refused => "refused",
        });
        let past = (self.view == View::Past)
            .then(|| query::past(&self.list.filter, self.list.limit, kind));
        let stream = match &self.detail {
            Some(Detail::Live { row, .. }) => Some((row.id, row.subject.clone())),
            _ => None,
        };
        Wish {
            streams: query::streams(&self.list),
            past,
            stream,
        }
    }

    /// Takes in an answer of the router. True if another look is worth while.
    pub(super) fn told(&mut self, told: Told) -> bool {
        match told {
            Told::Seen(seen) => match *seen {
                Ok(seen) => self.see(seen),
                Err(error) => self.trouble = Some(error.to_string()),
            },
            Told::Done(Ok(text)) => {
                self.say(Tone::Notice, text);
                return true;
            }
            Told::Done(Err(error)) => self.say(Tone::Alarm, error.to_string()),
        }
        false
    }

    fn see(&mut self, mut seen: Seen) {
        let (before, now) = (&self.seen.status.process, &seen.status.process);
        if before.id != now.id {
            let text = format!(
                "{} does not answer any more; {} does",
                named(before),
                named(now)
            );
            self.say(Tone::Alarm, text);
            self.live.reset();
            self.past.reset();
            (self.mode, self.detail) = (Mode::Keys, None);
        }
        if let Some(Detail::Live { row, is_gone }) = &mut self.detail {
            let listed = seen
                .streams
                .streams
                .iter()
                .position(|listed| listed.id == row.id);
            match seen.stream.take() {
                Some(Found::Live(found)) if found.id == row.id => (*row, *is_gone) = (found, false),
                Some(Found::Ended(ended)) if ended.id == Some(row.id) => {
                    self.detail = Some(Detail::Ended(ended));
                }
                // Of an older router the list is all that there is.
                _ => *is_gone = listed.is_none(),
            }
        }
        // What is shown of the past stays until there is something newer.
        if seen.past.is_none() && self.view == View::Live {
            seen.past = self.seen.past.take();
        }
        self.seen = seen;
        self.seen_at = Instant::now();
        self.trouble = None;
    }

    /// Shows a message for a while.
    pub(super) fn say(&mut self, tone: Tone, text: impl Into<String>) {
        self.note = Some((tone, text.into(), Instant::now()));
    }

    /// Gives the message that is still to be shown.
    pub(super) fn note(&self) -> Option<(Tone, &str)> {
        let (tone, text, at) = self.note.as_ref()?;
        (at.elapsed() < NOTE).then_some((*tone, &**text))
    }

    /// Gives what is chosen in the list that is shown.
    pub(super) fn cursor(&mut self) -> &mut Cursor {
        match self.view {
            View::Live => &mut self.live,
            View::Past => &mut self.past,
        }
    }

    /// Names what the list has, one after the other.
    pub(super) fn names(&self) -> Vec<String> {
        let past = || self.seen.past.iter().flat_map(|past| &past.streams);
        match self.view {
            View::Live => {
                let rows = self.seen.streams.streams.iter();
                rows.map(|row| row.id.to_string()).collect()
            }
            // Refusals have no number, and those of one kind grow more.
            View::Past => past()
                .map(|ended| {
                    let first = ended.peers.first().map(|peer| peer.address);
                    format!(
                        "{:?} {} {first:?} {}",
                        ended.id, ended.began_unix_ms, ended.cause
                    )
                })
                .collect(),
        }
    }
}
