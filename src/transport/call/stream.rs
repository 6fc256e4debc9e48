//! One call of `RouterService/Stream`, from its headers to its last record.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use h2::{RecvStream, server::SendResponse};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use sync_wrapper::SyncWrapper;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::transport::{
    call::{
        admission::{self, Admitted},
        forward,
        peer::{Passage, PeerSink, PeerSource},
        successor::{self, Reached, Repeated},
    },
    http2::outgoing::Outgoing,
    limits::{
        addresses::{OpenStream, Origin},
        pace::Paced,
        seats::Seat,
    },
    live::Live,
    memory::level::Level,
    shared::{Offer, Partner, Registered, Router, StreamSettings},
};
use crate::{
    grpc::{
        headers::{self, Encodings, Mismatch},
        status,
    },
    observe::{metrics::Held, record::StreamRecord},
    pairing::table::{Place, Refused, Waiter},
    splice::{
        Sink, Source,
        control::Control,
        drive::{self, Deadlines},
        ending::{Cause, Ending},
        lane::{LaneReceiver, LaneSender, counted_lane},
        scanner::Scanner,
        side::{self, Side, Totals},
    },
};

pub use crate::grpc::call::PATH;

/// Messages up to this length, prefix included, are forwarded only as a whole. Stock peers send at most
/// 64 KiB and a few bytes.
///
/// It must fit in two thirds of the smallest window (128 KiB), or such a message might never be complete: HTTP/2
/// announces credit only once it is half of the window that the peer has left, so a third may be withheld.
pub const WHOLE_MESSAGE: u32 = 80 * 1024;

type PeerSide = Side<Paced<PeerSource>, PeerSink>;

/// Serves the call, counting into `passage`. Ready once its last frame is handed to the connection. `None`: it was
/// refused, and told so.
///
/// `window`: the credit that streams of this connection start with, bytes.
pub fn serve(
    router: Arc<Router>,
    peer: &Origin,
    request: Request<RecvStream>,
    respond: SendResponse<Outgoing>,
    passage: Arc<Passage>,
    window: u32,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    // Outside of the future, which would keep room for the request.
    let (call, side, start) = begin(router, peer, request, respond, passage, window)?;
    Some(call.serve(side, start))
}

/// How a call begins.
enum Start {
    /// Its partner was waiting.
    Paired(Box<Meeting>),
    /// It has to wait.
    Waiting(Waiter<Offer>, oneshot::Receiver<Partner>),
}

/// Lets the call in and looks for its partner. `None`: it was refused, and told so.
fn begin(
    router: Arc<Router>,
    peer: &Origin,
    request: Request<RecvStream>,
    mut respond: SendResponse<Outgoing>,
    passage: Arc<Passage>,
    window: u32,
) -> Option<(Call, PeerSide, Start)> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let admitted = admission::admit(&router, peer, &passage, &head);
    let Admitted { admission, timeout } = match admitted {
        Ok(admitted) => admitted,
        Err(response) => return refuse(&mut respond, response),
    };
    let forwarded_by = head.headers.get(headers::FORWARDED_BY);
    if let Some(process) = forwarded_by
        && let Some(response) = admission::forwarded(&router, peer, &admission.subject, process)
    {
        return refuse(&mut respond, response);
    }
    let voucher = forwarded_by
        .and_then(|_| admission::voucher(&router, peer, &admission.subject, &head.headers))
        .map(Box::new);
    let is_router = voucher.is_some();
    let settings = router.settings.load().streams.clone();
    let Some(open) = peer.address.open_stream(settings.max_per_address) else {
        let limit = settings.max_per_address.unwrap_or_default();
        let response = admission::too_many_per_address(&router, peer, limit);
        return refuse(&mut respond, response);
    };
    let registered = router.register(
        admission.subject.clone(),
        peer.ip,
        peer.certificate.clone(),
        arrived,
        passage.clone(),
    );
    let encodings = Encodings::of(&head.headers);
    let (joined, on_joined) = oneshot::channel();
    let mut own = None;
    let place = router
        .table
        .arrive(&admission.subject, admission.expires_at, || {
            let limit = settings.max;
            let seats = router.seats.take_two(limit);
            let [seat, partner_seat] = seats.ok_or(Refused::TooManyStreams {
                limit: limit.unwrap_or_default(),
            })?;
            let (tx, partner_rx) = counted_lane(router.memory.lanes());
            let (partner_tx, rx) = counted_lane(router.memory.lanes());
            own = Some(((tx, rx), seat));
            Ok(Offer {
                lanes: SyncWrapper::new((partner_tx, partner_rx)),
                seat: partner_seat,
                joined,
                live: registered.live.clone(),
                encodings: encodings.clone(),
            })
        });
    let place = match place {
        Ok(place) => place,
        Err(refused) => {
            let response = admission::no_place(&router, peer, &admission.subject, refused);
            return refuse(&mut respond, response);
        }
    };
    router.metrics.streams.inc();

    let deadlines = deadlines(&settings, timeout.map(|after| arrived + after));
    let filled = passage.held().clone();
    let source = PeerSource::new(body, passage, is_router);
    let step = side::credit_step(window);
    let source = Paced::new(source, router.clone(), peer.address.clone(), step);
    let sink = PeerSink::new(respond, registered.live.control.clone(), is_router);
    let mut call = Call {
        router,
        registered,
        subject: admission.subject,
        peer: peer.ip,
        _open: open,
        encodings,
        authorization: head.headers.get(AUTHORIZATION).map(headers::detached),
        is_forwarded: forwarded_by.is_some(),
        voucher,
        deadlines,
        arrived,
        seat: None,
    };
    let (lanes, start) = match place {
        Place::Paired(offer) => {
            let (lanes, seat, meeting) = call.join(offer);
            call.seat = Some(seat);
            (lanes, Start::Paired(Box::new(meeting)))
        }
        Place::Waiting(ticket) => {
            let Some((lanes, seat)) = own else {
                unreachable!("whoever waits has made an offer");
            };
            call.seat = Some(seat);
            let waiter = Waiter::new(call.router.table.clone(), call.subject.clone(), ticket);
            (lanes, Start::Waiting(waiter, on_joined))
        }
    };
    lanes.0.count_in(filled);
    let side = call.side(source, sink, lanes, &settings, window);
    Some((call, side, start))
}

fn refuse<T>(respond: &mut SendResponse<Outgoing>, response: Response<()>) -> Option<T> {
    // An error means that the peer is gone, which is what a refusal brings about anyway.
    let _ = respond.send_response(response, true);
    None
}

/// `caller`: when the caller's own deadline passes.
fn deadlines(settings: &StreamSettings, caller: Option<Instant>) -> Deadlines {
    Deadlines {
        pairing: settings.pairing_timeout,
        idle: settings.idle_timeout,
        stall: settings.stall_timeout,
        lifetime: settings.max_duration,
        caller,
        linger: settings.linger,
    }
}

/// What a waiting stream finds.
enum Joined {
    /// Its partner here, unless that one panicked.
    Partner(Result<Partner, oneshot::error::RecvError>),
    /// Its partner at the successor, or why there is none.
    Successor(Result<Box<Reached>, Ending>),
}

/// Two streams have met.
struct Meeting {
    other_peer: IpAddr,
    waited: Duration,
    /// The head of this side's response; `None` if the encodings do not match.
    head: Option<Response<()>>,
    /// Whoever came second counts the pair.
    counted: Option<Held>,
    /// The stream has to end, though it has met its partner.
    ended: Option<Ending>,
}

struct Call {
    router: Arc<Router>,
    registered: Registered,
    subject: Arc<str>,
    peer: IpAddr,
    encodings: Encodings,
    authorization: Option<HeaderValue>,
    /// The peer says that it is another router, which forwards it.
    is_forwarded: bool,
    /// It is one; this proves to it that so is this one.
    voucher: Option<Box<HeaderValue>>,
    deadlines: Deadlines,
    arrived: Instant,
    _open: OpenStream,
    seat: Option<Seat>,
}

impl Call {
    fn control(&self) -> &Control {
        &self.registered.live.control
    }

    fn side(
        &self,
        source: Paced<PeerSource>,
        sink: PeerSink,
        lanes: (LaneSender, LaneReceiver),
        settings: &StreamSettings,
        window: u32,
    ) -> PeerSide {
        let scanner = Scanner::new(
            settings.max_message,
            u64::from(WHOLE_MESSAGE),
            self.encodings.sends.is_some(),
        );
        Side::new(source, sink, scanner, lanes, window)
    }

    #[allow(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps room for its arguments twice"
    )]
    fn serve(self, mut side: PeerSide, start: Start) -> impl Future<Output = ()> + Send {
        async move {
            let meeting = match start {
                Start::Paired(meeting) => Ok(meeting),
                Start::Waiting(waiter, on_joined) => {
                    Box::pin(self.wait(&mut side, waiter, on_joined)).await
                }
            };
            self.run(&mut side, meeting).await;
        }
    }

    /// The second stream takes the first one's offer.
    fn join(&self, offer: Offer) -> ((LaneSender, LaneReceiver), Seat, Meeting) {
        let metrics = &self.router.metrics;
        let first = &offer.live;
        metrics.pairs.inc();
        metrics.observe_pairing_wait(first.arrived.elapsed());
        self.registered.live.set_first(first.id);
        self.control().set_paired();
        first.control.set_paired();
        let meeting = Meeting {
            other_peer: first.peer,
            waited: Duration::ZERO,
            head: response_head(&self.encodings, &offer.encodings).ok(),
            counted: Some(Held::new(&metrics.streams_paired)),
            ended: None,
        };
        tracing::debug!(peer = %self.peer, other_peer = %first.peer, stream = %self.subject, "forwarding");
        // The first stream is gone if this fails; its lanes say so.
        let _ = offer.joined.send(Partner {
            peer: self.peer,
            encodings: self.encodings.clone(),
        });
        (offer.lanes.into_inner(), offer.seat, meeting)
    }

    /// The first stream waits for the second.
    async fn wait(
        &self,
        side: &mut PeerSide,
        waiter: Waiter<Offer>,
        mut on_joined: oneshot::Receiver<Partner>,
    ) -> Result<Box<Meeting>, Ending> {
        tracing::debug!(peer = %self.peer, stream = %self.subject, "waiting for the other side");
        let _counted = Held::new(&self.router.metrics.streams_waiting);
        let mut leaving = pin!(self.leave());
        let joined = poll_fn(|cx| {
            if let Poll::Ready(partner) = Pin::new(&mut on_joined).poll(cx) {
                return Poll::Ready(Joined::Partner(partner));
            }
            leaving.as_mut().poll(cx).map(Joined::Successor)
        });
        let (control, arrived) = (self.control(), self.arrived);
        let outcome = drive::wait(side, control, &self.deadlines, arrived, joined).await;
        let (reached, ending) = match outcome {
            Ok(Joined::Partner(partner)) => return self.met(partner.ok(), None),
            Ok(Joined::Successor(Ok(reached))) => (Some(reached), None),
            Ok(Joined::Successor(Err(ending))) | Err(ending) => (None, Some(ending)),
        };
        match (waiter.leave(), reached) {
            (Some(offer), Some(reached)) => Ok(Box::new(self.hand_over(*reached, offer))),
            (Some(_), None) => Err(ending.unwrap_or(Cause::Panicked.into())),
            // A partner came at the same moment. It is on its way to us, and has to be told.
            (None, _) => {
                let matters =
                    |ending: &Ending| !matches!(ending.cause, Cause::Unpaired(_) | Cause::Draining);
                self.met(on_joined.await.ok(), ending.filter(matters))
            }
        }
    }

    /// The first stream has met the second, or nobody if that one panicked: a partner's call sends before it does
    /// anything else.
    fn met(&self, partner: Option<Partner>, ended: Option<Ending>) -> Result<Box<Meeting>, Ending> {
        let partner = partner.ok_or(Ending::from(Cause::Panicked).for_other())?;
        Ok(Box::new(Meeting {
            other_peer: partner.peer,
            waited: self.arrived.elapsed(),
            head: response_head(&self.encodings, &partner.encodings).ok(),
            counted: None,
            ended,
        }))
    }

    /// When the router is about to stop: finds the partner at its successor, if there is one.
    async fn leave(&self) -> Result<Box<Reached>, Ending> {
        self.router.forwarding.cancelled().await;
        match &self.authorization {
            // Whoever forwarded it here finds the way to the next one by itself.
            Some(authorization) if !self.is_forwarded => {
                let call = Repeated {
                    authorization: authorization.clone(),
                    encodings: self.encodings.clone(),
                };
                // In a box: a stream shall not keep room for it while it waits.
                Box::pin(successor::reach(&self.router, &call)).await
            }
            _ => Err(Cause::Draining.into()),
        }
    }

    /// The partner was found at the successor.
    fn hand_over(&self, reached: Reached, offer: Offer) -> Meeting {
        let metrics = &self.router.metrics;
        metrics.pairs.inc();
        metrics.observe_pairing_wait(self.arrived.elapsed());
        self.control().set_paired();
        tracing::info!(
            id = self.registered.live.pair(),
            stream = %self.subject,
            peer = %self.peer.to_canonical(),
            successor = %reached.address,
            "forwarded to the successor"
        );
        let meeting = Meeting {
            other_peer: reached.address,
            waited: self.arrived.elapsed(),
            head: response_head(&self.encodings, &reached.encodings).ok(),
            counted: Some(Held::new(&metrics.streams_paired)),
            ended: None,
        };
        forward::start(&self.router, reached, offer);
        meeting
    }

    /// The head with what proves to another router that this is one.
    fn vouched(&self, mut head: Response<()>) -> Response<()> {
        if let Some(voucher) = &self.voucher {
            let voucher = HeaderValue::clone(voucher);
            head.headers_mut().insert(headers::PROOF, voucher);
        }
        head
    }

    async fn run(&self, side: &mut PeerSide, meeting: Result<Box<Meeting>, Ending>) {
        let mut met = None;
        let paired = meeting.is_ok();
        let mut counted = None;
        let mut ending = match meeting {
            Err(ending) => ending,
            Ok(mut meeting) => {
                met = Some((meeting.other_peer, meeting.waited));
                counted = meeting.counted.take();
                let head = meeting.head.take().map(|head| self.vouched(head));
                let ended = meeting.ended;
                drop(meeting);
                let live = &self.registered.live;
                match open(side, head, ended) {
                    Ok(()) => splice(&self.router, live, side, &self.deadlines).await,
                    Err(ending) => ending,
                }
            }
        };
        // Another router takes the head for the partner: if there is none, it gets the status alone.
        if ending.can_be_told()
            && ending.cause != Cause::Completed
            && (paired || self.voucher.is_none())
            && let Err(broken) = side.sink().open(self.vouched(status::head()))
        {
            ending = broken.into();
        }
        let (live, linger) = (&self.registered.live, self.deadlines.linger);
        // In a box: it is short, and a stream shall not keep room for it.
        let told = Box::pin(conclude(&self.router, live, side, ending, paired, linger)).await;
        drop(counted);
        record(&self.router, live, side.totals(), ending, met, told);
    }
}

/// Tells the peer, and says whether it could be told. While memory is short here, which another router that says so cannot
/// know, a peer that does not take what is left is not waited for.
pub(crate) async fn conclude<S: Source, K: Sink>(
    router: &Router,
    live: &Live,
    side: &mut Side<S, K>,
    ending: Ending,
    paired: bool,
    linger: Duration,
) -> bool {
    /// The longest that it may take for what is left when that has to be free soon.
    const IN_NEED: Duration = Duration::from_secs(1);
    live.control.set_concluding();
    let in_need = ending.is_in_need() && router.memory.level() >= Level::NoGrowth;
    let linger = if in_need { linger.min(IN_NEED) } else { linger };
    let needed = async {
        if in_need {
            // However it trickles away.
            sleep(linger + drive::FAREWELL).await;
        } else {
            poll_fn(|cx| match live.control.poll_end(cx) {
                Poll::Ready(cause) if !ending.is_in_need() && Ending::from(cause).is_in_need() => {
                    Poll::Ready(())
                }
                _ => Poll::Pending,
            })
            .await;
        }
    };
    let told = tokio::select! {
        biased;
        told = drive::conclude(side, ending, paired, linger) => Some(told),
        () = needed => None,
    };
    if told.is_none() {
        side.sink().reset();
    }
    told.unwrap_or(false)
}

/// Forwards until the stream has to end, and says why.
pub(crate) async fn splice<S: Source, K: Sink>(
    router: &Router,
    live: &Live,
    side: &mut Side<S, K>,
    deadlines: &Deadlines,
) -> Ending {
    let metrics = &router.metrics;
    let (mut bytes, mut messages) = (0, 0);
    drive::splice(side, &live.control, deadlines, live.arrived, |totals| {
        if totals.bytes_out > bytes {
            metrics.forwarded_bytes.inc_by(totals.bytes_out - bytes);
            bytes = totals.bytes_out;
        }
        if totals.messages_out > messages {
            metrics
                .forwarded_messages
                .inc_by(totals.messages_out - messages);
            messages = totals.messages_out;
        }
    })
    .await
}

/// Leaves the stream's record. `met`: the other side's peer, and how long it was waited for.
pub(crate) fn record(
    router: &Router,
    live: &Live,
    totals: Totals,
    ending: Ending,
    met: Option<(IpAddr, Duration)>,
    told: bool,
) {
    let duration = live.arrived.elapsed();
    let metrics = &router.metrics;
    metrics.stream_ends.inc(ending.reason());
    metrics.observe_stream(duration, totals.bytes_in + totals.bytes_out);
    let mut detail = ending.message().into_owned();
    if ending.can_be_told() && !told {
        detail.push_str("; the peer could not be told");
    }
    StreamRecord {
        id: live.pair(),
        stream: live.subject.to_string(),
        peer: live.peer,
        certificate: live.certificate.clone(),
        other_peer: met.map(|(peer, _)| peer),
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
        messages_in: totals.messages_in,
        messages_out: totals.messages_out,
        waited: met.map_or(duration, |(_, waited)| waited),
        duration,
        ended_by: ending.by().as_str(),
        reason: ending.reason(),
        status: status::name(ending.code()),
        detail: (!detail.is_empty()).then_some(detail),
    }
    .log();
}

/// Sends the response's head, if the stream can go on.
fn open(
    side: &mut PeerSide,
    head: Option<Response<()>>,
    ended: Option<Ending>,
) -> Result<(), Ending> {
    if let Some(ending) = ended {
        return Err(ending);
    }
    let head = head.ok_or(Cause::Encoding)?;
    Ok(side.sink().open(head)?)
}

/// The head of the response to `receiver`, whose partner is `sender`: messages pass as they are, so the
/// sender's encoding is declared, and what the sender can read is what the receiver may use.
fn response_head(receiver: &Encodings, sender: &Encodings) -> Result<Response<()>, Mismatch> {
    let mut head = status::head();
    if let Some(encoding) = sender.towards(receiver)? {
        head.headers_mut().insert("grpc-encoding", encoding);
    }
    if let Some(accepts) = &sender.accepts {
        head.headers_mut()
            .insert("grpc-accept-encoding", accepts.clone());
    }
    // The other direction must work as well, or both ends are told.
    receiver.towards(sender)?;
    Ok(head)
}

/// Bytes that a future keeps while it waits.
#[cfg(test)]
pub(crate) fn kept<A, B, C, F: Future>(_: fn(A, B, C) -> F) -> usize {
    size_of::<F>()
}

/// Bytes that a call keeps while it lasts.
#[cfg(test)]
pub(crate) fn kept_by_call() -> usize {
    kept(Call::serve)
}
