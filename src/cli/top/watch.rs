//! Looks at the router again and again, draws what it sees, and obeys keys and signals.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crossterm::event::{self, Event, KeyEventKind};
use rustix::process::Signal;
use tokio::{
    sync::mpsc::{Receiver, channel},
    time::sleep_until,
};

use super::{
    ListArgs,
    app::App,
    asker::{self, Ask, Asker},
    draw,
    keys::Then,
    screen::Screen,
    signals::{Signals, Wanted, can_stop, is_in_background, stop},
    text::Tone,
};
use crate::cli::{
    admin_client::Client,
    exit::{Exit, Failure},
};

/// The age of what is shown is told at least so often.
const TICK: Duration = Duration::from_secs(1);

/// How many events of the terminal may wait.
const EVENTS: usize = 64;

/// How it ended.
pub(super) enum Left {
    /// The user has seen enough.
    Quit,
    /// A signal has ended it.
    Signal(Signal),
}

/// Shows what there is until the user has seen enough. If the router cannot be asked, it says so and goes on; but the first
/// look must succeed.
pub(super) async fn watch(
    mut client: Client,
    list: ListArgs,
    interval: Duration,
    is_coloured: bool,
) -> Result<Left, Failure> {
    let follows_any = list.admin.process.is_none();
    let wish = asker::Wish::first(&list);
    let seen = asker::look(&mut client, &wish).await?;
    // First of all, for one may come at any time.
    let mut signals = Signals::new()?;
    let screen = match in_front(&mut signals, || Screen::take(is_coloured)).await? {
        Ok(screen) => screen,
        Err(left) => return Ok(left),
    };
    let mut watch = Watch {
        screen,
        signals,
        asker: Asker::start(client, follows_any),
        app: App::new(list, seen),
        interval,
        looks: Looks {
            is_asked: false,
            is_again: false,
            last: Instant::now(),
        },
    };
    watch.run().await
}

/// All that takes part.
struct Watch {
    screen: Screen,
    signals: Signals,
    asker: Asker,
    app: App,
    interval: Duration,
    looks: Looks,
}

/// Which look is under way, and which is due.
#[derive(Debug)]
struct Looks {
    is_asked: bool,
    /// Something has changed since it was asked for.
    is_again: bool,
    /// When the last one was.
    last: Instant,
}

impl Watch {
    async fn run(&mut self) -> Result<Left, Failure> {
        let mut events = events();
        loop {
            self.draw()?;
            let next = self.next();
            tokio::select! {
                event = events.recv() => {
                    // Without a terminal to read from there is nobody to show anything to.
                    let Some(event) = event else { return Ok(Left::Quit) };
                    let event = event.map_err(|error| no_keys(&error))?;
                    if let Some(left) = self.event(event).await? {
                        return Ok(left);
                    }
                }
                told = self.asker.told() => {
                    let Some(told) = told else {
                        return Err(io::Error::other("nothing asks the router any more").into());
                    };
                    self.looks.is_asked &= !matches!(told, asker::Told::Seen(_));
                    self.looks.is_again |= self.app.told(told);
                }
                wanted = self.signals.next() => match wanted {
                    Wanted::End(signal) => return Ok(Left::Signal(signal)),
                    Wanted::Stop => if let Some(left) = self.stop(false).await? {
                        return Ok(left);
                    },
                    Wanted::Continue => if let Some(left) = self.take_again().await? {
                        return Ok(left);
                    },
                },
                () = sleep_until(next.into()) => {}
            }
            self.look();
        }
    }

    /// Says when there is something to do, if nothing happens before.
    fn next(&self) -> Instant {
        let tick = Instant::now() + TICK;
        if self.looks.is_asked {
            tick
        } else {
            tick.min(self.looks.last + self.interval)
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let (width, height) = Screen::size()?;
        let lines = draw::lines(&mut self.app, width, height, self.interval);
        self.screen.draw(&lines)
    }

    /// Asks for a look, if one is due and none is under way.
    fn look(&mut self) {
        let is_due = self.looks.last.elapsed() >= self.interval;
        if self.looks.is_asked || !(is_due || self.looks.is_again) {
            return;
        }
        if self.asker.ask(Ask::Look(self.app.wish())) {
            self.looks = Looks {
                is_asked: true,
                is_again: false,
                last: Instant::now(),
            };
        }
    }

    async fn event(&mut self, event: Event) -> Result<Option<Left>, Failure> {
        let key = match event {
            Event::Key(key) if key.kind == KeyEventKind::Press => key,
            Event::Resize(..) => {
                Screen::clear()?;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        match self.app.key(key) {
            Then::Draw => {}
            Then::Look => self.looks.is_again = true,
            Then::Ask(ask) => {
                if !self.asker.ask(ask) {
                    self.app.say(
                        Tone::Alarm,
                        "not asked: the router has not answered what was asked before",
                    );
                }
            }
            Then::Leave => return Ok(Some(Left::Quit)),
            Then::Suspend => return self.stop(true).await,
            Then::Repaint => Screen::clear()?,
        }
        Ok(None)
    }

    /// Stops until somebody continues this process. `group`: whoever waits for this process is stopped with it.
    async fn stop(&mut self, group: bool) -> Result<Option<Left>, Failure> {
        if can_stop() {
            Screen::leave();
            stop(group)?;
            return self.take_again().await;
        }
        let text = "there is no shell here that could continue it";
        self.app.say(Tone::Notice, text);
        Ok(None)
    }

    async fn take_again(&mut self) -> Result<Option<Left>, Failure> {
        let taken = in_front(&mut self.signals, Screen::take_again).await?;
        Ok(taken.err())
    }
}

/// Takes the terminal as soon as this process is in the foreground, unless a signal ends it before.
async fn in_front<T>(
    signals: &mut Signals,
    take: impl Fn() -> io::Result<T>,
) -> Result<Result<T, Left>, Failure> {
    loop {
        if let Some(Wanted::End(signal)) = signals.come().await {
            return Ok(Err(Left::Signal(signal)));
        }
        if is_in_background() {
            // As the system does with whoever touches the terminal there, but so that a signal can still end it.
            stop(false)?;
            continue;
        }
        return take().map(Ok).map_err(|error| no_keys(&error));
    }
}

fn no_keys(error: &io::Error) -> Failure {
    let text = "top needs a terminal to read keys from; --once prints one table";
    Failure::new(Exit::Broken, format_args!("{text}: {error}"))
}

/// Reads the terminal in a thread, which has no other way. It ends with the process.
fn events() -> Receiver<io::Result<Event>> {
    let (send, events) = channel(EVENTS);
    thread::spawn(move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if send.blocking_send(event).is_err() || is_last {
                break;
            }
        }
    });
    events
}
