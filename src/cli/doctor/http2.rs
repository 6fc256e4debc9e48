//! HTTP/2 on one address, and whether a router speaks it.

use std::{
    error::Error,
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use h2::Ping;
use http::{HeaderMap, Request, Response, StatusCode, header};
use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tonic::{Code, Status};

use super::{
    finding::Report,
    way::{Clock, Way},
};
use crate::{
    cli::exit::Exit,
    client::{Connector, Token, connect::Answer, router_stream},
    common::text::chain,
    grpc::{call, status},
    tls::trust::{Trust, client_config},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a client of HTTP/2 says first (RFC 9113, section 3.4), with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

type Problem = Box<dyn Error + Send + Sync>;

/// What came back.
struct Reply {
    round_trip: Duration,
    head: Response<()>,
    trailers: HeaderMap,
    at: SystemTime,
}

/// Asks for a stream without a token, which a router refuses. `None` if there is none; else its clock, if it tells.
pub(super) async fn examine(way: &Way, report: &mut Report) -> Option<Option<Clock>> {
    let label = &way.label;
    let asked = async {
        let io = way.connector.io().await?;
        let mut request = router_stream::request(&way.connector, &Token::new(""))?;
        request.headers_mut().remove(header::AUTHORIZATION);
        ask(io, request).await
    };
    let answer: Result<Reply, Problem> = match timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => {
            let time = humantime::format_duration(PATIENCE);
            Err(format!("no answer within {time}").into())
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let (text, advice) = explain(&way.connector, &*error).await;
            report.failed(
                "http2",
                Exit::Unreachable,
                format_args!("{label}: {text}"),
                advice,
            );
            return None;
        }
    };
    let trip = answer.round_trip.as_secs_f64() * 1000.0;
    report.good("http2", format_args!("{label}: a PING took {trip:.1} ms"));
    judge(&answer, label, report).then(|| answer.clock())
}

async fn ask<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    request: Request<()>,
) -> Result<Reply, Problem> {
    let (requests, mut connection) = call::http2(65_535, 65_536)
        .handshake::<T, Bytes>(io)
        .await?;
    let mut pings = connection.ping_pong().ok_or("no PING is to be had")?;
    let asked = async {
        let start = Instant::now();
        pings.ping(Ping::opaque()).await?;
        let round_trip = start.elapsed();
        let mut requests = requests.ready().await?;
        let (response, _) = requests.send_request(request, true)?;
        let (head, mut body) = response.await?.into_parts();
        let at = SystemTime::now();
        while let Some(data) = body.data().await {
            let _ = body.flow_control().release_capacity(data?.len());
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        Ok::<_, h2::Error>(Reply {
            round_trip,
            head: Response::from_parts(head, ()),
            trailers,
            at,
        })
    };
    tokio::select! {
        biased;
        answer = asked => Ok(answer?),
        ended = connection => {
            ended?;
            Err("the connection was closed".into())
        }
    }
}

impl Reply {
    fn status(&self) -> Option<Status> {
        Status::from_header_map(self.head.headers())
            .or_else(|| Status::from_header_map(&self.trailers))
    }

    fn clock(&self) -> Option<Clock> {
        let date = self.head.headers().get(header::DATE)?.to_str().ok()?;
        Some(Clock {
            router: httpdate::parse_http_date(date).ok()?,
            here: self.at,
        })
    }
}

/// Says whether a router has answered.
fn judge(answer: &Reply, label: &str, report: &mut Report) -> bool {
    let Some(status) = answer.status() else {
        let code = answer.head.status();
        let advice = match code {
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                "a proxy or ingress answers and does not reach the router behind it: look at its log, and whether it speaks gRPC to the router"
            }
            _ => "what answers is no gRPC server: is that the router's address and port?",
        };
        let text = format!("{label}: HTTP {code} instead of an answer in gRPC");
        report.failed("router", Exit::Unreachable, text, advice);
        return false;
    };
    let said = status::described(&status);
    match status.code() {
        Code::Unauthenticated => {
            let text =
                format!("{label}: a router; it refuses a call without a token, as it should");
            report.good("router", text);
            true
        }
        Code::Unavailable | Code::ResourceExhausted => {
            let text = format!("{label}: it takes no streams now: {said}");
            let advice =
                "is it shutting down, or at a limit? Ask it: jumpstarter-router top, or its log";
            report.failed("router", Exit::Refused, text, advice);
            true
        }
        Code::Unimplemented => {
            let text = format!("{label}: gRPC, but no router: {said}");
            let advice = "is that the controller? The router has an address of its own, which the controller tells peers (GRPC_ROUTER_ENDPOINT)";
            report.failed("router", Exit::Unreachable, text, advice);
            false
        }
        _ => {
            let text = format!("{label}: it answers a call without a token with {said}");
            report.warning("router", text, "a router answers UNAUTHENTICATED");
            true
        }
    }
}

/// Words what went wrong, and what to do.
async fn explain(connector: &Connector, error: &(dyn Error + 'static)) -> (String, &'static str) {
    let text = chain(error);
    if text.contains("CertificateRequired") || text.contains("certificate required") {
        let advice = "it wants a certificate: --client-certificate FILE --client-key FILE";
        return (
            "the router refused the TLS connection".to_owned() + ": " + &text,
            advice,
        );
    }
    let found = greeting(connector).await;
    let advice = advice(found.as_ref(), connector.is_tls());
    (text, advice)
}

/// Begins HTTP/2, HTTP/1 and TLS, each on a connection of its own, until something comes back.
pub(super) async fn greeting(connector: &Connector) -> Option<Answer> {
    for first in [
        PREFACE,
        b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        &hello()?,
    ] {
        let listen = async {
            let mut socket = connector.tcp().await.map_err(io::Error::other)?;
            socket.write_all(first).await?;
            let mut bytes = vec![0; Answer::LENGTH];
            let read = socket.read(&mut bytes).await?;
            bytes.truncate(read);
            io::Result::Ok(bytes)
        };
        if let Ok(Ok(bytes)) = timeout(PATIENCE / 4, listen).await
            && !bytes.is_empty()
        {
            return Some(Answer::of(&bytes));
        }
    }
    None
}

/// Says what to do where this answers instead of a router with TLS or, if not `secure`, without.
pub(super) fn advice(answer: Option<&Answer>, secure: bool) -> &'static str {
    match answer {
        Some(Answer::Tls) if !secure => "what answers speaks TLS: leave --plaintext out",
        Some(Answer::Http2) if secure => {
            "what answers is HTTP/2 without TLS: use --plaintext, or give the router a certificate"
        }
        Some(Answer::Http1(_)) => {
            "what answers is HTTP/1: is it the port for health, metrics or the page, or a proxy? The router's gRPC port is wanted"
        }
        Some(Answer::Other(_)) => "what answers is something else: is that the router's gRPC port?",
        _ => "is that the router's gRPC port? Does something between block it?",
    }
}

/// What a client of TLS says first.
fn hello() -> Option<Vec<u8>> {
    let config = client_config(Trust::Any, None).ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let mut session = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).ok()?;
    Some(bytes)
}
