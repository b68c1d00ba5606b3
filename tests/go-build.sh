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

# build_program NAME TITLE PURPOSE PACKAGE SOURCES...: builds one Go program of the folder $source_dir into $tools_dir, and prints that
# folder. Does nothing when it is there already from the same sources. PURPOSE says what it is for where there is no Go.
build_program() {
    local name=$1 title=$2 purpose=$3 package=$4 stamp=$tools_dir/stamp-$1 sources
    shift 4
    mkdir -p "$tools_dir"
    cd "$source_dir"
    lock "$tools_dir/lock-$name"
    sources=$(sum_of "$@")
    if [ -x "$tools_dir/$name" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$sources" ]; then
        printf '%s\n' "$tools_dir"
        return 0
    fi
    if ! command -v go >/dev/null; then
        say "$title, $purpose: built from Go modules, and there is no 'go' in PATH."
        say "Install Go $(sed -n 's/^go //p' go.mod) or newer (or the package 'golang' of your distribution) and run again."
        exit 3
    fi
    rm -f "$stamp"
    build_with_progress "Building $title (once)" "$tools_dir/$name-build.log" \
        env CGO_ENABLED=0 go build -v -trimpath -ldflags "-s -w" -o "$tools_dir/$name.new" "$package"
    mv "$tools_dir/$name.new" "$tools_dir/$name"
    printf '%s' "$sources" >"$stamp"
    printf '%s\n' "$tools_dir"
}
