#!/usr/bin/env bash
# manifest.sh FOLDER ADDRESS HOMEPAGE: prints the manifest for Krew of the archives of this version in a folder, which will be
# found below an address. Fails rather than print one with anything left to be replaced.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -ne 3 ]; then
    sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
folder=$1 address=${2%/} homepage=$3
for url in "$address" "$homepage"; do
    case $url in
        https://?*) ;;
        *) echo "error: '$url' is no https address; make krew ADDRESS=https://… HOMEPAGE=https://…" >&2; exit 2 ;;
    esac
done
version=$(sed -n 's/^version = "\(.*\)"$/v\1/p' "$source_dir/../../Cargo.toml")
sum="shasum -a 256"
if command -v sha256sum >/dev/null; then sum=sha256sum; fi

manifest=$(sed -e '/^#/d' -e "s|{{VERSION}}|$version|" -e "s|{{HOMEPAGE}}|$homepage|" "$source_dir/imageset.yaml")
found=0
for archive in "$folder/imageset-controller_${version}_"*.tar.gz; do
    [ -f "$archive" ] || continue
    found=$((found + 1))
    name=$(basename "$archive")
    platform=${name#"imageset-controller_${version}_"}
    platform=${platform%.tar.gz}
    manifest="$manifest
  - selector:
      matchLabels:
        os: ${platform%%_*}
        arch: ${platform#*_}
    uri: $address/$name
    sha256: $($sum "$archive" | cut -d' ' -f1)
    bin: kubectl-imageset"
done
if [ $found -eq 0 ]; then
    echo "error: there is no archive of $version in $folder; make archive packs one" >&2
    exit 1
fi
if grep -n '{{' <<<"$manifest" >&2; then
    echo "error: this is not replaced" >&2
    exit 1
fi
printf '%s\n' "$manifest"
