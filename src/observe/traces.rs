//! A span for each ended stream, sent to an OpenTelemetry collector.
//!
//! The span is made from the stream's record when it ends, so that nothing is done while bytes pass. What a peer
//! chooses can only be a value of an attribute.

use std::{
    env,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TracerProvider as _},
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};

/// These variables name a collector, as the specification has them.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// So long the last spans have to be sent at the end of the process.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// As there is one log for the process, so there is one way to the collector.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Sends spans to the collector.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

/// Opens the way to the collector that the environment names; `None` if it names none. Must be called in a tokio runtime.
pub(crate) fn start() -> Result<Option<Traces>, ExporterBuildError> {
    let given = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if !ENDPOINTS.into_iter().any(given) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let version = KeyValue::new("service.version", crate::VERSION);
    let mut resource = Resource::builder().with_attribute(version);
    if !given("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name("jumpstarter-router");
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let _ = TRACER.set(provider.tracer("jumpstarter_router"));
    Ok(Some(Traces(provider)))
}

impl Traces {
    /// Sends what is left. Blocks for at most two seconds.
    pub(crate) fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans may not have been sent");
        }
    }
}

/// Makes a span that ends now, if there is a collector. `failure`: what went wrong, if it did.
pub(super) fn span(
    name: &'static str,
    duration: Duration,
    failure: Option<String>,
    attributes: impl FnOnce() -> Vec<KeyValue>,
) {
    let Some(tracer) = TRACER.get() else {
        return;
    };
    let end = SystemTime::now();
    let mut span = SpanBuilder::from_name(name)
        .with_kind(SpanKind::Server)
        .with_start_time(end.checked_sub(duration).unwrap_or(end))
        .with_attributes(attributes())
        .start(tracer);
    if let Some(failure) = failure {
        span.set_status(Status::error(failure));
    }
    span.end_with_timestamp(end);
}
