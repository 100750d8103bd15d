# The image of cmd/forwarder. From the top of the repository:
#
#   docker build -f manifests/images/forwarder.Dockerfile -t signpost/forwarder:dev .
#
# One static file under two names: existing manifests of kube-proxy call the
# second. The nftables mode talks to the kernel itself and needs no tool inside.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
# The modules first: this layer stays while only our own code changes.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags '-s -w' -o /forwarder ./cmd/forwarder
# Copied as a link, which COPY below keeps.
RUN mkdir -p /root-of-image/usr/local/bin && cp /forwarder /root-of-image/forwarder \
	&& ln -s /forwarder /root-of-image/usr/local/bin/kube-proxy

FROM scratch
COPY --from=build /root-of-image/ /
# Root, because the kernel's nftables wants CAP_NET_ADMIN in effect and a container
# gets no ambient capabilities; the manifest drops all others.
ENTRYPOINT ["/forwarder"]
