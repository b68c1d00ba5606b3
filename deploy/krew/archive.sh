#!/usr/bin/env bash
# archive.sh BINARY OS ARCHITECTURE FOLDER: packs a binary as `kubectl-imageset`, with the licence, as Krew unpacks it, and prints
# the archive's name. The same binary makes the same bytes.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ $# -ne 4 ]; then
    sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
binary=$1 os=$2 architecture=$3 folder=$4
version=$(sed -n 's/^version = "\(.*\)"$/v\1/p' "$checkout/Cargo.toml")

content=$(mktemp -d)
trap 'rm -rf "$content"' EXIT
install -m 0755 "$binary" "$content/kubectl-imageset"
install -m 0644 "$checkout/LICENSE" "$content/LICENSE"
mkdir -p "$folder"
archive=$folder/imageset-controller_${version}_${os}_$architecture.tar.gz
tar --create --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$content" \
    kubectl-imageset LICENSE | gzip -9 -n >"$archive"
printf '%s\n' "$archive"
