#!/usr/bin/env bash
# Sets Visavis up with pip and venv, and runs it. Every failure is one line: cause and remedy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

VENV=.venv
LOG=$VENV/pip.log
TEST_PACKAGES="chromium libatomic1 espeak-ng libespeak-ng1 flite festival festvox-kallpc16k"
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONDONTWRITEBYTECODE # pip is told not to compile (a third of its time): Python does, what it loads

usage() {
    cat <<'TEXT'
usage: ./setup.sh [command]

  (none)  create the directories and the virtual environment .venv, install requirements.txt
  demo    install requirements-base.txt only (no torch) and make output/demo.mp4
  app     install requirements-base.txt and start the page on http://127.0.0.1:7860
  test    install requirements-dev.txt, Debian's Chromium and speech programs, and run the tests
  help    this text

PYTHON=/path/to/python3.11 chooses the interpreter (3.11 or 3.12).
TEXT
}

step() { printf '==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
is_fit() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_fit "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or 3.12. Point it at one of them, or unset it."
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.11 python3.12; do
        if is_fit "$candidate"; then echo "$candidate"; return; fi
    done
    fail "Python 3.11 or 3.12 is needed, found: $(python3 --version 2>/dev/null || echo none)." \
        "Install one (Debian, Ubuntu: apt-get install python3.11 python3.11-venv) or run with PYTHON=/path/to/it"
}

make_venv() {
    local python version
    mkdir -p output checkpoints || fail "Cannot create folders here. Is $(pwd) writable?"
    if [ -x $VENV/bin/python ] && is_fit $VENV/bin/python && $VENV/bin/python -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python)
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "Python $version has no venv module. Debian, Ubuntu: apt-get install python$version-venv"
    step "virtual environment $VENV (Python $version)"
    "$python" -m venv --clear $VENV || fail "Cannot create $VENV here. Is the disk full?"
}

# A set of packages: base, full (with torch), dev (with the tests' tools); each contains the one before.
files_of() {
    case $1 in
        base) echo requirements-base.txt ;;
        full) echo requirements-base.txt requirements.txt ;;
        dev) echo requirements-base.txt requirements.txt requirements-dev.txt ;;
    esac
}

fingerprint() { files_of "$1" | xargs cat | cksum; }

is_installed() {
    local larger
    for larger in dev full base; do
        if [ "$(cat "$VENV/installed-$larger" 2>/dev/null)" = "$(fingerprint $larger)" ]; then return 0; fi
        if [ $larger = "$1" ]; then return 1; fi
    done
}

install() {
    local set=$1 need_mb=$2 file free_mb
    make_venv
    if ! is_installed "$set"; then
        file=$(files_of "$set" | sed 's/.* //')
        free_mb=$(df -Pk . | awk 'NR == 2 {print int($4 / 1024)}')
        [ "$free_mb" -ge "$need_mb" ] ||
            fail "Only $free_mb MB are free here, $file needs about $need_mb MB. Free some space and run again."
        step "packages of $file (once)"
        { $VENV/bin/python -m pip install --no-compile --progress-bar off -r "$file" && $VENV/bin/python -m pip check; } 2>&1 |
            tee $LOG | show_pip || explain_pip "$file"
        fingerprint "$set" >"$VENV/installed-$set"
    fi
    check_system_libraries
}

# Of pip's talk only the large downloads and the last step are worth a line.
show_pip() {
    awk '/(Downloading|Using cached) .*\([0-9.]+ [MG]B\)/ { sub(/-[0-9].*whl/, "", $0); print "   " $0; fflush() }
         /^Installing collected/ { print "    installing " NF - 3 " packages"; fflush() }'
}

explain_pip() {
    if grep -q 'No space left on device' $LOG; then
        fail "The disk is full while installing $1. Free some space and run again."
    elif grep -qE 'NameResolutionError|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError' $LOG; then
        fail "pip cannot reach the package index. Check the network and pip's proxy settings, then run again."
    fi
    fail "pip could not install $1: $(grep -E '^ERROR| has requirement ' $LOG | tail -n 1). Its full story: $LOG"
}

check_system_libraries() {
    $VENV/bin/python - <<'PYTHON'
import sys
from core.errors import TalkerError
from core.native import import_native
try:
    import_native("cv2")
except TalkerError as error:
    sys.exit(f"error: {error}")
PYTHON
}

install_test_packages() {
    local name missing=""
    for name in $(cat packages.txt) $TEST_PACKAGES; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing="$missing $name"
    done
    if [ -z "$missing" ]; then return; fi
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        step "some tests need system packages; as root: apt-get install$missing"
        return
    fi
    step "system packages:$missing"
    # shellcheck disable=SC2086  # the names are meant to be split
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing; } \
        >/dev/null || fail "apt-get could not install$missing. Run that command by hand to see why."
}

[ $# -le 1 ] || { usage >&2; exit 2; }
case ${1:-} in
    "")
        install full 5000
        step "ready: ./setup.sh demo makes a first video, ./setup.sh app starts the page"
        ;;
    demo)
        install base 2500
        step "output/demo.mp4"
        exec $VENV/bin/python scripts/demo.py
        ;;
    app)
        install base 2500
        exec $VENV/bin/python app.py
        ;;
    test)
        install_test_packages
        install dev 5000
        step "tests"
        exec $VENV/bin/python -m pytest
        ;;
    help | -h | --help) usage ;;
    *)
        printf 'error: Unknown command "%s".\n' "$1" >&2
        usage >&2
        exit 2
        ;;
esac
