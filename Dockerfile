# docker build --build-arg GIT_COMMIT=$(git rev-parse --short=12 HEAD) -t jumpstarter-router .

# Debian 12 in both stages, so that the C library built against is the one run with.
FROM rust:1.95-bookworm AS builder
WORKDIR /build
COPY . .
# Shown by the first log line and the metric jumpstarter_router_build_info.
ARG GIT_COMMIT=unknown
# The program without `lab` and `load`, which are for development.
RUN GIT_COMMIT="$GIT_COMMIT" cargo build --locked --profile dist --no-default-features --features cli,cluster --bin jumpstarter-router
# The operator starts /router. A link is made here, as the final image has no shell to make it with.
RUN install -D -m 0755 target/dist/jumpstarter-router /out/usr/local/bin/jumpstarter-router \
    && ln -s usr/local/bin/jumpstarter-router /out/router \
    && install -D -m 0644 LICENSE /out/licenses/LICENSE

# The C library, libgcc and certificates; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG GIT_COMMIT=unknown
LABEL org.opencontainers.image.title="jumpstarter-router" \
      org.opencontainers.image.description="Stream router for Jumpstarter" \
      org.opencontainers.image.source="https://github.com/jumpstarter-dev/jumpstarter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$GIT_COMMIT"
COPY --from=builder /out/ /
# A number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
# gRPC, health, metrics.
EXPOSE 8083 8081 8080
ENTRYPOINT ["/router"]
