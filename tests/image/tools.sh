#!/usr/bin/env bash
# Puts `buildah`, which the image is built and run with, into target/tools and prints that folder. Does nothing when it is there
# already. The one in PATH is taken; where there is none, Debian's package is installed by apt, which needs root. Where it can't be
# had, says so and ends with 4: buildah runs on Linux only.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=$(cd "$source_dir/../.." && pwd)/target/tools
# shellcheck source=tests/go-build.sh
. "$source_dir/../go-build.sh"

mkdir -p "$tools_dir"
lock "$tools_dir/lock-buildah"
if [ ! -x "$tools_dir/buildah" ]; then
    if ! command -v buildah >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "Installing Debian's package buildah (once)"
        install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends buildah >"$tools_dir/buildah-install.log" 2>&1; }
        # A machine that never asked for the list of packages has none.
        install || { apt-get update -q >"$tools_dir/buildah-update.log" 2>&1 && install; } ||
            { say "apt could not install it:"; tail -n 5 "$tools_dir"/buildah-*.log >&2; exit 4; }
    fi
    if ! command -v buildah >/dev/null; then
        say "There is no 'buildah' in PATH (the package is called buildah everywhere, on Linux only)."
        exit 4
    fi
    ln -sf "$(command -v buildah)" "$tools_dir/buildah"
fi
printf '%s\n' "$tools_dir"
