#!/bin/sh
# sbom.sh TARGET FILE: writes what is in the image as CycloneDX: every crate that the binary of TARGET is made of or with, with
# its checksum from Cargo.lock, and what comes with the builder: Rust's standard library, the C library and the compiler's own,
# which are linked in, and the authorities. Needs cargo and awk. The same source and builder write the same bytes.
set -eu
cd "$(dirname "$0")/../.."
target=$1
file=$2
mkdir -p "$(dirname "$file")"

name=$(sed -n '/^\[package\]/,/^\[/s/^name = "\(.*\)"$/\1/p' Cargo.toml)
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
rust=$(rustc -vV | sed -n 's/^release: //p')
seconds=${SOURCE_DATE_EPOCH:-0}
created=$(date -u -d "@$seconds" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$seconds" +%Y-%m-%dT%H:%M:%SZ)

# "PACKAGE VERSION PURL" of a Debian package that is installed here.
debian() {
    dpkg-query -W -f '${Package} ${Version} pkg:deb/debian/${Package}@${Version}?arch=${Architecture}\n' "$1" 2>/dev/null || true
}

builder() {
    echo "rust-std $rust pkg:generic/rust-std@$rust"
    if command -v dpkg-query >/dev/null; then
        debian libc6-dev
        debian "$(dpkg -S "$(cc -print-libgcc-file-name)" | cut -d: -f1)"
        debian ca-certificates
    else
        libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2 || true)
        [ -z "$libc" ] || echo "glibc $libc pkg:generic/glibc@$libc"
    fi
}

tree=$(cargo tree --locked --target "$target" --edges normal,build --no-dedupe --prefix none --format '{p}|{l}')
{
    sed -n -e 's/^\(name\|version\|checksum\) = "\(.*\)"$/lock|\1|\2/p' Cargo.lock
    builder | sed 's/^/builder|/'
    printf '%s\n' "$tree" | LC_ALL=C sort -u | sed 's/^/crate|/'
} | awk -F '|' -v name="$name" -v version="$version" -v created="$created" '
    function component(type, name, version, purl, license, checksum) {
        printf "%s\n    {\"type\": \"%s\", \"bom-ref\": \"%s\", \"name\": \"%s\", \"version\": \"%s\", \"purl\": \"%s\"", \
            separator, type, purl, name, version, purl
        if (checksum) printf ", \"hashes\": [{\"alg\": \"SHA-256\", \"content\": \"%s\"}]", checksum
        # An older way to write it, which SPDX does not know.
        gsub(" */ *", " OR ", license)
        if (license) printf ", \"licenses\": [{\"expression\": \"%s\"}]", license
        printf "}"
        separator = ","
    }
    BEGIN {
        printf "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n"
        printf "  \"metadata\": {\n    \"timestamp\": \"%s\",\n", created
        printf "    \"component\": {\"type\": \"application\", \"bom-ref\": \"%s\", \"name\": \"%s\", \"version\": \"%s\"}\n", \
            name, name, version
        printf "  },\n  \"components\": ["
    }
    $1 == "lock" && $2 == "name" { locked = $3 }
    $1 == "lock" && $2 == "version" { locked = locked " " $3 }
    $1 == "lock" && $2 == "checksum" { checksums[locked] = $3 }
    $1 == "builder" { split($2, part, " "); component("library", part[1], part[2], part[3]) }
    $1 == "crate" {
        split($2, part, " ")
        sub("^v", "", part[2])
        # A crate comes once, whether it is a macro or not.
        if (part[1] == name || (part[1], part[2]) in seen) next
        seen[part[1], part[2]] = 1
        component("library", part[1], part[2], "pkg:cargo/" part[1] "@" part[2], $3, checksums[part[1] " " part[2]])
    }
    END { printf "\n  ]\n}\n" }
' >"$file.new"
mv "$file.new" "$file"
