//! One call of `RouterService/Stream`, from its headers to its last record.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Method, Request, Response};
use sync_wrapper::SyncWrapper;
use tokio::{sync::oneshot, time::Instant};
use tonic::Code;

use super::{
    memory::Level,
    peer::{Passage, PeerSink, PeerSource},
    router::{Offer, Partner, Registered, Router, StreamSettings},
};
use crate::{
    auth::Admission,
    grpc::{
        headers::{self, Encodings, Mismatch},
        status,
    },
    observe::{metrics::Held, record::StreamRecord},
    pairing::{
        machine::Ticket,
        table::{Place, Refused},
    },
    splice::{
        control::Control,
        drive::{self, Deadlines},
        ending::{Cause, Ending},
        lane::{LaneReceiver, LaneSender, lane},
        scanner::Scanner,
        side::Side,
    },
};

/// The HTTP/2 path of the call.
pub const PATH: &str = "/jumpstarter.v1.RouterService/Stream";

/// Messages up to this length, prefix included, are forwarded only as a whole. Stock peers send at most
/// 64 KiB and a few bytes.
///
/// It must fit in two thirds of the smallest window (128 KiB), or such a message might never be complete: HTTP/2
/// announces credit only once it is half of the window that the peer has left, so a third may be withheld.
pub const WHOLE_MESSAGE: u32 = 80 * 1024;

/// Causes of refusal that are not the token's, for metrics.
pub const REFUSALS: &[&str] = &[
    "draining",
    "too_many_waiting",
    "memory",
    "token_spent",
    "not_grpc",
    "method",
];

type PeerSide = Side<PeerSource, PeerSink>;

/// Serves the call, counting into `passage`. Returns once its last frame is handed to the connection.
pub async fn serve(
    router: Arc<Router>,
    peer: IpAddr,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    passage: Arc<Passage>,
) {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let admission = match admit(&router, peer, &head.method, &head.headers) {
        Ok(admission) => admission,
        Err(response) => return refuse(&mut respond, response),
    };
    if router.pressure() >= Level::NoStreams {
        router.metrics.stream_refusals.inc("memory");
        let response = status::trailers_only(
            Code::ResourceExhausted,
            "the router is short of memory (memory.limit); try again later",
        );
        return refuse(&mut respond, response);
    }
    let all = router.settings.load_full();
    let settings = all.streams.clone();
    let registered = router.register(admission.subject.clone(), peer, arrived, passage.clone());
    let encodings = Encodings::of(&head.headers);
    let (joined, on_joined) = oneshot::channel();
    let mut own_lanes = None;
    let place = router
        .table
        .arrive(&admission.subject, admission.expires_at, || {
            let (tx, partner_rx) = lane();
            let (partner_tx, rx) = lane();
            own_lanes = Some((tx, rx));
            Offer {
                lanes: SyncWrapper::new((partner_tx, partner_rx)),
                joined,
                live: registered.live.clone(),
                encodings: encodings.clone(),
            }
        });
    let place = match place {
        Ok(place) => place,
        Err(refused) => {
            let response = turn_away(&router, peer, &admission, refused);
            return refuse(&mut respond, response);
        }
    };
    router.metrics.streams.inc();

    let deadlines = Deadlines {
        pairing: settings.pairing_timeout,
        idle: settings.idle_timeout,
        lifetime: settings.max_duration,
        caller: headers::timeout(&head.headers).map(|after| arrived + after),
        linger: settings.linger,
    };
    let call = Call {
        router,
        registered,
        subject: admission.subject,
        peer,
        encodings,
        deadlines,
        arrived,
    };
    let source = PeerSource::new(body, passage);
    let sink = PeerSink::new(respond, all.connections.send_buffer);
    match place {
        Place::Paired(offer) => {
            let (lanes, meeting) = call.join(offer);
            let side = call.side(source, sink, lanes, &settings);
            call.run(side, Ok(meeting)).await;
        }
        Place::Waiting(ticket) => {
            let Some(lanes) = own_lanes else {
                unreachable!("whoever waits has made an offer");
            };
            let mut side = call.side(source, sink, lanes, &settings);
            let meeting = call.wait(&mut side, ticket, on_joined).await;
            call.run(side, meeting).await;
        }
    }
}

/// Checks everything that the request's head says.
fn admit(
    router: &Router,
    peer: IpAddr,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Admission, Response<()>> {
    if !headers::is_grpc(headers) {
        router.metrics.stream_refusals.inc("not_grpc");
        return Err(status::unsupported_media_type());
    }
    if method != Method::POST {
        router.metrics.stream_refusals.inc("method");
        return Err(status::trailers_only(
            Code::Unimplemented,
            "gRPC calls use the method POST",
        ));
    }
    let rules = router.rules.load();
    rules.check(headers, SystemTime::now()).map_err(|refusal| {
        router.metrics.stream_refusals.inc(refusal.cause());
        if let Some(left_out) = router.may_log_refusal() {
            tracing::info!(
                %peer,
                cause = refusal.cause(),
                error = %refusal,
                left_out = (left_out > 0).then_some(left_out),
                "router authentication failed"
            );
        }
        status::trailers_only(Code::Unauthenticated, refusal.message())
    })
}

fn turn_away(
    router: &Router,
    peer: IpAddr,
    admission: &Admission,
    refused: Refused,
) -> Response<()> {
    let (cause, code) = match refused {
        Refused::Draining => ("draining", Code::Unavailable),
        Refused::TooManyWaiting { .. } => ("too_many_waiting", Code::ResourceExhausted),
        Refused::Spent => ("token_spent", Code::Unauthenticated),
    };
    router.metrics.stream_refusals.inc(cause);
    if let Some(left_out) = router.may_log_refusal() {
        tracing::info!(
            %peer,
            stream = %admission.subject,
            cause,
            error = %refused,
            left_out = (left_out > 0).then_some(left_out),
            "stream refused"
        );
    }
    status::trailers_only(code, &refused.to_string())
}

fn refuse(respond: &mut SendResponse<Bytes>, response: Response<()>) {
    // An error means that the peer is gone, which is what a refusal brings about anyway.
    let _ = respond.send_response(response, true);
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
    deadlines: Deadlines,
    arrived: Instant,
}

impl Call {
    fn control(&self) -> &Control {
        &self.registered.live.control
    }

    fn side(
        &self,
        source: PeerSource,
        sink: PeerSink,
        lanes: (LaneSender, LaneReceiver),
        settings: &StreamSettings,
    ) -> PeerSide {
        let scanner = Scanner::new(
            settings.max_message,
            u64::from(WHOLE_MESSAGE),
            self.encodings.sends.is_some(),
        );
        Side::new(source, sink, scanner, lanes, settings.window)
    }

    /// The second stream takes the first one's offer.
    fn join(&self, offer: Offer) -> ((LaneSender, LaneReceiver), Meeting) {
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
        (offer.lanes.into_inner(), meeting)
    }

    /// The first stream waits for the second.
    async fn wait(
        &self,
        side: &mut PeerSide,
        ticket: Ticket,
        mut on_joined: oneshot::Receiver<Partner>,
    ) -> Result<Meeting, Ending> {
        tracing::debug!(peer = %self.peer, stream = %self.subject, "waiting for the other side");
        let held = Held::new(&self.router.metrics.streams_waiting);
        let waited = drive::wait(
            side,
            self.control(),
            &self.deadlines,
            self.arrived,
            &mut on_joined,
        )
        .await;
        let (partner, ended) = match waited {
            Ok(partner) => (partner, None),
            Err(ending) => {
                if self.router.table.leave(&self.subject, ticket).is_some() {
                    return Err(ending);
                }
                // A partner came at the same moment. It is on its way to us, and has to be told.
                let late = matches!(ending.cause, Cause::Unpaired(_));
                (on_joined.await, (!late).then_some(ending))
            }
        };
        drop(held);
        // The partner's call sends before it does anything else, so this fails only if it panicked.
        let partner = partner.map_err(|_| Ending::from(Cause::Panicked).for_other())?;
        Ok(Meeting {
            other_peer: partner.peer,
            waited: self.arrived.elapsed(),
            head: response_head(&self.encodings, &partner.encodings).ok(),
            counted: None,
            ended,
        })
    }

    async fn run(self, mut side: PeerSide, meeting: Result<Meeting, Ending>) {
        let mut other_peer = None;
        let mut waited = None;
        let paired = meeting.is_ok();
        let mut counted = None;
        let mut ending = match meeting {
            Err(ending) => ending,
            Ok(meeting) => {
                other_peer = Some(meeting.other_peer);
                waited = Some(meeting.waited);
                counted = meeting.counted;
                self.splice(&mut side, meeting.head, meeting.ended).await
            }
        };
        if ending.can_be_told()
            && ending.cause != Cause::Completed
            && let Err(broken) = side.sink().open(status::head())
        {
            ending = broken.into();
        }
        self.control().set_concluding();
        let told = drive::conclude(&mut side, ending, paired, self.deadlines.linger).await;
        drop(counted);
        self.record(&side, ending, other_peer, waited, told);
    }

    async fn splice(
        &self,
        side: &mut PeerSide,
        head: Option<Response<()>>,
        ended: Option<Ending>,
    ) -> Ending {
        if let Some(ending) = ended {
            return ending;
        }
        let Some(head) = head else {
            return Cause::Encoding.into();
        };
        if let Err(broken) = side.sink().open(head) {
            return broken.into();
        }
        let metrics = &self.router.metrics;
        let (mut bytes, mut messages) = (0, 0);
        drive::splice(
            side,
            self.control(),
            &self.deadlines,
            self.arrived,
            |totals| {
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
            },
        )
        .await
    }

    fn record(
        &self,
        side: &PeerSide,
        ending: Ending,
        other_peer: Option<IpAddr>,
        waited: Option<Duration>,
        told: bool,
    ) {
        let totals = side.totals();
        let duration = self.arrived.elapsed();
        let metrics = &self.router.metrics;
        metrics.stream_ends.inc(ending.reason());
        metrics.observe_stream(duration, totals.bytes_in + totals.bytes_out);
        let mut detail = ending.message().into_owned();
        if ending.can_be_told() && !told {
            detail.push_str("; the peer could not be told");
        }
        StreamRecord {
            id: self.registered.live.pair(),
            stream: self.subject.to_string(),
            peer: self.peer,
            other_peer,
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            messages_in: totals.messages_in,
            messages_out: totals.messages_out,
            waited: waited.unwrap_or(duration),
            duration,
            ended_by: ending.by().as_str(),
            reason: ending.reason(),
            status: status::name(ending.code()),
            detail: (!detail.is_empty()).then_some(detail),
        }
        .log();
    }
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
