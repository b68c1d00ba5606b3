#!/usr/bin/env bash
# Makes what the first stage of the Dockerfile makes, in target/image/out, and prints target/image: a static binary and the list of
# what is in it. Not the release binary, which takes minutes: the debug build's own objects, linked statically. The rest of the
# Dockerfile can't tell the difference but by the size. IMAGE_BINARY names another binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$PWD/target/image
# shellcheck source=tests/go-build.sh
. tests/go-build.sh
mkdir -p "$folder/out"
lock "$folder/lock"

if [ -n "${IMAGE_BINARY:-}" ]; then
    binary=$IMAGE_BINARY
else
    # Cargo keeps both links, and hands out the one that was asked for last.
    cargo rustc --quiet --locked --bin imageset-controller -- -C target-feature=+crt-static -C strip=symbols >&2
    binary=target/debug/imageset-controller
fi
install -m 0755 "$binary" "$folder/out/imageset-controller"
[ -n "${IMAGE_BINARY:-}" ] || cargo build --quiet --locked --bin imageset-controller >&2
deploy/image/sbom.sh "$(rustc --print host-tuple)" "$folder/out/imageset-controller.cdx.json"
printf '%s\n' "$folder"
