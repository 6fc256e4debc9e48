//! Serves one call of `RouterService/Stream`, from its headers to its last record.
//!
//! [`admission`] decides whether it is let in, `partner` finds its other side, and `session` forwards, tells and records;
//! `peer` is an HTTP/2 stream as the splice sees it. A partner may be at another router: `elsewhere` finds it where the
//! bus says, and `successor`, when this router stops, at the one that takes over. `forward` then stands in for the partner,
//! `reached` is the call between the two, and `voucher` says whether a successor is a router.

pub(crate) mod admission;
mod elsewhere;
mod forward;
mod partner;
mod peer;
mod reached;
pub(crate) mod refusal;
mod session;
mod successor;
mod voucher;

use h2::{RecvStream, server::SendResponse};
use http::{HeaderValue, Request, Response};
use tokio::sync::oneshot;

use self::{
    admission::Admitted,
    partner::{Meeting, PeerSide, Seeker},
    peer::{PeerSink, PeerSource},
};
pub(crate) use self::{admission::Caller, session::UNTOLD};
use crate::transport::{
    limits::{addresses::StreamPermit, count::Counted, pace::Paced},
    outgoing::Outgoing,
    settings::LEAST_WINDOW,
    shared::{Offer, Partner},
};
use crate::{
    grpc::{headers, status},
    pairing::table::{Place, Waiter},
    splice::{
        WHOLE_MESSAGE,
        ending::{Cause, Ending},
        scanner::Scanner,
        side::{self, Side},
    },
};

const _: () = assert!(WHOLE_MESSAGE as usize <= LEAST_WINDOW.bytes() / 3 * 2);

/// Serves the call. Ready once its last frame is handed to the connection. `None`: it was refused, and told so.
///
/// `window`: the credit that streams of this connection start with, bytes.
pub(crate) fn serve(
    caller: &Caller<'_>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Outgoing>,
    window: u32,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    // Outside of the future, which would keep room for the request.
    let (head, body) = request.into_parts();
    let admitted = match admission::admit(caller, &head) {
        Ok(admitted) => admitted,
        Err(response) => {
            // An error means that the peer is gone, which is what a refusal brings about anyway.
            let _ = respond.send_response(response, true);
            return None;
        }
    };
    let Admitted {
        seeker,
        dialect,
        voucher,
        open,
        max_message,
        place,
    } = admitted;
    let session = &seeker.session;
    let source = PeerSource::new(body, caller.counters.clone(), dialect);
    let address = caller.peer.address.clone();
    let source = Paced::new(
        source,
        session.shared.clone(),
        address,
        side::credit_step(window),
    );
    let sink = PeerSink::new(respond, session.entry().control.clone(), dialect);
    let compressed = seeker.encodings.sends.is_some();
    let scanner = Scanner::new(max_message, WHOLE_MESSAGE, compressed);
    let (lanes, seat, start) = match place {
        Place::Paired(offer) => {
            let (lanes, seat, meeting) = seeker.join(offer);
            (lanes, seat, Start::Paired(Box::new(meeting)))
        }
        Place::Waiting(ticket, kept) => {
            let (table, subject) = (&session.shared.table, &session.entry().subject);
            let waiter = Waiter::new(table.clone(), subject.clone(), ticket);
            (kept.lanes, kept.seat, Start::Waiting(waiter, kept.joined))
        }
    };
    lanes.0.count_in(caller.counters.held().clone());
    let side = Side::new(source, sink, scanner, lanes, window);
    let call = Call {
        seeker,
        voucher,
        _open: open,
        _seat: seat,
    };
    Some(call.serve(side, start))
}

/// Says how a call begins.
enum Start {
    /// Its partner was waiting.
    Paired(Box<Meeting>),
    /// It has to wait.
    Waiting(Waiter<Offer>, oneshot::Receiver<Partner>),
}

/// Holds what a call keeps while it lasts.
struct Call {
    seeker: Seeker,
    /// The peer is another router; this proves to it that so is this one.
    voucher: Option<Box<HeaderValue>>,
    _open: StreamPermit,
    _seat: Counted,
}

impl Call {
    #[allow(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps room for its arguments twice"
    )]
    fn serve(self, mut side: PeerSide, start: Start) -> impl Future<Output = ()> + Send {
        async move {
            let meeting = match start {
                Start::Paired(meeting) => Ok(meeting),
                Start::Waiting(waiter, on_joined) => {
                    Box::pin(self.seeker.wait(&mut side, waiter, on_joined)).await
                }
            };
            self.run(&mut side, meeting).await;
        }
    }

    async fn run(&self, side: &mut PeerSide, meeting: Result<Box<Meeting>, Ending>) {
        let session = &self.seeker.session;
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
                match open(side, head, ended) {
                    Ok(()) => session.splice(side).await,
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
        // In a box: it is short, and a stream shall not keep room for it.
        let told = Box::pin(session.conclude(side, ending, paired)).await;
        drop(counted);
        session.record(side.totals(), ending, met, told);
    }

    /// Adds to the head what proves to another router that this is one.
    fn vouched(&self, mut head: Response<()>) -> Response<()> {
        if let Some(voucher) = &self.voucher {
            let voucher = HeaderValue::clone(voucher);
            head.headers_mut().insert(headers::PROOF, voucher);
        }
        head
    }
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
