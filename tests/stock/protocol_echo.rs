//! The protocol's services in Rust, for `test_services.py` and `test_descriptors.py`.
//!
//! - `descriptors` writes the compiled descriptors of `proto/`.
//! - `serve` prints its address and serves every service in plain text. It sends back in the header `received-bin` what it
//!   has understood of a request, and answers with what the header `answer-bin` holds. `RouterService` echoes.
//! - `call <host:port>` reads lines `<package.Service/Method> <message>...` and prints `<message>...` for each, what it
//!   understood of the answer. Messages are base64.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    env,
    io::{self, BufRead as _, Write as _},
    vec,
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jumpstarter_router::{
    client::{Connector, Trust},
    protocol::{self, client, v1},
};
use prost::Message;
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{MetadataMap, MetadataValue},
    transport::{Channel, Server},
};

struct Echo;

type Answers<T> = tokio_stream::Iter<vec::IntoIter<Result<T, Status>>>;

/// What the test wants to be answered.
fn answers<T: Message + Default>(headers: &MetadataMap) -> Vec<Result<T, Status>> {
    let answers = headers.get_all_bin("answer-bin");
    let decode = |bytes: &MetadataValue<_>| {
        let bytes = bytes.to_bytes().map_err(|e| e.to_string())?;
        T::decode(bytes).map_err(|e| e.to_string())
    };
    answers
        .iter()
        .map(|bytes| decode(bytes).map_err(Status::invalid_argument))
        .collect()
}

fn understood<T>(answer: T, requests: &[impl Message]) -> Response<T> {
    let mut response = Response::new(answer);
    for request in requests {
        let bytes = MetadataValue::from_bytes(&request.encode_to_vec());
        response.metadata_mut().append_bin("received-bin", bytes);
    }
    response
}

fn one<T: Message + Default>(
    headers: &MetadataMap,
    requests: &[impl Message],
) -> Result<Response<T>, Status> {
    let answer = answers(headers).pop();
    let answer = answer.unwrap_or_else(|| Err(Status::invalid_argument("no answer-bin")))?;
    Ok(understood(answer, requests))
}

fn many<T: Message + Default>(request: &Request<impl Message>) -> Response<Answers<T>> {
    let answers = answers(request.metadata());
    understood(
        tokio_stream::iter(answers),
        std::slice::from_ref(request.get_ref()),
    )
}

fn decode<T: Message + Default>(message: &[u8]) -> anyhow::Result<T> {
    T::decode(message).context("a request of the test")
}

fn encoded<T: Message>(response: Response<T>) -> Vec<Vec<u8>> {
    vec![response.into_inner().encode_to_vec()]
}

async fn collected<T: Message + 'static>(
    response: Response<Streaming<T>>,
) -> Result<Vec<Vec<u8>>, Status> {
    let answers = response.into_inner();
    answers
        .map(|answer| answer.map(|answer| answer.encode_to_vec()))
        .collect()
        .await
}

/// A server and a client of one service: its methods with one answer, then those with many; more of the server in braces.
macro_rules! service {
    ($call:ident, $server:path, $client:path:
     $($name:literal $method:ident $request:ty => $answer:ty,)*
     $(many $many:literal $stream:ident $type:ident $open:ty => $item:ty,)*
     {$($more:tt)*}) => {
        #[tonic::async_trait]
        impl $server for Echo {
            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$answer>, Status> {
                one(request.metadata(), std::slice::from_ref(request.get_ref()))
            })*
            $(type $type = Answers<$item>;
            async fn $stream(&self, request: Request<$open>) -> Result<Response<Self::$type>, Status> {
                Ok(many(&request))
            })*
            $($more)*
        }

        async fn $call(channel: Channel, method: &str, request: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
            let mut client = <$client>::new(channel);
            match method {
                $($name => Ok(encoded(client.$method(decode::<$request>(request)?).await?)),)*
                $($many => {
                    let answers = client.$stream(decode::<$open>(request)?).await?;
                    Ok(collected(answers).await?)
                })*
                _ => bail!("no method {method:?}"),
            }
        }
    };
}

service!(call_controller, v1::controller_service_server::ControllerService,
    v1::controller_service_client::ControllerServiceClient<Channel>:
    "Register" register v1::RegisterRequest => v1::RegisterResponse,
    "Unregister" unregister v1::UnregisterRequest => v1::UnregisterResponse,
    "ReportStatus" report_status v1::ReportStatusRequest => v1::ReportStatusResponse,
    "Dial" dial v1::DialRequest => v1::DialResponse,
    "GetLease" get_lease v1::GetLeaseRequest => v1::GetLeaseResponse,
    "RequestLease" request_lease v1::RequestLeaseRequest => v1::RequestLeaseResponse,
    "ReleaseLease" release_lease v1::ReleaseLeaseRequest => v1::ReleaseLeaseResponse,
    "ListLeases" list_leases v1::ListLeasesRequest => v1::ListLeasesResponse,
    "GetServiceEndpoints" get_service_endpoints v1::GetServiceEndpointsRequest => v1::GetServiceEndpointsResponse,
    many "Listen" listen ListenStream v1::ListenRequest => v1::ListenResponse,
    many "Status" status StatusStream v1::StatusRequest => v1::StatusResponse,
    {
        async fn audit_stream(
            &self,
            request: Request<Streaming<v1::AuditStreamRequest>>,
        ) -> Result<Response<()>, Status> {
            let (headers, _, body) = request.into_parts();
            let requests: Vec<_> = body.collect::<Result<_, _>>().await?;
            one(&headers, &requests)
        }
    }
);

service!(call_exporter, v1::exporter_service_server::ExporterService,
    v1::exporter_service_client::ExporterServiceClient<Channel>:
    "GetReport" get_report () => v1::GetReportResponse,
    "DriverCall" driver_call v1::DriverCallRequest => v1::DriverCallResponse,
    "Reset" reset v1::ResetRequest => v1::ResetResponse,
    "GetStatus" get_status v1::GetStatusRequest => v1::GetStatusResponse,
    "EndSession" end_session v1::EndSessionRequest => v1::EndSessionResponse,
    many "StreamingDriverCall" streaming_driver_call StreamingDriverCallStream
        v1::StreamingDriverCallRequest => v1::StreamingDriverCallResponse,
    many "LogStream" log_stream LogStreamStream () => v1::LogStreamResponse,
    {}
);

service!(call_telemetry, v1::telemetry_service_server::TelemetryService,
    v1::telemetry_service_client::TelemetryServiceClient<Channel>:
    "PushLogs" push_logs v1::PushLogsRequest => v1::PushLogsResponse,
    {}
);

service!(call_client, client::v1::client_service_server::ClientService,
    client::v1::client_service_client::ClientServiceClient<Channel>:
    "GetExporter" get_exporter client::v1::GetExporterRequest => client::v1::Exporter,
    "ListExporters" list_exporters client::v1::ListExportersRequest => client::v1::ListExportersResponse,
    "GetLease" get_lease client::v1::GetLeaseRequest => client::v1::Lease,
    "ListLeases" list_leases client::v1::ListLeasesRequest => client::v1::ListLeasesResponse,
    "CreateLease" create_lease client::v1::CreateLeaseRequest => client::v1::Lease,
    "UpdateLease" update_lease client::v1::UpdateLeaseRequest => client::v1::Lease,
    "DeleteLease" delete_lease client::v1::DeleteLeaseRequest => (),
    "RotateToken" rotate_token client::v1::RotateTokenRequest => client::v1::RotateTokenResponse,
    {}
);

#[tonic::async_trait]
impl v1::router_service_server::RouterService for Echo {
    type StreamStream = std::pin::Pin<
        Box<dyn tokio_stream::Stream<Item = Result<v1::StreamResponse, Status>> + Send>,
    >;

    async fn stream(
        &self,
        request: Request<Streaming<v1::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let echo = request.into_inner().map(|message| {
            message.map(|message| v1::StreamResponse {
                payload: message.payload,
                frame_type: message.frame_type,
            })
        });
        Ok(Response::new(Box::pin(echo)))
    }
}

async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Server::builder()
        .add_service(v1::controller_service_server::ControllerServiceServer::new(
            Echo,
        ))
        .add_service(v1::exporter_service_server::ExporterServiceServer::new(
            Echo,
        ))
        .add_service(v1::telemetry_service_server::TelemetryServiceServer::new(
            Echo,
        ))
        .add_service(v1::router_service_server::RouterServiceServer::new(Echo))
        .add_service(client::v1::client_service_server::ClientServiceServer::new(
            Echo,
        ))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

/// All requests of a stream, or the one.
async fn call(channel: Channel, path: &str, requests: &[Vec<u8>]) -> anyhow::Result<Vec<Vec<u8>>> {
    let (service, method) = path.split_once('/').context("Service/Method")?;
    let first = requests.first().context("a request")?;
    match (service, method) {
        ("jumpstarter.v1.ControllerService", "AuditStream") => {
            let mut client = v1::controller_service_client::ControllerServiceClient::new(channel);
            let requests: Result<Vec<_>, _> = requests.iter().map(|r| decode(r)).collect();
            Ok(encoded(
                client.audit_stream(tokio_stream::iter(requests?)).await?,
            ))
        }
        ("jumpstarter.v1.RouterService", "Stream") => {
            let mut client = v1::router_service_client::RouterServiceClient::new(channel);
            let requests: Result<Vec<_>, _> = requests.iter().map(|r| decode(r)).collect();
            let answers = client.stream(tokio_stream::iter(requests?)).await?;
            Ok(collected(answers).await?)
        }
        ("jumpstarter.v1.ControllerService", _) => call_controller(channel, method, first).await,
        ("jumpstarter.v1.ExporterService", _) => call_exporter(channel, method, first).await,
        ("jumpstarter.v1.TelemetryService", _) => call_telemetry(channel, method, first).await,
        ("jumpstarter.client.v1.ClientService", _) => call_client(channel, method, first).await,
        _ => bail!("no service {service:?}"),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["descriptors"] => Ok(io::stdout().write_all(protocol::DESCRIPTORS)?),
        ["serve"] => serve().await,
        ["call", endpoint] => {
            let channel = Connector::new(endpoint, Trust::Plaintext)?
                .channel()
                .await?;
            for line in io::stdin().lock().lines() {
                let line = line?;
                // An empty message is an empty word.
                let mut words = line.split(' ');
                let path = words.next().unwrap_or_default();
                let requests: Vec<_> = words
                    .map(|w| BASE64_STANDARD.decode(w))
                    .collect::<Result<_, _>>()?;
                let answers = call(channel.clone(), path, &requests)
                    .await
                    .context(line.clone())?;
                let answers: Vec<_> = answers.iter().map(|a| BASE64_STANDARD.encode(a)).collect();
                println!("{}", answers.join(" "));
            }
            Ok(())
        }
        _ => bail!("usage: protocol_echo descriptors | serve | call <host:port>"),
    }
}
