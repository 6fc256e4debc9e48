//! Serves the calls that are not streams: health, reflection, and what else is served on the port.
//!
//! Health and reflection ask for no token, so whoever reaches the port may call them. Therefore they are small: their
//! messages (`intake`), their number ([`calls`](crate::transport::limits::calls)) and their time (`clock`) are bounded. Measured without these bounds:
//! 20 calls, each an unfinished message of 4 MiB, kept 93 MiB, and a `Watch` keeps 7.3 KiB.

mod clock;
mod intake;
mod reply;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt, future::OptionFuture};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header::CONTENT_TYPE};
use tokio::time::Instant;
use tonic::service::Routes;
use tower::ServiceExt;

use self::{
    clock::{Clock, Patience},
    intake::Intake,
    reply::Reply,
};
use crate::grpc::headers;
use crate::observe::metrics::Label as _;
use crate::transport::{
    counters::ConnectionCounters,
    limits::{addresses::Origin, calls::Place, count::Counted, refusal::Refusal},
    outgoing::Outgoing,
    shared::Shared,
};

/// Says how a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Over {
    /// It ended well, or the caller left.
    Done,
    /// The caller has to be told.
    Refused(Refusal),
}

/// A request of health or reflection has a service's name or a symbol in it.
const SMALL_MESSAGE: u64 = 4 * 1024;

/// A request of another service, which checks its callers only after it has read the message.
const MESSAGE: u64 = 256 * 1024;

/// Calls without a token at once on one connection. Channels that watch their health have one.
const ON_CONNECTION: u32 = 16;

/// A call with one answer is over in milliseconds; this is for slow networks.
const UNARY: Duration = Duration::from_secs(10);

/// A tool that asks by reflection asks one question after the other.
const IDLE: Duration = Duration::from_secs(60);

/// What kind of call it is, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One small question, one answer, no token.
    Unary,
    /// One small question, answers without end, no token.
    Watch,
    /// Small questions and answers without end, no token.
    Reflection,
    /// A service that looks after itself, or none at all: that is answered before anything of the body is read.
    Other,
}

const SMALL: [(&str, Kind); 5] = [
    ("/grpc.health.v1.Health/Check", Kind::Unary),
    ("/grpc.health.v1.Health/List", Kind::Unary),
    ("/grpc.health.v1.Health/Watch", Kind::Watch),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Kind::Reflection,
    ),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Kind::Reflection,
    ),
];

impl Kind {
    /// The kind, and the path as a constant if the call is small.
    fn of(path: &str) -> (Self, Option<&'static str>) {
        let small = SMALL.iter().find(|(known, _)| *known == path);
        small.map_or((Self::Other, None), |(path, kind)| (*kind, Some(*path)))
    }

    /// Returns its name in the log.
    fn as_str(self) -> &'static str {
        match self {
            Self::Unary => "health",
            Self::Watch => "health watch",
            Self::Reflection => "reflection",
            Self::Other => "other",
        }
    }

    /// Whether it may stay as long as it likes once it has begun.
    fn lasts(self) -> bool {
        self != Self::Unary
    }

    fn largest_message(self) -> u64 {
        match self {
            Self::Other => MESSAGE,
            _ => SMALL_MESSAGE,
        }
    }

    fn patience(self) -> Patience {
        match self {
            Self::Unary => Patience::Whole(UNARY),
            Self::Watch | Self::Other => Patience::First(UNARY),
            Self::Reflection => Patience::Idle(IDLE),
        }
    }
}

/// How far a call has come: whole messages and pieces of the answer, both ways.
type Moved = Arc<AtomicU64>;

/// Serves one call of the connection whose streams pass at `passage`.
pub(crate) fn serve(
    router: Arc<Shared>,
    peer: &Origin,
    request: Request<RecvStream>,
    mut respond: SendResponse<Outgoing>,
    passage: &Arc<ConnectionCounters>,
) -> impl Future<Output = ()> + Send + use<> {
    // Outside of the future, which would keep room for the request.
    let begun = match begin(&router, request, passage) {
        Ok(begun) => Some((begun, respond)),
        Err((kind, refusal)) => {
            tell_log(&router, peer, kind, &refusal);
            // An error means that the peer is gone.
            let _ = respond.send_response(refusal.response(), true);
            None
        }
    };
    let peer = peer.clone();
    OptionFuture::from(begun.map(|(call, respond)| call.serve(router, peer, respond))).map(drop)
}

/// What may be kept of a call while it lasts: the counts it takes part in.
struct Call {
    kind: Kind,
    request: Request<RecvStream>,
    deadline: Option<Instant>,
    _on_connection: Option<[Counted; 1]>,
    place: Option<Place>,
}

/// Looks at the head of the call, and whether there is a place for it.
fn begin(
    router: &Shared,
    request: Request<RecvStream>,
    passage: &Arc<ConnectionCounters>,
) -> Result<Call, (Kind, Refusal)> {
    let (kind, small) = Kind::of(request.uri().path());
    let refused = |refusal| (kind, refusal);
    if !headers::is_grpc(request.headers()) {
        return Err(refused(Refusal::NotGrpc));
    }
    let timeout = headers::timeout(request.headers());
    let timeout = timeout.map_err(|error| refused(Refusal::Timeout(error)))?;
    let (mut on_connection, mut place, mut request) = (None, None, request);
    if let Some(path) = small {
        let open = passage.calls.take(Some(ON_CONNECTION as usize));
        on_connection = Some(open.ok_or(refused(Refusal::TooManyOnConnection {
            limit: ON_CONNECTION,
        }))?);
        let memory = &router.memory;
        let entered = router
            .limits
            .calls
            .enter(kind.lasts(), memory.level(), memory.limit());
        place = Some(entered.map_err(refused)?);
        trim(&mut request, path);
    }
    Ok(Call {
        kind,
        request,
        deadline: timeout.map(|after| Instant::now() + after),
        _on_connection: on_connection,
        place,
    })
}

/// Leaves of the head what a small call needs. A header that is kept keeps the whole block it came in, up to
/// `connections.max_header_size`.
fn trim(request: &mut Request<RecvStream>, path: &'static str) {
    const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
    /// No name of an encoding is longer.
    const LONGEST: usize = 32;
    let mut kept = HeaderMap::with_capacity(2);
    kept.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some(encoding) = request.headers().get(ENCODING) {
        let name = encoding.as_bytes();
        let copy = HeaderValue::from_bytes(&name[..name.len().min(LONGEST)]);
        kept.insert(ENCODING, copy.unwrap_or(HeaderValue::from_static("?")));
    }
    *request.headers_mut() = kept;
    *request.uri_mut() = Uri::from_static(path);
}

impl Call {
    async fn serve(self, router: Arc<Shared>, peer: Origin, respond: SendResponse<Outgoing>) {
        let kind = self.kind;
        let mut reply = Reply::new(respond);
        if let Over::Refused(refusal) = self.run(&router, &mut reply).await {
            tell_log(&router, &peer, kind, &refusal);
            reply.refuse(&refusal);
        }
    }

    /// Reads, answers, and looks at what may end the call before.
    async fn run(self, router: &Shared, reply: &mut Reply) -> Over {
        let moved = Moved::default();
        let (head, stream) = self.request.into_parts();
        let compressed = headers::Encodings::of(&head.headers).sends.is_some();
        let (mut intake, body) = Intake::new(
            stream,
            self.kind.largest_message(),
            compressed,
            router.limits.calls.messages().clone(),
            moved.clone(),
        );
        let request = Request::from_parts(head, tonic::body::Body::new(body));
        let mut answer = pin!(answer(router.routes.clone(), request, reply, &moved));
        let mut clock = pin!(Clock::new(self.kind.patience(), self.deadline));
        let mut place = self.place;
        poll_fn(|cx| {
            if answer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Over::Done);
            }
            if let Poll::Ready(over) = intake.poll(cx) {
                return Poll::Ready(over);
            }
            if let Some(place) = &mut place
                && let Poll::Ready(refusal) = place.poll_lost(cx)
            {
                return Poll::Ready(Over::Refused(refusal));
            }
            let moved = moved.load(Ordering::Relaxed);
            clock.as_mut().poll(cx, moved).map(Over::Refused)
        })
        .await
    }
}

/// Has the service answer. Ready at the end of the answer, or when the caller is gone.
async fn answer(
    routes: Routes,
    request: Request<tonic::body::Body>,
    reply: &mut Reply,
    moved: &AtomicU64,
) {
    let mut service = pin!(routes.oneshot(request));
    let response = poll_fn(|cx| {
        if reply.poll_gone(cx).is_ready() {
            return Poll::Ready(None);
        }
        service.as_mut().poll(cx).map(Some)
    });
    if let Some(Ok(response)) = response.await {
        // An error means that the caller is gone: nobody to tell.
        let _ = reply.send(response, moved).await;
    }
}

fn tell_log(router: &Shared, peer: &Origin, kind: Kind, refusal: &Refusal) {
    let (cause, _) = refusal.row();
    router.metrics.call_refusals.inc(cause);
    tracing::info!(
        %peer,
        call = kind.as_str(),
        cause = cause.as_str(),
        error = %refusal,
        "call refused"
    );
}
