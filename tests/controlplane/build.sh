#!/usr/bin/env bash
# Builds the control plane of the tests into target/testbox/controlplane and prints that path. Does nothing when it is
# already built from the same sources by the same Go. Parallel callers wait for one build.
# Progress goes to standard error: one line that updates itself on a terminal, else a line every 15 s.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
box_dir=$(cd "$source_dir/../.." && pwd)/target/testbox
binary=$box_dir/controlplane
stamp=$binary.stamp
log=$box_dir/controlplane-build.log
minimum_go=$(sed -n 's/^go //p' "$source_dir/go.mod")

say() { printf '%s\n' "$*" >&2; }

mkdir -p "$box_dir"
cd "$source_dir"

if command -v flock >/dev/null; then
    exec 9>"$binary.lock"
    flock 9
fi

if command -v sha256sum >/dev/null; then sum=sha256sum; else sum="shasum -a 256"; fi
sources=$(cat main.go go.mod go.sum build.sh | $sum | cut -d' ' -f1)

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
CGO_ENABLED=0 go build -v -trimpath -ldflags "$flags" -o "$binary.new" . >"$log" 2>&1 9>&- &
build=$!
trap 'kill "$build" 2>/dev/null || true; rm -f "$binary.new"' EXIT
trap 'exit 130' INT TERM

started=$SECONDS
told=-15
title="Building the control plane of the tests (once; minutes when cold)"
while kill -0 "$build" 2>/dev/null; do
    elapsed=$((SECONDS - started))
    # Go names each package as it compiles it, and each module as it fetches it.
    packages=$(grep -vc '^go: ' "$log" || true)
    if [ -t 2 ]; then
        printf '\r%s: %d s, %d packages\033[K' "$title" "$elapsed" "$packages" >&2
    elif [ $((elapsed - told)) -ge 15 ]; then
        told=$elapsed
        say "$title: $elapsed s, $packages packages"
    fi
    sleep 1
done
[ ! -t 2 ] || say ""
if ! wait "$build"; then
    say "The control plane did not build ($(go version)); the end of $log:"
    tail -n 20 "$log" >&2
    say "If modules could not be fetched: Go needs its module proxy, or GOPROXY set to one that you can reach."
    exit 1
fi
mv "$binary.new" "$binary"
printf '%s' "$sources $go_version" >"$stamp"
say "Built $binary in $((SECONDS - started)) s"
printf '%s\n' "$binary"
