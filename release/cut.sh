#!/bin/sh
# cut.sh x.y.z: makes a release of this checkout: the version in every place that names it, the changelog's section with today's date,
# the tests that all places agree, a commit and a tag. Pushes nothing: docs/releasing.md has what comes then.
# Set ONLY_FILES to change files and nothing else.
set -eu
cd "$(dirname "$0")/.."
version=${1#v}
fail() { echo "error: $*" >&2; exit 2; }

echo "$version" | grep -Eqx '[0-9]+\.[0-9]+\.[0-9]+' || fail "name the version: make release VERSION=x.y.z"
old=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
older=$(printf '%s\n%s\n' "$old" "$version" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)
[ "$older" = "$old" ] || fail "$version is older than $old"
! grep -q "^## \[$version\] - " CHANGELOG.md || fail "$version is released already (CHANGELOG.md)"
changes=$(sed -n '/^## \[Unreleased\]/,/^## \[[0-9]/p' CHANGELOG.md | grep -c '^- ' || true)
[ "$changes" -gt 0 ] || fail "nothing is unreleased: CHANGELOG.md has no line under [Unreleased]"
if [ -z "${ONLY_FILES:-}" ]; then
    [ -z "$(git status --porcelain)" ] || fail "the checkout has changes; commit or remove them"
    ! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || fail "there is a tag v$version"
fi

in_place() {
    file=$1
    shift
    sed "$@" "$file" >"$file.new"
    if cmp -s "$file" "$file.new"; then rm "$file.new"; else
        # Keeps the mode.
        cat "$file.new" >"$file"
        rm "$file.new"
        echo "  $file"
    fi
}

echo "$old becomes $version:"
quoted=$(printf '%s' "$old" | sed 's/\./\\./g')
in_place Cargo.toml "/^\[package\]/,/^\[/s/^version = \"$quoted\"$/version = \"$version\"/"
for lock in Cargo.lock fuzz/Cargo.lock; do
    in_place "$lock" "/^name = \"imageset-controller\"$/,/^$/s/^version = \"$quoted\"$/version = \"$version\"/"
done
# Documents, manifests, the chart: every place has one of these forms.
find . \( -name target -o -name .git -o -path ./data -o -path ./tests/scenarios/stories \) -prune -o \
    -type f \( -name '*.md' -o -name '*.yaml' -o -name '*.yml' -o -name Dockerfile -o -name '*.sh' \) -print | LC_ALL=C sort |
    while read -r file; do
        [ "$file" != ./CHANGELOG.md ] || continue
        in_place "$file" \
            -e "s/\(imageset-controller[: ]v\{0,1\}\)$quoted\([^0-9]\|$\)/\1$version\2/g" \
            -e "s/^\( *newTag: v\)$quoted$/\1$version/" \
            -e "s/^\(ARG VERSION=\)$quoted$/\1$version/" \
            -e "s/\(build_info{version=\"v\)$quoted\"/\1$version\"/g" \
            -e "s/^\(version: \|appVersion: \)$quoted$/\1$version/" \
            -e "s#\(/download[^ ]*/v\|\.example\.com/v\)$quoted\([^0-9]\|$\)#\1$version\2#g"
    done

day=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%d 2>/dev/null || date -u -r "${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%d)
# What is unreleased becomes this version; a sentence that announces it says what it was to be.
in_place CHANGELOG.md -e "s/^## \[Unreleased\]$/## [Unreleased]\\
\\
## [$version] - $day/" -e 's/^To become [0-9.]*, t/T/'

[ -z "${ONLY_FILES:-}" ] || exit 0
cargo=${CARGO:-cargo}
$cargo metadata --locked --format-version 1 >/dev/null
# What is made from other files, where there is such a target.
if grep -q '^install-yaml:' Makefile; then make --no-print-directory install-yaml; fi
make --no-print-directory check
$cargo package --locked --allow-dirty --list >/dev/null
git commit -qam "Release $version"
git tag -a "v$version" -m "imageset-controller $version"
echo "v$version is committed and tagged; to publish it: git push --follow-tags"
