#!/usr/bin/env bash
# Builds Flux's kustomize-controller from its Go module into target/tools and prints that folder. Does nothing when it is there already
# from the same sources. Version and checksums: go.mod and go.sum.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=$(cd "$source_dir/../../.." && pwd)/target/tools
# shellcheck source=tests/go-build.sh
. "$source_dir/../../go-build.sh"

build_program kustomize-controller "Flux's kustomize-controller" "which our memory is compared with" \
    github.com/fluxcd/kustomize-controller go.mod go.sum tools.sh
