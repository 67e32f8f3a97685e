"""A house for setup.sh: a folder with stand-ins for Python, pip and Docker, and a PATH of nothing else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = "bash env dirname mkdir cat sed awk tee cksum xargs grep tail id df uname rm chmod cp stat"

# Plays python3 and, copied into .venv, the environment's python. FAKE_* say how it behaves.
PYTHON = r"""#!/bin/bash
case "$*" in
    --version) echo "Python ${FAKE_VERSION:-3.11}.0" ;;
    *version_info*)
        exec "$REAL_PYTHON" -c 'import sys
sys.version_info = (*map(int, sys.argv[1].split(".")), 0)
exec(sys.argv[2])' "${FAKE_VERSION:-3.11}" "$2" ;;
    *ensurepip*) exit "${FAKE_NO_VENV:-0}" ;;
    "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip --version") ;;
    "-m pip check") ;;
    "-m pip install"*) echo "$*" >>pip_calls; [ -z "$FAKE_PIP" ] || { echo "$FAKE_PIP"; exit 1; } ;;
    -) exec "$REAL_PYTHON" - ;;
    *) echo "ran $*" ;;
esac
"""

# Plays docker, docker-compose and nvidia-smi. FAKE_WITHOUT: what of them is missing or fails, words of it.
DOCKER = r"""#!/bin/bash
call="${0##*/} $*"
echo "$call" >>docker_calls
for word in $FAKE_WITHOUT; do
    case $call in *"${word//_/ }"*) echo "no ${word//_/ }" >&2; exit 1 ;; esac
done
"""


def make_house(tmp_path: Path) -> Path:
    """In `tmp_path`: a copy of what setup.sh reads, and a PATH of nothing but its tools and the stand-in."""
    for name in (
        "setup.sh",
        "packages.txt",
        "docker-compose.yml",
        *(path.name for path in ROOT.glob("requirements*.txt")),
    ):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "core").mkdir()
    for name in ("errors.py", "native.py"):
        shutil.copy(ROOT / "core" / name, tmp_path / "core" / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "cv2.py").write_text("")
    for tool in TOOLS.split():
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    script = tmp_path / "bin" / "python3"
    script.write_text(PYTHON)
    script.chmod(0o755)
    return tmp_path


def setup(house: Path, *arguments: str, **fake: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": str(house / "bin"),
        "PYTHONPATH": str(house / "fake"),
        "REAL_PYTHON": sys.executable,
        **fake,
    }
    return subprocess.run(
        [str(house / "setup.sh"), *arguments], env=environment, capture_output=True, text=True, check=False
    )


def only_error(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failure says."""
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def pip_calls(house: Path) -> list[str]:
    calls = house / "pip_calls"
    return calls.read_text().splitlines() if calls.exists() else []


def play_docker(house: Path, *programs: str) -> None:
    for name in programs:
        (house / "bin" / name).write_text(DOCKER)
        (house / "bin" / name).chmod(0o755)


def docker_calls(house: Path) -> list[str]:
    """What was asked of docker, without the questions what there is."""
    asked = r"docker(-compose| compose)? (version|info)|nvidia-smi"
    return [call for call in (house / "docker_calls").read_text().splitlines() if not re.match(asked, call)]
