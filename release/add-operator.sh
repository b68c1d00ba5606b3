#!/bin/sh
# add-operator.sh v1.42.5: adds an operator release to the catalogue (data/) from what the operator prints of itself, keeps what it
# printed as test data, and tells documents the new number of releases. What it printed comes from the folder PRINTED (version.txt and
# images.txt) or from running IMAGE with docker, podman or nerdctl. REQUIRED may name the rules of required images
# (tests/facts/required-images.json made anew); without it a patch release with the same names has those of the release before.
# Set BINARY to a built imageset-controller, ONLY_FILES to run no tests.
set -eu
cd "$(dirname "$0")/.."
version=${1:-}
fail() { echo "error: $*" >&2; exit 2; }
echo "$version" | grep -Eqx 'v[0-9]+\.[0-9]+\.[0-9]+' || fail "name the release: make add-release VERSION=v1.42.5 IMAGE=… (or PRINTED=FOLDER)"

binary=${BINARY:-}
if [ -z "$binary" ]; then
    ${CARGO:-cargo} build --quiet --locked --bin imageset-controller
    binary=target/debug/imageset-controller
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -n "${PRINTED:-}" ]; then
    cp "$PRINTED/version.txt" "$PRINTED/images.txt" "$folder"
elif [ -n "${IMAGE:-}" ]; then
    # It runs without network and rights; the cache keeps the very bytes that it prints.
    XDG_CACHE_HOME=$folder/cache "$binary" images --inspect="$IMAGE" >/dev/null
    cp "$folder"/cache/imageset-controller/inspections/*/*.txt "$folder"
else
    fail "say where it comes from: IMAGE=registry/…/operator:$version or PRINTED=FOLDER"
fi
grep -qx "Operator: $version" "$folder/version.txt" || fail "what was printed is of another operator: $(head -n 1 "$folder/version.txt")"

releases() { grep -c '^v[0-9]' data/operator-releases.txt; }
before=$(releases)
"$binary" catalogue add --version-file "$folder/version.txt" --images-file "$folder/images.txt" ${REQUIRED:+--required-file "$REQUIRED"}
after=$(releases)

# Beside the published facts, for the tests: the very bytes.
kept=tests/facts/printed/$version
mkdir -p "$kept"
cp "$folder/version.txt" "$folder/images.txt" "$kept"
if [ "$before" != "$after" ]; then
    sed "s/\([^0-9]\)$before\( operator releases\)/\1$after\2/g" README.md >"$folder/text"
    cat "$folder/text" >README.md
fi
[ -z "${ONLY_FILES:-}" ] || exit 0
release/test-catalogue.sh
echo "$version is in the catalogue ($after releases); look at the difference and commit it: git diff"
