# A static binary in an empty image.
#
#   docker build -t imageset-controller:v0.1.0 .
#
# Where no builder image can be had, a folder with the files of /out takes the place of the first stage:
#
#   buildah bud --build-context build=FOLDER -t imageset-controller:v0.1.0 .
#
# FOLDER holds out/imageset-controller and out/ca-certificates.crt.

ARG RUST_VERSION=1.95.0

FROM docker.io/library/rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /source
COPY . .
# glibc linked in, and the processor's own target named, so that build scripts and macros stay dynamic.
# hadolint ignore=DL4006
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" \
    && install -D -m 0755 "target/$target/release/imageset-controller" /out/imageset-controller \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /out/ca-certificates.crt

FROM scratch AS image
LABEL org.opencontainers.image.title="imageset-controller" \
      org.opencontainers.image.description="Keeps a digest-pinned Calico cluster upgradable: builds, verifies and applies the tigera-operator's ImageSet before an upgrade lands" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/imageset-controller /imageset-controller
# A number, because the kubelet can't check names against runAsNonRoot.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/imageset-controller"]
CMD ["run"]
