# Sourced by the scripts that build Go programs for the tests. The caller has set `-euo pipefail`.
# Progress goes to standard error: one line that updates itself on a terminal, else a line every 15 s.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }

# Parallel callers wait for one build. Held until this shell ends.
lock() {
    if command -v flock >/dev/null; then
        exec 9>"$1"
        flock 9
    fi
}

# The sum of these files together.
sum_of() {
    local sum="shasum -a 256"
    if command -v sha256sum >/dev/null; then sum=sha256sum; fi
    cat "$@" | $sum | cut -d' ' -f1
}

# build_with_progress TITLE LOG COMMAND...: runs a `go build -v` and tells how far it is. Fails as it does.
build_with_progress() {
    local title=$1 log=$2 started=$SECONDS told=-15 elapsed packages build
    shift 2
    "$@" >"$log" 2>&1 9>&- &
    build=$!
    # shellcheck disable=SC2064
    trap "kill $build 2>/dev/null || true" EXIT
    trap 'exit 130' INT TERM
    while kill -0 "$build" 2>/dev/null; do
        elapsed=$((SECONDS - started))
        # Go names each package as it compiles it, and each module as it fetches it.
        packages=$(grep -vc '^go: ' "$log" || true)
        if [ -t 2 ]; then
            printf '\r%s: %d s, %d packages\033[K' "$title" "$elapsed" "$packages" >&2
        elif [ $((elapsed - told)) -ge 15 ]; then
            told=$elapsed
            say "$title: $elapsed s, $packages packages"
        fi
        sleep 1
    done
    [ ! -t 2 ] || say ""
    if wait "$build"; then
        trap - EXIT
        return 0
    fi
    say "It did not build ($(go version)); the end of $log:"
    tail -n 20 "$log" >&2
    say "If modules could not be fetched: Go needs its module proxy, or GOPROXY set to one that you can reach."
    return 1
}
