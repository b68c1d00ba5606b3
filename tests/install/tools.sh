#!/usr/bin/env bash
# Puts the tools that the manifests are tested with (`helm`, `kustomize`, `kubeconform`, Krew's own check) into target/tools, with
# what their kinds look like in target/tools/kinds, and prints that folder. Does nothing when all is there already from the same sources.
# All are built from their Go modules, whatever is in PATH, so that everybody tests with the same versions: go.mod and go.sum.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=$(cd "$source_dir/../.." && pwd)/target/tools
stamp=$tools_dir/stamp
kinds_dir=$tools_dir/kinds
# Its module holds the definitions of ServiceMonitor and PrometheusRule.
prometheus_operator=github.com/prometheus-operator/prometheus-operator@v0.85.0
prometheus_operator_sum=h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=
minimum_go=$(sed -n 's/^go //p' "$source_dir/go.mod")
# shellcheck source=tests/go-build.sh
. "$source_dir/../go-build.sh"

mkdir -p "$tools_dir"
cd "$source_dir"
lock "$tools_dir/lock-install"

# Name, package and module of each tool, from the go.mod files. A major version at the end of a package is no name.
tools=$(for module in . krew; do
    sed -n -e 's/^tool \([^(]\)/\1/p' -e '/^tool (/,/^)/s/^\t//p' $module/go.mod |
        awk -F/ -v module=$module '{name = $NF ~ /^v[0-9]+$/ ? $(NF - 1) : $NF; print name " " $0 " " module}'
done)

is_built() {
    local name
    while read -r name _; do
        [ -x "$tools_dir/$name" ] && [ "$(cat "$stamp-$name" 2>/dev/null)" = "$1" ] || return 1
    done <<<"$tools"
    [ "$(cat "$stamp-kinds" 2>/dev/null)" = "$1" ]
}

# field NAME: of the JSON that Go prints of a module.
field() { sed -n "s/^\t\"$1\": \"\(.*\)\",\{0,1\}$/\1/p"; }

# Kubernetes' own kinds as the API server of the tests has them, and those of the Prometheus operator.
fetch_kinds() {
    local module
    rm -rf "$stamp-kinds" "$kinds_dir"
    mkdir -p "$kinds_dir"
    module=$(cd ../controlplane && go mod download -json k8s.io/kubernetes) || { say "$module"; return 1; }
    cp "$(field Dir <<<"$module")/api/openapi-spec/swagger.json" "$kinds_dir/kubernetes.json"
    module=$(go mod download -json "$prometheus_operator") || { say "$module"; return 1; }
    if [ "$(field Sum <<<"$module")" != "$prometheus_operator_sum" ]; then
        say "$prometheus_operator is not what it was: its checksum is $(field Sum <<<"$module")"
        return 1
    fi
    for kind in servicemonitors prometheusrules; do
        cp "$(field Dir <<<"$module")/example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml" "$kinds_dir/$kind.yaml"
    done
    chmod u+w "$kinds_dir"/*
    printf '%s' "$sources" >"$stamp-kinds"
}

sources=$(sum_of go.mod go.sum krew/go.mod krew/go.sum tools.sh ../controlplane/go.mod)
if is_built "$sources"; then
    printf '%s\n' "$tools_dir"
    exit 0
fi

if ! command -v go >/dev/null; then
    say "helm, kustomize and kubeconform, which the manifests are tested with, are built from their Go modules, and there"
    say "is no 'go' in PATH. Install Go $minimum_go or newer (or the package 'golang' of your distribution) and run again."
    exit 3
fi

while read -r name package module; do
    rm -f "$stamp-$name"
    build_with_progress "Building $name (once; minutes when cold)" "$tools_dir/$name-build.log" \
        env CGO_ENABLED=0 go build -C "$module" -v -trimpath -ldflags "-s -w" -o "$tools_dir/$name.new" "$package" </dev/null
    mv "$tools_dir/$name.new" "$tools_dir/$name"
    printf '%s' "$sources" >"$stamp-$name"
done <<<"$tools"
fetch_kinds
printf '%s\n' "$tools_dir"
