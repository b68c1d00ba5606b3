#!/usr/bin/env bash
# Puts `prometheus` and `promtool` into target/tools and prints that folder. Does nothing when they are there already. Those in
# PATH are taken; where there are none, Debian's package is fetched by apt and unpacked, which needs no rights and installs nothing.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_dir=$(cd "$source_dir/../.." && pwd)/target/tools
# shellcheck source=tests/go-build.sh
. "$source_dir/../go-build.sh"

mkdir -p "$tools_dir"
lock "$tools_dir/lock-prometheus"
if [ -x "$tools_dir/prometheus" ] && [ -x "$tools_dir/promtool" ]; then
    printf '%s\n' "$tools_dir"
    exit 0
fi

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    for tool in prometheus promtool; do ln -sf "$(command -v $tool)" "$tools_dir/$tool"; done
elif command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
    say "Fetching Debian's package prometheus (once)"
    package_dir=$tools_dir/prometheus-package
    rm -rf "$package_dir"
    mkdir -p "$package_dir"
    fetch() { (cd "$package_dir" && apt-get download -q prometheus >"$tools_dir/prometheus-fetch.log" 2>&1); }
    # A machine that never asked for the list of packages has none.
    fetch || { apt-get update -q >"$tools_dir/prometheus-update.log" 2>&1 && fetch; } ||
        { say "apt could not fetch it:"; tail -n 5 "$tools_dir"/prometheus-*.log >&2; exit 3; }
    dpkg-deb -x "$package_dir"/prometheus_*.deb "$package_dir"
    mv "$package_dir/usr/bin/prometheus" "$package_dir/usr/bin/promtool" "$tools_dir"
    rm -rf "$package_dir"
else
    say "prometheus and promtool, which the alerts are tested with, are not in PATH, and there is no apt to fetch them with."
    say "Install the package 'prometheus' of your distribution and run again."
    exit 3
fi
printf '%s\n' "$tools_dir"
