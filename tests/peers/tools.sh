#!/usr/bin/env bash
# Puts the tools that our digests are compared with into target/tools and prints that folder. Does nothing when they are
# there already from the same sources. `crane` and `oras` are built from their Go modules. `skopeo` comes from no module proxy: the
# one in PATH is taken; where there is none, `skopeo-library` is built, which does what `skopeo inspect` does on skopeo's own
# library (main.go). Versions and checksums: go.mod and go.sum.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=$(cd "$source_dir/../.." && pwd)/target/tools
stamp=$tools_dir/stamp
crane=github.com/google/go-containerregistry/cmd/crane
oras=oras.land/oras/cmd/oras
minimum_go=$(sed -n 's/^go //p' "$source_dir/go.mod")
# shellcheck source=tests/go-build.sh
. "$source_dir/../go-build.sh"

mkdir -p "$tools_dir"
cd "$source_dir"
lock "$tools_dir/lock"

if skopeo=$(command -v skopeo); then
    # Not anew each time: somebody may be running it.
    [ "$(readlink "$tools_dir/skopeo" || true)" = "$skopeo" ] || ln -sf "$skopeo" "$tools_dir/skopeo"
    tools="crane oras"
else
    rm -f "$tools_dir/skopeo"
    say "There is no 'skopeo' in PATH: its library is compared with instead (the package is called skopeo everywhere)."
    tools="crane oras skopeo-library"
fi

is_built() {
    for tool in $tools; do
        [ -x "$tools_dir/$tool" ] && [ "$(cat "$stamp-$tool" 2>/dev/null)" = "$1" ] || return 1
    done
}

sources=$(sum_of main.go go.mod go.sum tools.sh)
if is_built "$sources"; then
    printf '%s\n' "$tools_dir"
    exit 0
fi

if ! command -v go >/dev/null; then
    say "crane and oras, which we are compared with, are built from their Go modules, and there is no 'go' in PATH."
    say "Install Go $minimum_go or newer (or the package 'golang' of your distribution) and run again."
    exit 3
fi

for tool in $tools; do
    case $tool in
    crane) package=$crane ;;
    oras) package=$oras ;;
    *) package=. ;;
    esac
    rm -f "$stamp-$tool"
    # The library's signatures are not looked at: no C library for them.
    build_with_progress "Building $tool (once)" "$tools_dir/$tool-build.log" \
        env CGO_ENABLED=0 go build -v -trimpath -tags containers_image_openpgp -ldflags "-s -w" -o "$tools_dir/$tool.new" "$package"
    mv "$tools_dir/$tool.new" "$tools_dir/$tool"
    printf '%s' "$sources" >"$stamp-$tool"
done
printf '%s\n' "$tools_dir"
