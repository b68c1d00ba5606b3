# A static binary, the authorities that the world trusts and a list of what is in the binary; nothing else: no shell, no package
# manager, no library.
#
#   docker build -t imageset-controller:v0.1.0 .
#
# `make image` does it reproducibly (deploy/image/build.sh): the same source and the same builder image make the same digest.
#
# Each architecture is built on itself, on a machine of its own or in an emulator (--platform), and not by a cross compiler on
# BUILDPLATFORM: that would come from Debian's archive of the day, so that the builder image would no longer say what was built
# with; and what was built on its own architecture can also be run there before it is pushed (docs/adr/0016).
#
# Where no builder image can be had, a folder with the files of /out takes the place of the first stage:
#
#   buildah bud --build-context build=FOLDER -t imageset-controller:v0.1.0 .
#
# FOLDER holds out/imageset-controller, out/ca-certificates.crt and out/imageset-controller.cdx.json.

# A release names it by digest. Nothing is installed into it: all that is needed is in it.
ARG BUILDER=docker.io/library/rust:1.95.0-slim-bookworm

FROM ${BUILDER} AS build
ARG SOURCE_DATE_EPOCH=0
WORKDIR /source
COPY . .
# glibc linked in, and the processor's own target named, so that build scripts and macros stay dynamic.
RUN target="$(rustc --print host-tuple)" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" \
    && install -D -m 0755 "target/$target/release/imageset-controller" /out/imageset-controller \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /out/ca-certificates.crt \
    && deploy/image/sbom.sh "$target" /out/imageset-controller.cdx.json

FROM scratch AS image
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=
# The date of the source, not of the build.
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="imageset-controller" \
      org.opencontainers.image.description="Keeps a digest-pinned Calico cluster upgradable: builds, verifies and applies the tigera-operator's ImageSet before an upgrade lands" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/imageset-controller.cdx.json /usr/share/sbom/imageset-controller.cdx.json
COPY --from=build /out/imageset-controller /imageset-controller
# A number, because the kubelet can't check names against runAsNonRoot.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/imageset-controller"]
CMD ["run"]
