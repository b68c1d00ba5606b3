#!/usr/bin/env bash
# Builds `gitops`, which judges objects as Argo CD and Flux do (main.go), into target/tools and prints that folder. Does nothing when
# it is there already from the same sources. Versions and checksums: go.mod and go.sum.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=$(cd "$source_dir/../.." && pwd)/target/tools
# shellcheck source=tests/go-build.sh
. "$source_dir/../go-build.sh"

build_program gitops "Argo CD's Lua and kstatus" "which the health of a policy is judged with" . main.go go.mod go.sum tools.sh
