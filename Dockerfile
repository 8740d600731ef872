# Images of the operator and of a worker with the programs in this repository. A program of your own
# goes into an image of your own, of which the last stage is all there is to it.
#
#     docker build --target worker -t registry.example/millstream/worker:0.1.0 .
#     docker build --target operator -t registry.example/millstream/operator:0.1.0 .

FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update \
  && apt-get install --yes --no-install-recommends clang cmake libclang-dev libssl-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package millstream-worker --all-features \
  && cargo build --release --locked --package millstream-operator \
  && install --strip --target-directory=/ \
    target/release/millstream-worker target/release/millstream-operator

# What a worker links: the C library, and OpenSSL for Kafka over TLS.
FROM docker.io/library/debian:bookworm-slim AS worker
COPY --from=build /millstream-worker /usr/local/bin/millstream-worker
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/millstream-worker"]

FROM docker.io/library/debian:bookworm-slim AS operator
COPY --from=build /millstream-operator /usr/local/bin/millstream-operator
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/millstream-operator"]
