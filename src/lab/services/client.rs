//! `ClientService`: exporters, leases, tokens.

use std::{sync::Arc, time::SystemTime};

use tonic::{Request, Response, Status, async_trait, metadata::MetadataMap};
use uuid::Uuid;

use super::{convert, page::page};
use crate::{
    lab::{
        desk::{Desk, now},
        folder::Folder,
        leases::check_tags,
        names,
        refusal::Refusal,
        selector::Selector,
        tokens::{self, Holder, Kind},
    },
    protocol::client::v1::{
        CreateLeaseRequest, DeleteLeaseRequest, Exporter, GetExporterRequest, GetLeaseRequest,
        Lease, ListExportersRequest, ListExportersResponse, ListLeasesRequest, ListLeasesResponse,
        RotateTokenRequest, RotateTokenResponse, UpdateLeaseRequest,
        client_service_server::ClientService,
    },
};

/// The service.
pub(super) struct Clients {
    pub(super) desk: Arc<Desk>,
    pub(super) folder: Folder,
}

impl Clients {
    /// Names the client that calls.
    fn caller(&self, metadata: &MetadataMap) -> Result<String, Refusal> {
        let checked = self
            .desk
            .tokens
            .check(metadata, Kind::Client, SystemTime::now());
        checked.inspect_err(|refusal| tracing::info!("a client was not let in: {refusal}"))
    }
}

#[async_trait]
impl ClientService for Clients {
    async fn get_exporter(
        &self,
        request: Request<GetExporterRequest>,
    ) -> Result<Response<Exporter>, Status> {
        self.caller(request.metadata())?;
        let name = names::parse(&request.get_ref().name, "exporters")?;
        let exporter = self.desk.read(|leases| -> Result<_, Refusal> {
            Ok(convert::exporter(name, leases.exporter(name)?))
        });
        Ok(Response::new(exporter?))
    }

    async fn list_exporters(
        &self,
        request: Request<ListExportersRequest>,
    ) -> Result<Response<ListExportersResponse>, Status> {
        self.caller(request.metadata())?;
        let request = request.into_inner();
        names::parse_parent(&request.parent)?;
        let filter = Selector::parse(&request.filter).map_err(Refusal::Terms)?;
        let response = self.desk.read(|leases| -> Result<_, Refusal> {
            let (found, next_page_token) = page(
                leases.exporters(),
                request.page_size,
                &request.page_token,
                |exporter| filter.matches(&exporter.labels),
            )?;
            let found = found.into_iter();
            Ok(ListExportersResponse {
                exporters: found.map(|(name, e)| convert::exporter(name, e)).collect(),
                next_page_token,
            })
        });
        Ok(Response::new(response?))
    }

    async fn get_lease(
        &self,
        request: Request<GetLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        self.caller(request.metadata())?;
        let name = names::parse(&request.get_ref().name, "leases")?;
        let lease = self.desk.read(|leases| -> Result<_, Refusal> {
            Ok(convert::lease(leases.lease(name)?, leases, now()))
        });
        Ok(Response::new(lease?))
    }

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        self.caller(request.metadata())?;
        let request = request.into_inner();
        names::parse_parent(&request.parent)?;
        let filter = Selector::parse(&request.filter).map_err(Refusal::Terms)?;
        let tags = Selector::parse(&request.tag_filter)
            .map_err(|why| Refusal::Invalid(format!("invalid tag_filter: {why}")))?;
        let only_active = request.only_active.unwrap_or(true);
        let response = self.desk.read(|leases| -> Result<_, Refusal> {
            let now = now();
            let (found, next_page_token) = page(
                leases.leases(),
                request.page_size,
                &request.page_token,
                |lease| {
                    !(only_active && lease.ended())
                        && filter.matches(&lease.labels())
                        && tags.matches(&lease.terms.tags)
                },
            )?;
            let found = found.into_iter();
            Ok(ListLeasesResponse {
                leases: found
                    .map(|(_, lease)| convert::lease(lease, leases, now))
                    .collect(),
                next_page_token,
            })
        });
        Ok(Response::new(response?))
    }

    async fn create_lease(
        &self,
        request: Request<CreateLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        let caller = self.caller(request.metadata())?;
        let request = request.into_inner();
        names::parse_parent(&request.parent)?;
        let wanted = request
            .lease
            .ok_or_else(|| Refusal::Invalid("lease is required".to_owned()))?;
        check_tags(&wanted.tags)
            .map_err(|why| Refusal::Invalid(format!("invalid lease tags: {why}")))?;
        let name = match request.lease_id.as_str() {
            "" => Uuid::now_v7().to_string(),
            id => {
                names::object(id).map_err(Refusal::Terms)?;
                id.to_owned()
            }
        };
        let terms = convert::terms(wanted)?;
        let selector = terms.selector.text().to_owned();
        let lease = self.desk.change(|leases, now| {
            leases.request(&caller, &name, terms, now)?;
            let lease = leases.lease(&name)?;
            Ok(convert::lease(lease, leases, now))
        });
        let lease = lease.await?;
        tracing::debug!(lease = name, client = caller, selector, "lease requested");
        Ok(Response::new(lease))
    }

    async fn update_lease(
        &self,
        request: Request<UpdateLeaseRequest>,
    ) -> Result<Response<Lease>, Status> {
        let caller = self.caller(request.metadata())?;
        let wanted = request
            .into_inner()
            .lease
            .ok_or_else(|| Refusal::Invalid("lease is required".to_owned()))?;
        let name = names::parse(&wanted.name, "leases")?;
        // As upstream, what is set is meant, and the mask says nothing more.
        let times = convert::times(&wanted)?;
        let heir = match wanted.client.as_deref() {
            None | Some("") => None,
            Some(client) => {
                let heir = names::parse(client, "clients")?;
                if !self.desk.tokens.knows_client(heir) {
                    return Err(Refusal::ClientNotFound(heir.to_owned()).into());
                }
                Some(heir)
            }
        };
        let lease = self.desk.change(|leases, now| {
            leases.amend(&caller, name, times, heir, now)?;
            let lease = leases.lease(name)?;
            Ok(convert::lease(lease, leases, now))
        });
        let lease = lease.await?;
        match heir {
            Some(heir) => tracing::info!("{caller} has given lease {name} to {heir}"),
            None => tracing::info!("{caller} has changed the times of lease {name}"),
        }
        Ok(Response::new(lease))
    }

    async fn delete_lease(
        &self,
        request: Request<DeleteLeaseRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = self.caller(request.metadata())?;
        let name = names::parse(&request.get_ref().name, "leases")?;
        let released = self.desk.change(|leases, now| {
            leases.lease_of(&caller, name)?;
            leases.release(name, now)
        });
        if !released.await? {
            return Err(Refusal::AlreadyReleased(name.to_owned()).into());
        }
        tracing::debug!(lease = name, client = caller, "lease released");
        Ok(Response::new(()))
    }

    async fn rotate_token(
        &self,
        request: Request<RotateTokenRequest>,
    ) -> Result<Response<RotateTokenResponse>, Status> {
        let caller = self.caller(request.metadata())?;
        names::parse_parent(&request.get_ref().parent)?;
        let holder = Holder::new(Kind::Client, &caller);
        let now = SystemTime::now();
        let token = self.desk.tokens.rotate(&holder, now)?;
        tracing::info!("{caller} has a new token");
        let (folder, new) = (self.folder.clone(), token.clone());
        let written = tokio::task::spawn_blocking(move || folder.write_token(&holder, &new)).await;
        if let Ok(Err(error)) = written {
            // The client has it, which is what counts.
            tracing::warn!(client = caller, %error, "the new token is not in the client's file");
        }
        Ok(Response::new(RotateTokenResponse {
            token,
            expiry: Some(convert::timestamp(tokens::expiry(now))),
        }))
    }
}
