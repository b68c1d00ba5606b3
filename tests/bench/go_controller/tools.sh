#!/usr/bin/env bash
# Builds Flux's kustomize-controller from its Go module into target/tools and prints that folder. Does nothing when it is there already
# from the same sources. Version and checksums: go.mod and go.sum.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=$(cd "$source_dir/../../.." && pwd)/target/tools
stamp=$tools_dir/stamp-kustomize-controller
minimum_go=$(sed -n 's/^go //p' "$source_dir/go.mod")
# shellcheck source=tests/go-build.sh
. "$source_dir/../../go-build.sh"

mkdir -p "$tools_dir"
cd "$source_dir"
lock "$tools_dir/lock-kustomize-controller"
sources=$(sum_of go.mod go.sum tools.sh)
if [ -x "$tools_dir/kustomize-controller" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sources" ]; then
    printf '%s\n' "$tools_dir"
    exit 0
fi
if ! command -v go >/dev/null; then
    say "Flux's kustomize-controller, which our memory is compared with, is built from its Go module, and there is no 'go' in PATH."
    say "Install Go $minimum_go or newer (or the package 'golang' of your distribution) and run again."
    exit 3
fi
rm -f "$stamp"
build_with_progress "Building Flux's kustomize-controller (once)" "$tools_dir/kustomize-controller-build.log" \
    env CGO_ENABLED=0 go build -v -trimpath -ldflags "-s -w" -o "$tools_dir/kustomize-controller.new" \
    github.com/fluxcd/kustomize-controller
mv "$tools_dir/kustomize-controller.new" "$tools_dir/kustomize-controller"
printf '%s' "$sources" >"$stamp"
printf '%s\n' "$tools_dir"
