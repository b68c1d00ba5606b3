#!/usr/bin/env bash
# Builds the control plane of the tests into target/testbox/controlplane and prints that path. Does nothing when it is
# already built from the same sources by the same Go.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
box_dir=$(cd "$source_dir/../.." && pwd)/target/testbox
binary=$box_dir/controlplane
stamp=$binary.stamp
log=$box_dir/controlplane-build.log
minimum_go=$(sed -n 's/^go //p' "$source_dir/go.mod")

# shellcheck source=tests/go-build.sh
. "$source_dir/../go-build.sh"

mkdir -p "$box_dir"
cd "$source_dir"

lock "$binary.lock"
sources=$(sum_of main.go go.mod go.sum build.sh)

if ! command -v go >/dev/null; then
    # A binary that somebody built from these sources needs no Go.
    if [ -x "$binary" ] && [ "$(cut -d' ' -f1 "$stamp" 2>/dev/null)" = "$sources" ]; then
        printf '%s\n' "$binary"
        exit 0
    fi
    say "The tests' control plane and registry are built from Go modules, and there is no 'go' in PATH."
    say "Install Go $minimum_go or newer (or the package 'golang' of your distribution) and run again."
    say "Or set KUBEBUILDER_ASSETS to a folder that holds etcd and kube-apiserver (setup-envtest makes one):"
    say "then nothing is built for those two; tests with a registry or with controllers still need Go."
    exit 3
fi

# Asked inside the module: a Go from 1.21 on fetches the release that go.mod wants by itself.
if ! go_version=$(go env GOVERSION 2>"$log"); then
    say "The tests' control plane needs Go $minimum_go or newer; this one can't read $source_dir/go.mod:"
    cat "$log" >&2
    exit 3
fi

if [ -x "$binary" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sources $go_version" ]; then
    printf '%s\n' "$binary"
    exit 0
fi

kubernetes=$(sed -n 's/^\tk8s\.io\/kubernetes \(v[0-9.]*\)$/\1/p' go.mod)
minor=${kubernetes#v1.}
package=k8s.io/component-base/version
# Without the version, clients fail to parse the apiserver's.
flags="-s -w -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"

rm -f "$stamp"
started=$SECONDS
build_with_progress "Building the control plane of the tests (once; minutes when cold)" "$log" \
    env CGO_ENABLED=0 go build -v -trimpath -ldflags "$flags" -o "$binary.new" .
mv "$binary.new" "$binary"
printf '%s' "$sources $go_version" >"$stamp"
say "Built $binary in $((SECONDS - started)) s"
printf '%s\n' "$binary"
