//! The services of the controller: what clients and exporters of a lab call.

mod client;
mod controller;
mod convert;
mod page;

use std::sync::Arc;

use tonic::{codec::CompressionEncoding::Gzip, service::RoutesBuilder};

use super::{desk::Desk, folder::Folder};
use crate::protocol::{
    client::v1::client_service_server::ClientServiceServer,
    v1::controller_service_server::ControllerServiceServer,
};

/// Adds both services. They understand compressed requests, which stock clients can be told to send.
pub(crate) fn add(desk: &Arc<Desk>, folder: &Folder, routes: &mut RoutesBuilder) {
    let clients = client::Clients {
        desk: desk.clone(),
        folder: folder.clone(),
    };
    let controller = controller::Controller { desk: desk.clone() };
    routes
        .add_service(
            ClientServiceServer::new(clients)
                .accept_compressed(Gzip)
                .send_compressed(Gzip),
        )
        .add_service(
            ControllerServiceServer::new(controller)
                .accept_compressed(Gzip)
                .send_compressed(Gzip),
        );
}
