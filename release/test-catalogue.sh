#!/bin/sh
# test-catalogue.sh: tests the catalogue of this checkout. Golden files that name the newest known release are written anew first: what
# else has changed in them is to be reviewed.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
UPDATE=1 $cargo test --quiet --locked --test scenarios --test docs
$cargo test --quiet --locked --test catalogue --test scenarios --test docs
