#!/bin/sh
# Builds the image of the Dockerfile, with docker buildx or buildah, whichever is there. The same source and builder make the
# same digest: every date is that of the last commit (or SOURCE_DATE_EPOCH), and nothing of this machine gets in.
#
#   IMAGE=registry.example.com/imageset-controller:v0.1.0   its name (default: imageset-controller:vVERSION)
#   PLATFORM=linux/arm64        other than this machine's: needs an emulator
#   BUILDER=…@sha256:…          the builder image by digest, as releases have it
#   PUSH=1                      push it
#   ENGINE=buildah              of two engines this one
#   FOLDER=…                    takes the place of the first stage (buildah)
#   METADATA=FILE               where the digest goes
set -eu
cd "$(dirname "$0")/../.."

package_version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
IMAGE=${IMAGE:-imageset-controller:v$package_version}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
# What is built is not that commit.
[ -n "${REVISION:-}" ] || git diff --quiet HEAD 2>/dev/null || revision=$revision-dirty

if [ -z "${ENGINE:-}" ]; then
    if docker buildx version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then ENGINE=docker
    elif command -v buildah >/dev/null; then ENGINE=buildah
    else
        echo "error: neither a running docker with buildx nor buildah is here; install one of them" >&2
        exit 3
    fi
fi

set -- --build-arg "VERSION=$package_version" --build-arg "REVISION=$revision" --build-arg "SOURCE=${SOURCE:-}" \
    --build-arg "CREATED=$created" --build-arg "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH"
[ -z "${BUILDER:-}" ] || set -- "$@" --build-arg "BUILDER=$BUILDER"
[ -z "${PLATFORM:-}" ] || set -- "$@" --platform "$PLATFORM"

case $ENGINE in
docker)
    output=type=docker
    [ -z "${PUSH:-}" ] || output=type=image,push=true
    # Attestations carry the time of the build; a release signs its own, beside the image.
    docker buildx build "$@" --provenance=false --sbom=false --output "$output,name=$IMAGE,rewrite-timestamp=true" \
        ${METADATA:+--metadata-file "$METADATA.json"} .
    [ -z "${METADATA:-}" ] || sed -n 's/.*"containerimage.digest": "\(sha256:[0-9a-f]*\)".*/\1/p' "$METADATA.json" >"$METADATA"
    ;;
buildah)
    [ -z "${FOLDER:-}" ] || set -- "$@" --build-context "build=$FOLDER"
    # No cache: the dates in it are those of another build.
    buildah bud "$@" --timestamp "$SOURCE_DATE_EPOCH" --no-cache --quiet --tag "$IMAGE" .
    if [ -n "${PUSH:-}" ]; then
        # shellcheck disable=SC2086
        buildah push --quiet --format oci ${METADATA:+--digestfile "$METADATA"} ${PUSH_FLAGS:-} "$IMAGE" "docker://$IMAGE"
    fi
    ;;
*)
    echo "error: ENGINE is docker or buildah, not $ENGINE" >&2
    exit 2
    ;;
esac
