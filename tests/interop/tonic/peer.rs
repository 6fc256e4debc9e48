//! One side of a tunnel on tonic; ../peers.py tells it what to do.
#![allow(missing_docs)]

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, BufRead as _},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use jumpstarter_router::{
    client::{Connector, Trust},
    protocol::v1::{StreamRequest, StreamResponse, router_service_client::RouterServiceClient},
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Code, Request, Response, Status, Streaming, codec::CompressionEncoding, metadata::MetadataValue,
};

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Command {
    Open {
        token: String,
        gzip: bool,
    },
    Exchange {
        send: Vec<(usize, i32)>,
        seed: usize,
        receive: usize,
    },
    Close,
    Cancel,
    End,
}

/// The router answers when the other side is there.
type Answer = Result<Response<Streaming<StreamResponse>>, Status>;

enum Incoming {
    Closed,
    Called(JoinHandle<Answer>),
    Open(Streaming<StreamResponse>),
}

struct Peer {
    connector: Connector,
    pattern: Bytes,
    outgoing: Option<mpsc::UnboundedSender<StreamRequest>>,
    incoming: Incoming,
}

impl Peer {
    async fn open(&mut self, token: &str, gzip: bool) -> anyhow::Result<Value> {
        let mut client = RouterServiceClient::new(self.connector.channel().await?)
            .accept_compressed(CompressionEncoding::Gzip);
        if gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let (send, outgoing) = mpsc::unbounded_channel();
        let mut request = Request::new(UnboundedReceiverStream::new(outgoing));
        let bearer = MetadataValue::try_from(format!("Bearer {token}"))?;
        request.metadata_mut().insert("authorization", bearer);
        self.outgoing = Some(send);
        self.incoming = Incoming::Called(tokio::spawn(async move { client.stream(request).await }));
        Ok(json!({}))
    }

    async fn next(&mut self) -> Result<Option<StreamResponse>, Status> {
        if let Incoming::Called(call) = &mut self.incoming {
            let cancelled = |_| Status::cancelled("cancelled here");
            self.incoming = Incoming::Open(call.await.map_err(cancelled)??.into_inner());
        }
        match &mut self.incoming {
            Incoming::Open(stream) => stream.message().await,
            _ => Err(Status::cancelled("cancelled here")),
        }
    }

    async fn exchange(
        &mut self,
        send: &[(usize, i32)],
        seed: usize,
        receive: usize,
    ) -> anyhow::Result<Value> {
        let outgoing = self.outgoing.as_ref().context("no stream to send on")?;
        for (i, &(size, frame_type)) in send.iter().enumerate() {
            let start = (seed + 7 * i) % 251;
            outgoing.send(StreamRequest {
                payload: self.pattern.slice(start..start + size),
                frame_type,
            })?;
        }
        let mut digest = Sha256::new();
        for _ in 0..receive {
            let message = self.next().await?.context("the stream has ended")?;
            digest.update(format!("{} {} ", message.frame_type, message.payload.len()));
            digest.update(&message.payload);
        }
        let mut text = String::new();
        for byte in digest.finalize() {
            write!(text, "{byte:02x}")?;
        }
        Ok(json!({ "digest": text }))
    }

    fn cancel(&mut self) -> Value {
        if let Incoming::Called(call) = &self.incoming {
            call.abort();
        }
        self.incoming = Incoming::Closed;
        self.outgoing = None;
        json!({})
    }

    async fn end(&mut self) -> Value {
        let mut types = Vec::new();
        let status = loop {
            match self.next().await {
                Ok(Some(message)) => types.push(message.frame_type),
                Ok(None) => break Status::new(Code::Ok, ""),
                Err(status) => break status,
            }
        };
        self.cancel();
        json!({ "types": types, "code": i32::from(status.code()), "message": status.message() })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [endpoint, root, ..] = &arguments[..] else {
        bail!("usage: interop_peer <endpoint> <root.pem>");
    };
    let root = CertificateDer::from_pem_slice(&fs::read(root)?)?;
    let mut peer = Peer {
        connector: Connector::new(endpoint, Trust::Certificates(vec![root]))?,
        pattern: (0..=250).cycle().take(4 * 1024 * 1024 + 251).collect(),
        outgoing: None,
        incoming: Incoming::Closed,
    };
    for line in io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Command::Open { token, gzip } => peer.open(&token, gzip).await?,
            Command::Exchange {
                send,
                seed,
                receive,
            } => peer.exchange(&send, seed, receive).await?,
            Command::Close => {
                peer.outgoing = None;
                json!({})
            }
            Command::Cancel => peer.cancel(),
            Command::End => peer.end().await,
        };
        println!("{answer}");
    }
    Ok(())
}
