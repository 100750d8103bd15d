# The image of cmd/coredns. From the top of the repository:
#
#   docker build -f manifests/images/coredns.Dockerfile -t signpost/coredns:dev .
#
# With --target full it has the plugins route53, azure and clouddns as well, as the stock
# image does: a Corefile that uses none of them needs neither these nor the client
# libraries of three clouds in the process that reads all Services.
#
# The last stage holds one static file, the CA certificates (for `forward . tls://…`)
# and nothing else: no shell, no libc.
#
# The tag of the base image moves. To build from one that does not, give its digest:
# --build-arg GO_IMAGE=golang:1.26-bookworm@sha256:…
ARG GO_IMAGE=golang:1.26-bookworm
FROM --platform=$BUILDPLATFORM $GO_IMAGE AS source
ARG TARGETOS
ARG TARGETARCH
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libcap2-bin
WORKDIR /src
# The modules first: this layer stays while only our own code changes.
COPY go.mod go.sum ./
RUN go mod download
COPY . .

# Port 53 for a user that is not root. Kubernetes gives a container's extra
# capabilities to a process of another user only through the file, so the file
# must carry NET_BIND_SERVICE; `capabilities.add` in the pod's manifest keeps it
# in the bounding set. It gains nothing that the pod has not been given, hence
# it works under allowPrivilegeEscalation: false. The price: a container whose
# bounding set lacks it (drop: [ALL] alone) cannot start this file at all, and
# says "operation not permitted".
FROM source AS build
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags '-s -w' -o /coredns ./cmd/coredns
RUN setcap cap_net_bind_service=+ep /coredns

FROM source AS build-full
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -tags release -trimpath -ldflags '-s -w' -o /coredns ./cmd/coredns
RUN setcap cap_net_bind_service=+ep /coredns

FROM scratch AS image
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# A number: runAsNonRoot cannot see that a name is not root.
USER 65532:65532
EXPOSE 53 53/udp
ENTRYPOINT ["/coredns"]

FROM image AS full
COPY --from=build-full /coredns /coredns

# The last one is the default.
FROM image AS slim
COPY --from=build /coredns /coredns
