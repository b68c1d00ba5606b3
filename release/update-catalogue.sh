#!/bin/sh
# update-catalogue.sh: adds every operator release that the catalogue does not have, oldest first, and tests the result. The releases are
# the tags of SOURCE, a Git repository; each is run from the image REPOSITORY, or taken from a folder of its version in PRINTED. A release
# whose image cannot be run, perhaps because it is not pushed yet, is left for the next time. Nothing is committed.
# Exit code 1: there are new releases, and none of them could be added. BINARY and ONLY_FILES are those of add-operator.sh.
set -eu
cd "$(dirname "$0")/.."
source=${SOURCE:-https://github.com/tigera/operator}
repository=${REPOSITORY:-quay.io/tigera/operator}
by_version() { sort -t. -k1.2,1n -k2,2n -k3,3n; }

known=$(sed -n 's/^\(v[0-9.]*\):.*/\1/p' data/operator-releases.txt | by_version)
oldest=$(echo "$known" | head -n 1)
# Pre-releases have more than three numbers; older releases have no ImageSets.
listed=$(git ls-remote --tags --refs "$source" 'v*')
tagged=$(echo "$listed" | sed -n 's|^.*[[:space:]]refs/tags/\(v[0-9]\{1,\}\.[0-9]\{1,\}\.[0-9]\{1,\}\)$|\1|p')
new=$(printf '%s\n%s\n' "$oldest" "$tagged" | by_version | awk -v oldest="$oldest" 'newer; $0 == oldest {newer = 1}' | grep -vxF "$known" || true)
if [ -z "$new" ]; then
    echo "the catalogue has all releases of $source"
    exit 0
fi
added="" missed=""
for version in $new; do
    image=$repository:$version printed=${PRINTED:+$PRINTED/$version}
    if IMAGE=$image PRINTED=$printed ONLY_FILES=1 release/add-operator.sh "$version"; then
        added="$added $version"
    else
        missed="$missed $version"
    fi
done
[ -z "$missed" ] || echo "warning: not added:$missed" >&2
[ -n "$added" ] || exit 1
[ -n "${ONLY_FILES:-}" ] || release/test-catalogue.sh
echo "added:$added; look at the difference and commit it: git diff"
