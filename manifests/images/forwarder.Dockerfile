# The image of cmd/forwarder. From the top of the repository:
#
#   docker build -f manifests/images/forwarder.Dockerfile -t signpost/forwarder:dev .
#
# One static file under two names: existing manifests of kube-proxy call the
# second. The nftables mode talks to the kernel itself; for the iptables mode there
# are Debian's programs of both backends, with the libraries that they load.
#
# The tags of the base images move. To build from ones that do not, give their digests:
# --build-arg GO_IMAGE=golang:1.26-bookworm@sha256:…
# --build-arg DEBIAN_IMAGE=debian:bookworm-slim@sha256:…
ARG GO_IMAGE=golang:1.26-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim
FROM --platform=$BUILDPLATFORM $GO_IMAGE AS build
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

# For the platform that the image is for. Of the links to the two programs those
# that name their backend are kept: which of them a node uses is found out there.
FROM $DEBIAN_IMAGE AS tools
RUN apt-get update && apt-get install -y --no-install-recommends iptables
RUN mkdir -p /root-of-tools/usr/bin /root-of-tools/usr/lib /root-of-tools/usr/lib64 /root-of-tools/run /root-of-tools/tmp \
	&& ln -s usr/lib /root-of-tools/lib && ln -s usr/lib64 /root-of-tools/lib64 \
	&& cp /usr/sbin/xtables-nft-multi /usr/sbin/xtables-legacy-multi /root-of-tools/usr/bin/ \
	&& for backend in nft legacy; do for family in iptables ip6tables; do for verb in "" -save -restore; do \
		ln -s xtables-$backend-multi /root-of-tools/usr/bin/$family-$backend$verb; done; done; done \
	&& ldd /usr/sbin/xtables-nft-multi /usr/sbin/xtables-legacy-multi /usr/lib/*/xtables/*.so | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | sort -u \
		| while read -r library; do \
			mkdir -p /root-of-tools/usr"$(dirname "${library#/usr}")" && cp -L "$library" /root-of-tools/usr"${library#/usr}"; done \
	&& for modules in /usr/lib/*/xtables; do cp -r "$modules" "/root-of-tools$modules"; done

FROM scratch
COPY --from=tools /root-of-tools/ /
COPY --from=build /root-of-image/ /
ENV PATH=/usr/local/bin:/usr/bin
# Root, because the kernel's nftables wants CAP_NET_ADMIN in effect and a container
# gets no ambient capabilities; the manifest drops all others.
ENTRYPOINT ["/forwarder"]
