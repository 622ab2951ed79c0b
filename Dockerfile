# The control plane with the filter inside: one static binary on an otherwise empty file system, for a read-only root, no
# capabilities and any user. `make images` builds it; examples/docker-compose runs it beside Envoy.
#
# Built by BuildKit and by the classic builder alike, so there is nothing here that only one of them knows.

# Any image with this Go or a later one, make, bash and a bundle of certificate authorities.
ARG GOLANG_IMAGE=golang:1.26-bookworm

FROM ${GOLANG_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN make build VERSION="${VERSION}" && \
    mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image/etc/keywheel /own && \
    cp build/keywheel /image/usr/local/bin/ && \
    echo nonroot:x:65532:65532::/etc/keywheel:/usr/sbin/nologin >/image/etc/passwd && \
    echo nonroot:x:65532: >/image/etc/group && \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
COPY --from=build /image/ /
# What the program writes to. Named volumes take their owner from here.
COPY --from=build --chown=65532:65532 /own /var/lib/keywheel
COPY --from=build --chown=65532:65532 /own /run/keywheel
VOLUME ["/var/lib/keywheel", "/run/keywheel"]

# An environment of settings and secrets wins over a .env or keywheel.yaml in the working directory. The account and the
# admin token are in one volume; what an Envoy in another container needs is in the other, at the same path there: the
# socket of xDS, the filter's module and, once `keywheel envoy-config` wrote it, Envoy's configuration. A container's
# loopback is of no use to anybody else, so the admin API is on all addresses; what is published is up to who runs it.
ENV KEYWHEEL_STORE=file:/var/lib/keywheel/keywheel.db \
    KEYWHEEL_XDS_ADDR=unix:/run/keywheel/xds.sock \
    KEYWHEEL_WASM=/run/keywheel \
    KEYWHEEL_ADMIN_ADDR=0.0.0.0:8080
WORKDIR /etc/keywheel
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s CMD ["/usr/local/bin/keywheel", "health"]
ENTRYPOINT ["/usr/local/bin/keywheel"]
CMD ["serve"]

ARG VERSION=dev
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="Keywheel" \
      org.opencontainers.image.description="Automatic Groq API key rotation inside Envoy: the control plane, with the Wasm filter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
