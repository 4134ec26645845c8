#!/bin/sh
# Makes .venv, or brings it up to date: `./environment.sh runtime` for a search on one machine, `./environment.sh dev` for
# the tests too, `./environment.sh cluster` for the machines of cluster.yaml and the one they are started from.
# PYTHON=python3.12 chooses the interpreter. pip's own settings (PIP_INDEX_URL and its kind) hold as always.
set -eu
cd "$(dirname "$0")"

NEEDED_GB=6 # room for PyTorch's CPU build, the other packages, and both unpacking; the GPU build takes about as much again
VENV=.venv

fail() {
    printf '\nSpiketune cannot be installed: %s\n' "$*" >&2
    exit 1
}

# --- Is it there already? -----------------------------------------------------------------------------------------------

# The version and home of an interpreter: the same for a virtual environment and the Python it was made with.
identity() {
    "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3], sys.base_prefix)' 2>/dev/null || true
}

# A stamp is written when an installation is complete, and never before. The folder is in it because scripts in .venv/bin
# begin with its absolute path: a copied or moved .venv is none.
stamp() {
    printf '%s in %s\n' "$(identity "$1")" "$PWD"
}

complete() {
    [ -f "$VENV/runtime.stamp" ] && [ "$(stamp "$VENV/bin/python")" = "$(cat "$VENV/runtime.stamp")" ] &&
        { [ -z "${PYTHON:-}" ] || [ "$(stamp "$PYTHON")" = "$(cat "$VENV/runtime.stamp")" ]; }
}

current() {
    complete && [ -f "$VENV/$wanted.stamp" ] && [ -z "$(find pyproject.toml constraints.txt -newer "$VENV/$wanted.stamp")" ]
}

# --- Can it be made? ----------------------------------------------------------------------------------------------------

# Sets `python` to the first interpreter that will do.
find_python() {
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
    found=
    without_venv=
    for python; do
        version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
        found="${found:+$found, }$python is $version"
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        "$python" -c 'import venv, ensurepip' 2>/dev/null && return
        without_venv="$python ($version)"
    done
    [ -z "$without_venv" ] || fail "$without_venv has no venv module. Install it with \`apt-get install python3-venv\`
(Debian, Ubuntu) or your distribution's equivalent, and run the same command again."
    fail "it needs Python 3.11 or newer. Tried $*: ${found:-none can be run}.
Install one, or name one that is elsewhere: \`make PYTHON=/path/to/python3.12 ...\`."
}

check_disk() {
    free_kb=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$free_kb" -ge $((NEEDED_GB * 1024 * 1024)) ] || fail "it needs about $NEEDED_GB GB of free disk in $PWD,
and there are $((free_kb / 1024 / 1024)) GB. Free some, or move this folder to a larger disk."
}

# --- Make it ------------------------------------------------------------------------------------------------------------

step() {
    printf '[%s/3] %s\n' "$1" "$2"
}

install() {
    # Python compiles what it imports, once; compiling everything here would take minutes.
    if [ -z "${PYTHONDONTWRITEBYTECODE:-}" ]; then set -- --no-compile "$@"; fi
    set -- install --disable-pip-version-check --no-input -c constraints.txt "$@"
    if [ -t 1 ]; then
        "$VENV/bin/python" -m pip "$@" || pip_failed
    else
        "$VENV/bin/python" -m pip --quiet "$@" >"$VENV/pip.log" 2>&1 || { tail -n 20 "$VENV/pip.log" >&2 && pip_failed; }
    fi
}

pip_failed() {
    fail "pip failed; its last words are above. If the package index cannot be reached,
name a mirror with PIP_INDEX_URL=... . On a machine without a GPU, PIP_EXTRA_INDEX_URL set to PyTorch's index of CPU
wheels gets its much smaller CPU build. Then run the same command again."
}

wanted=${1:-}
case $wanted in
runtime) project=. ;;
dev | cluster) project=".[$wanted]" ;;
*) fail "say \`$0 runtime\`, \`$0 dev\` or \`$0 cluster\`, not \`$0 $*\`." ;;
esac

current && exit 0
if complete; then
    step 1 "Virtual environment: $VENV is kept"
else
    find_python
    rm -rf "$VENV" # What has no stamp may be half-made.
    check_disk
    step 1 "Virtual environment: $VENV with Python $version"
    "$python" -m venv "$VENV" || fail "\`$python -m venv $VENV\` failed; its own words are above."
fi
# First and by itself: where an index offers several builds, pip would otherwise weigh each against every other package.
step 2 "PyTorch (a large download)"
install torch
step 3 "Spiketune and what it needs (some minutes)"
install -e "$project"
# TrackEval is what our tracking scores are held against. Alone: it would bring a second OpenCV over the first.
[ "$wanted" != dev ] || install --no-deps trackeval
stamp "$VENV/bin/python" >"$VENV/runtime.stamp"
[ "$wanted" = runtime ] || cp "$VENV/runtime.stamp" "$VENV/$wanted.stamp"
