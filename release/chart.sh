#!/bin/sh
# chart.sh IMAGE DIGEST FOLDER: copies the chart to FOLDER/imageset-controller with this image in its values, registry/path and
# sha256:…, so that a released chart installs what was released. The checkout stays as it is.
set -eu
cd "$(dirname "$0")/.."
fail() { echo "error: $*" >&2; exit 2; }
[ $# -eq 3 ] || fail "name image, digest and folder: chart.sh registry.example.com/imageset-controller sha256:… FOLDER"
image=$1 digest=$2 folder=$3
echo "$image" | grep -Eqx '[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+' || fail "$image is no image with its registry and without a tag"
echo "$digest" | grep -Eqx 'sha256:[0-9a-f]{64}' || fail "$digest is no digest"

mkdir -p "$folder"
cp -R deploy/chart/imageset-controller "$folder"
values=$folder/imageset-controller/values.yaml
sed -e "/^image:/,/^\$/{
    s|^  registry:.*|  registry: ${image%%/*}|
    s|^  repository:.*|  repository: ${image#*/}|
    s|^  digest:.*|  digest: $digest|
}" deploy/chart/imageset-controller/values.yaml >"$values"
for line in "registry: ${image%%/*}" "repository: ${image#*/}" "digest: $digest"; do
    grep -qxF "  $line" "$values" || fail "values.yaml has no line for $line"
done
