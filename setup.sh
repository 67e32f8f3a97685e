#!/usr/bin/env bash
# Sets Visavis up with pip and venv, or with Docker, and runs it. Every failure is one line: cause and remedy.
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
  build   make the Docker image
  run     start the server in its container, on http://127.0.0.1:8000 (PORT=8080: another port)
  all     build, then run
  help    this text

PYTHON=/path/to/python3.11 chooses the interpreter (3.11 or 3.12).
TARGET=cpu or TARGET=cuda chooses the image; else it is cuda where nvidia-smi finds a GPU.
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

# Sets DOCKER to how containers are started here (compose v2, compose v1 or plain docker), TARGET to the image.
find_docker() {
    if docker compose version >/dev/null 2>&1; then
        DOCKER="docker compose"
    elif docker-compose version >/dev/null 2>&1; then
        DOCKER=docker-compose
    elif command -v docker >/dev/null; then
        DOCKER=docker
    else
        fail "Docker is not installed. See docs.docker.com/engine/install, or use ./setup.sh app, which needs none."
    fi
    if command -v docker >/dev/null && ! docker info >/dev/null 2>&1; then
        fail "Docker's daemon does not answer. Start it (systemctl start docker), or join the group docker."
    fi
    if [ -z "${TARGET:-}" ]; then
        if nvidia-smi -L >/dev/null 2>&1; then TARGET=cuda; else TARGET=cpu; fi
    fi
    case $TARGET in
        cpu) COMPOSE_FILES="-f docker-compose.yml" ;;
        cuda) COMPOSE_FILES="-f docker-compose.yml -f docker-compose.gpu.yml" ;;
        *) fail "TARGET=$TARGET is neither cpu nor cuda. Set one of them, or unset it." ;;
    esac
    mkdir -p checkpoints data output || fail "Cannot create folders here. Is $(pwd) writable?"
}

# shellcheck disable=SC2086  # DOCKER and COMPOSE_FILES are words to be split
build_image() {
    local code=0
    step "image visavis:$TARGET ($DOCKER)"
    if [ "$DOCKER" = docker ]; then
        docker build --target "$TARGET" --tag "visavis:$TARGET" . || code=$?
    else
        $DOCKER $COMPOSE_FILES build || code=$?
    fi
    if [ $code != 0 ] && [ "$TARGET" = cuda ]; then
        fail "The image was not built. Its base may want a login: docker login nvcr.io. TARGET=cpu needs none."
    fi
    [ $code = 0 ] || fail "The image was not built; the reason stands above. Mend it and run again."
}

# shellcheck disable=SC2086
run_container() {
    step "container ditto-container of visavis:$TARGET ($DOCKER)"
    if [ "$DOCKER" = docker ]; then
        docker image inspect "visavis:$TARGET" >/dev/null 2>&1 || build_image
        run_plainly
    else
        $DOCKER $COMPOSE_FILES up -d
    fi || fail "The container did not start; the reason stands above." \
        "Is its name taken: docker rm -f ditto-container. Is the port taken: PORT=8080 ./setup.sh run"
    if [ "$(stat -c %u output)" != 1000 ]; then
        step "the container writes as uid 1000; let it: sudo chown -R 1000:1000 checkpoints data output"
    fi
    step "started: http://127.0.0.1:${PORT:-8000}/demo; its log: docker logs -f ditto-container"
}

# What docker-compose.yml says, in the flags of plain docker; the settings' names are read from there.
run_plainly() {
    local gpu="" settings
    if [ "$TARGET" = cuda ]; then gpu="--gpus 1"; fi
    settings=$(sed -n 's/^ *- \(VISAVIS_[A-Z_]*\)$/--env \1/p' docker-compose.yml)
    docker rm -f ditto-container >/dev/null 2>&1 || true # the last run's; all it keeps is mounted
    # shellcheck disable=SC2086
    docker run -d --name ditto-container --init --restart unless-stopped \
        --security-opt no-new-privileges:true -p "${PORT:-8000}:8000" $gpu $settings \
        -v "$PWD/data:/app/data" -v "$PWD/checkpoints:/app/checkpoints" -v "$PWD/output:/app/output" \
        -v visavis-cache:/home/visavis/.cache "visavis:$TARGET"
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
    build)
        find_docker
        build_image
        ;;
    run)
        find_docker
        run_container
        ;;
    all)
        find_docker
        build_image
        run_container
        ;;
    help | -h | --help) usage ;;
    *)
        printf 'error: Unknown command "%s".\n' "$1" >&2
        usage >&2
        exit 2
        ;;
esac
