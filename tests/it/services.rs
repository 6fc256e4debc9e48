//! Health and reflection, which answer on the port of the router's own service.

use std::time::Duration;

use crate::helpers::{Running, within};
use tonic::{Code, Request};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

const SERVICE: &str = "jumpstarter.v1.RouterService";

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_serving_for_the_process_and_its_service_only() {
    let router = Running::start(&[]).await;
    let mut health = HealthClient::new(router.connector().channel().await.unwrap());
    for service in ["", SERVICE] {
        let answer = within("health", health.check(of(service))).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }
    let error = within("health", health.check(of("other"))).await;
    assert_eq!(error.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_watch_learn_of_the_drain() {
    let router = Running::start(&[]).await;
    let pair = router.pair("keeps the drain waiting").await;
    let mut health = HealthClient::new(router.connector().channel().await.unwrap());
    let watch = within("watch", health.watch(of(SERVICE))).await.unwrap();
    let mut watch = watch.into_inner();
    let first = within("first", watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let draining = tokio::spawn(router.server.drain(Duration::from_secs(20)));
    let next = within("next", watch.message()).await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing);
    drop((watch, health));
    drop(pair);
    let drained = within("the drain", draining).await.unwrap();
    assert_eq!(drained.ended, 0, "the pair left by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_leave_are_forgotten() {
    let router = Running::start(&[("streams.max_per_connection", "2")]).await;
    let mut health = HealthClient::new(router.connector().channel().await.unwrap());
    // More than the connection may hold at once: each must go when it is dropped.
    for _ in 0..20 {
        let watch = within("watch", health.watch(of(""))).await.unwrap();
        let mut watch = watch.into_inner();
        within("first", watch.message()).await.unwrap().unwrap();
    }
}

/// Whether a file descriptor, still encoded, holds this name.
fn holds(file: &[u8], name: &str) -> bool {
    file.windows(name.len()).any(|part| part == name.as_bytes())
}

macro_rules! reflection {
    ($test:ident, $version:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            use $version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };
            let router = Running::start(&[]).await;
            let channel = router.connector().channel().await.unwrap();
            let mut client = ServerReflectionClient::new(channel);
            let ask = |question| ServerReflectionRequest {
                host: String::new(),
                message_request: Some(question),
            };
            let questions = [
                MessageRequest::ListServices(String::new()),
                MessageRequest::FileContainingSymbol(SERVICE.to_owned()),
                // Defined by the protocol, but not served by a router.
                MessageRequest::FileContainingSymbol("jumpstarter.v1.ControllerService".to_owned()),
            ];
            let questions = Request::new(tokio_stream::iter(questions.map(ask)));
            let answers = within("a call", client.server_reflection_info(questions)).await;
            let mut answers = answers.unwrap().into_inner();

            let answer = within("services", answers.message())
                .await
                .unwrap()
                .unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("{answer:?}")
            };
            let mut list: Vec<_> = list
                .service
                .into_iter()
                .map(|service| service.name)
                .filter(|name| !name.starts_with("grpc.reflection."))
                .collect();
            list.sort();
            assert_eq!(list, ["grpc.health.v1.Health", SERVICE]);

            let answer = within("a file", answers.message()).await.unwrap().unwrap();
            let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response
            else {
                panic!("{answer:?}")
            };
            let described = |file: &Vec<u8>| {
                [
                    "jumpstarter.v1",
                    "RouterService",
                    "StreamRequest",
                    "FrameType",
                ]
                .iter()
                .all(|name| holds(file, name))
            };
            assert!(files.file_descriptor_proto.iter().any(described));

            let end = within("an end", answers.message()).await;
            match end {
                Err(status) => assert_eq!(status.code(), Code::NotFound),
                Ok(answer) => {
                    let answer = answer.unwrap().message_response.unwrap();
                    assert!(
                        matches!(answer, MessageResponse::ErrorResponse(_)),
                        "{answer:?}"
                    );
                }
            }
        }
    };
}

reflection!(reflection_v1_names_and_describes_the_service, v1);
reflection!(reflection_v1alpha_names_and_describes_the_service, v1alpha);
