# The image of cmd/coredns. From the top of the repository:
#
#   docker build -f manifests/images/coredns.Dockerfile -t signpost/coredns:dev .
#
# Two stages: the first builds one static file, the second holds that file, the
# CA certificates (for `forward . tls://…`) and nothing else: no shell, no libc.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS
ARG TARGETARCH
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libcap2-bin
WORKDIR /src
# The modules first: this layer stays while only our own code changes.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# release: with the zone plugins of the cloud vendors, as the stock image has them.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -tags release -trimpath -ldflags '-s -w' -o /coredns ./cmd/coredns
# Port 53 for a user that is not root. Kubernetes gives a container's extra
# capabilities to a process of another user only through the file, so the file
# must carry NET_BIND_SERVICE; `capabilities.add` in the pod's manifest keeps it
# in the bounding set. It gains nothing that the pod has not been given, hence
# it works under allowPrivilegeEscalation: false. The price: a container whose
# bounding set lacks it (drop: [ALL] alone) cannot start this file at all, and
# says "operation not permitted".
RUN setcap cap_net_bind_service=+ep /coredns

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /coredns /coredns
# A number: runAsNonRoot cannot see that a name is not root.
USER 65532:65532
EXPOSE 53 53/udp
ENTRYPOINT ["/coredns"]
