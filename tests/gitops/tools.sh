#!/usr/bin/env bash
# Builds `gitops`, which judges objects as Argo CD and Flux do (main.go), into target/tools and prints that folder. Does nothing when
# it is there already from the same sources. Versions and checksums: go.mod and go.sum.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=$(cd "$source_dir/../.." && pwd)/target/tools
stamp=$tools_dir/stamp-gitops
minimum_go=$(sed -n 's/^go //p' "$source_dir/go.mod")
# shellcheck source=tests/go-build.sh
. "$source_dir/../go-build.sh"

mkdir -p "$tools_dir"
cd "$source_dir"
lock "$tools_dir/lock-gitops"
sources=$(sum_of main.go go.mod go.sum tools.sh)
if [ -x "$tools_dir/gitops" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sources" ]; then
    printf '%s\n' "$tools_dir"
    exit 0
fi
if ! command -v go >/dev/null; then
    say "Argo CD's Lua and kstatus, which the health of a policy is judged with, are built from Go modules, and there is no 'go' in PATH."
    say "Install Go $minimum_go or newer (or the package 'golang' of your distribution) and run again."
    exit 3
fi
rm -f "$stamp"
build_with_progress "Building Argo CD's Lua and kstatus (once)" "$tools_dir/gitops-build.log" \
    env CGO_ENABLED=0 go build -v -trimpath -ldflags "-s -w" -o "$tools_dir/gitops.new" .
mv "$tools_dir/gitops.new" "$tools_dir/gitops"
printf '%s' "$sources" >"$stamp"
printf '%s\n' "$tools_dir"
