//! `ControllerService`: what exporters call, `Dial`, and the older calls of clients.

use std::{pin::Pin, sync::Arc, time::SystemTime};

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming, async_trait, metadata::MetadataMap};
use uuid::Uuid;

use super::convert;
use crate::{
    lab::{
        desk::{Desk, now},
        leases::{Terms, Times},
        refusal::Refusal,
        tokens::{Holder, Kind},
    },
    protocol::v1::{
        AuditStreamRequest, DialRequest, DialResponse, ExporterStatus, GetLeaseRequest,
        GetLeaseResponse, GetServiceEndpointsRequest, GetServiceEndpointsResponse,
        ListLeasesRequest, ListLeasesResponse, ListenRequest, ListenResponse, RegisterRequest,
        RegisterResponse, ReleaseLeaseRequest, ReleaseLeaseResponse, ReportStatusRequest,
        ReportStatusResponse, RequestLeaseRequest, RequestLeaseResponse, StatusRequest,
        StatusResponse, UnregisterRequest, UnregisterResponse,
        controller_service_server::ControllerService,
    },
};

/// The service.
pub(super) struct Controller {
    pub(super) desk: Arc<Desk>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Controller {
    fn caller(&self, metadata: &MetadataMap) -> Result<Holder, Refusal> {
        let caller = self.desk.tokens.caller(metadata, SystemTime::now());
        caller.inspect_err(|refusal| tracing::info!("somebody was not let in: {refusal}"))
    }

    fn name(&self, metadata: &MetadataMap, needed: Kind) -> Result<String, Refusal> {
        let name = self.desk.tokens.check(metadata, needed, SystemTime::now());
        name.inspect_err(|refusal| tracing::info!("somebody was not let in: {refusal}"))
    }
}

#[async_trait]
impl ControllerService for Controller {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let exporter = self.name(request.metadata(), Kind::Exporter)?;
        let RegisterRequest { labels, reports } = request.into_inner();
        let registered = self.desk.change(|leases, now| {
            let uuid = leases.register(&exporter, labels, now)?;
            Ok(uuid.to_owned())
        });
        let uuid = registered.await?;
        tracing::info!(
            "exporter {exporter} has registered, with {} drivers",
            reports.len()
        );
        Ok(Response::new(RegisterResponse { uuid }))
    }

    async fn unregister(
        &self,
        request: Request<UnregisterRequest>,
    ) -> Result<Response<UnregisterResponse>, Status> {
        let exporter = self.name(request.metadata(), Kind::Exporter)?;
        let reason = request.into_inner().reason;
        let status = ExporterStatus::Offline;
        let reported = self
            .desk
            .change(|leases, now| leases.report(&exporter, status, reason, now));
        reported.await?;
        tracing::info!("exporter {exporter} has said goodbye");
        Ok(Response::new(UnregisterResponse {}))
    }

    async fn report_status(
        &self,
        request: Request<ReportStatusRequest>,
    ) -> Result<Response<ReportStatusResponse>, Status> {
        let exporter = self.name(request.metadata(), Kind::Exporter)?;
        let request = request.into_inner();
        let status = request.status();
        let message = request.message.unwrap_or_default();
        tracing::debug!(
            exporter,
            status = status.as_str_name(),
            message,
            "exporter reports"
        );
        let reported = self.desk.change(|leases, now| {
            if request.release_lease == Some(true)
                && let Some(lease) = leases.lease_on(&exporter)
            {
                let lease = lease.name.clone();
                leases.release(&lease, now)?;
            }
            leases.report(&exporter, status, message, now)
        });
        reported.await?;
        Ok(Response::new(ReportStatusResponse {}))
    }

    type ListenStream = Answers<ListenResponse>;

    async fn listen(
        &self,
        request: Request<ListenRequest>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        let exporter = self.name(request.metadata(), Kind::Exporter)?;
        let lease = request.into_inner().lease_name;
        self.desk
            .change_now(|leases, _| leases.listen(&exporter, &lease))?;
        let call = (self.desk.listen(&lease), self.desk.clone(), exporter);
        let answers = stream::try_unfold(call, |(mut listening, desk, exporter)| async move {
            let route = tokio::select! {
                biased;
                route = listening.next() => route,
                () = desk.stop.cancelled() => return Err(Refusal::Stopping.into()),
            };
            let route = route.ok_or_else(|| Refusal::Superseded(exporter.clone()))?;
            let answer = ListenResponse {
                router_endpoint: route.endpoint,
                router_token: route.token,
            };
            Ok(Some((answer, (listening, desk, exporter))))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    type StatusStream = Answers<StatusResponse>;

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<Self::StatusStream>, Status> {
        let exporter = self.name(request.metadata(), Kind::Exporter)?;
        // Before it counts as connected, so that nothing is missed.
        let changes = self.desk.changes();
        let session = self
            .desk
            .change_now(|leases, now| leases.connect(&exporter, now));
        let call = StatusCall {
            session: session?,
            desk: self.desk.clone(),
            exporter,
            changes,
            told: None,
        };
        tracing::info!("exporter {} is connected", call.exporter);
        let answers = stream::try_unfold(call, |mut call| async move {
            let answer = call.next().await?;
            Ok(Some((answer, call)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn dial(&self, request: Request<DialRequest>) -> Result<Response<DialResponse>, Status> {
        let client = self.name(request.metadata(), Kind::Client)?;
        let lease = request.into_inner().lease_name;
        let route = self.desk.dial(&client, &lease).await;
        let route = route.inspect_err(|refusal| {
            tracing::info!("{client} does not reach the exporter of lease {lease}: {refusal}");
        })?;
        tracing::debug!(lease, client, "exporter dialled");
        Ok(Response::new(DialResponse {
            router_endpoint: route.endpoint,
            router_token: route.token,
        }))
    }

    async fn audit_stream(
        &self,
        _: Request<Streaming<AuditStreamRequest>>,
    ) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("nobody ever called this"))
    }

    async fn get_lease(
        &self,
        request: Request<GetLeaseRequest>,
    ) -> Result<Response<GetLeaseResponse>, Status> {
        let client = self.name(request.metadata(), Kind::Client)?;
        let name = request.into_inner().name;
        let response = self.desk.read(|leases| -> Result<_, Refusal> {
            let lease = leases.lease_of(&client, &name)?;
            let (begin, end) = lease.ran();
            let exporter = lease.held().and_then(|name| leases.exporter(name).ok());
            Ok(GetLeaseResponse {
                duration: Some(convert::duration(lease.terms.duration)),
                selector: Some(convert::label_selector(&lease.terms.selector)),
                begin_time: begin.map(convert::timestamp),
                end_time: end.map(convert::timestamp),
                exporter_uuid: exporter.map(|exporter| exporter.uuid.clone()),
                conditions: convert::conditions(lease, leases, now()),
            })
        });
        Ok(Response::new(response?))
    }

    async fn request_lease(
        &self,
        request: Request<RequestLeaseRequest>,
    ) -> Result<Response<RequestLeaseResponse>, Status> {
        let client = self.name(request.metadata(), Kind::Client)?;
        let request = request.into_inner();
        let selector = convert::read_label_selector(&request.selector.unwrap_or_default())?;
        let wanted = request.duration.as_ref();
        let times = Times {
            duration: wanted.map(convert::read_duration).transpose()?,
            ..Times::default()
        };
        let (duration, begin, end) = times.settle().map_err(Refusal::Terms)?;
        let terms = Terms {
            selector,
            duration,
            begin,
            end,
            ..Terms::default()
        };
        let name = Uuid::now_v7().to_string();
        let requested = self
            .desk
            .change(|leases, now| leases.request(&client, &name, terms, now).map(drop));
        requested.await?;
        tracing::debug!(lease = name, client, "lease requested");
        Ok(Response::new(RequestLeaseResponse { name }))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        let name = request.into_inner().name;
        let released = self.desk.change(|leases, now| {
            match caller.kind {
                Kind::Client => {
                    leases.lease_of(&caller.name, &name)?;
                }
                Kind::Exporter => {
                    if leases.lease(&name)?.held() != Some(&caller.name) {
                        return Err(Refusal::NotHeld {
                            lease: name.clone(),
                            exporter: caller.name.clone(),
                        });
                    }
                }
            }
            // Releasing twice is no mistake here.
            leases.release(&name, now)
        });
        released.await?;
        tracing::debug!(lease = name, by = %caller, "lease released");
        Ok(Response::new(ReleaseLeaseResponse {}))
    }

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        let client = self.name(request.metadata(), Kind::Client)?;
        let names = self.desk.read(|leases| {
            let own = leases.leases().values();
            own.filter(|lease| lease.client == client && !lease.ended())
                .map(|lease| lease.name.clone())
                .collect()
        });
        Ok(Response::new(ListLeasesResponse { names }))
    }

    async fn get_service_endpoints(
        &self,
        request: Request<GetServiceEndpointsRequest>,
    ) -> Result<Response<GetServiceEndpointsResponse>, Status> {
        self.caller(request.metadata())?;
        // A lab takes in no telemetry.
        Ok(Response::new(GetServiceEndpointsResponse::default()))
    }
}

/// An exporter that is told about its lease.
struct StatusCall {
    desk: Arc<Desk>,
    exporter: String,
    session: u64,
    changes: watch::Receiver<()>,
    told: Option<StatusResponse>,
}

impl StatusCall {
    async fn next(&mut self) -> Result<StatusResponse, Refusal> {
        loop {
            self.changes.borrow_and_update();
            let news = self.look();
            let mut news = news.ok_or_else(|| Refusal::Superseded(self.exporter.clone()))?;
            if self.told.as_ref() != Some(&news) {
                // The end of one lease is told before the next, however quickly they follow each other: an exporter
                // that did not hear of it would go on with the first.
                if self.may_work_on_another(&news) {
                    news = StatusResponse::default();
                }
                self.told = Some(news.clone());
                return Ok(news);
            }
            tokio::select! {
                // It cannot fail: the desk holds the sender.
                _ = self.changes.changed() => {}
                () = self.desk.stop.cancelled() => return Err(Refusal::Stopping),
            }
        }
    }

    fn may_work_on_another(&self, news: &StatusResponse) -> bool {
        let Some(new) = &news.lease_name else {
            return false;
        };
        match &self.told {
            Some(told) => told.lease_name.as_ref().is_some_and(|lease| lease != new),
            // This connection has told nothing yet, and an earlier one may have broken too soon.
            None => self.desk.read(|leases| {
                let exporter = leases.exporter(&self.exporter).ok();
                exporter.is_none_or(|exporter| exporter.works_on.as_ref() != Some(new))
            }),
        }
    }

    /// Looks how it is now; `None`: another connection is told instead.
    fn look(&self) -> Option<StatusResponse> {
        self.desk.read(|leases| {
            let exporter = leases.exporter(&self.exporter).ok()?;
            if exporter.session != Some(self.session) {
                return None;
            }
            let lease = leases.lease_on(&self.exporter);
            Some(
                lease.map_or_else(StatusResponse::default, |lease| StatusResponse {
                    leased: true,
                    lease_name: Some(lease.name.clone()),
                    client_name: Some(lease.client.clone()),
                    context: lease.terms.context.clone(),
                }),
            )
        })
    }
}

impl Drop for StatusCall {
    fn drop(&mut self) {
        self.desk
            .change_now(|leases, _| leases.disconnect(&self.exporter, self.session));
        tracing::info!("exporter {} is not connected any more", self.exporter);
    }
}
