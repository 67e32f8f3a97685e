"""The README's promises: its commands and examples run, in order, in a copy of the repository.

With CI set, `./setup.sh` makes a fresh virtual environment for them (packages from pip's cache or the
index); else the environment of this test run stands in for it.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import inference
import model_manager

ROOT = Path(__file__).parent.parent
FRESH = "CI" in os.environ
CACHES = shutil.ignore_patterns("__pycache__", ".*_cache")
# of the repository's own folder
LEFT_OUT = frozenset((".git", ".venv", "output", "checkpoints", ".hypothesis"))
OWN_TESTS = {  # pages whose programs need more than this one: Ditto's files, a server
    "sdk.md": "test_quick_reference.py",
    "rest.md": "test_server_doors.py",
    "protocol.md": "test_streaming_v2.py",
}
STAND_INS = {"./setup.sh demo": "python scripts/demo.py", "./setup.sh app": "exec python app.py"}
ADDRESS = "http://127.0.0.1:7860"


def left_out(folder: str, names: list[str]) -> set[str]:
    return CACHES(folder, names) | (LEFT_OUT & set(names) if Path(folder) == ROOT else set())


def blocks(path: Path) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks that claim to be commands or programs."""
    return re.findall(r"^```(bash|python)\n(.*?)^```$", path.read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clone") / "visavis"
    shutil.copytree(ROOT, place, ignore=left_out)
    if not FRESH:
        (place / ".venv").symlink_to(sys.prefix)
    return place


def environment(copy: Path, port: int) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "PATH": f"{copy / '.venv' / 'bin'}:{os.environ['PATH']}",
        "VISAVIS_HOME": str(copy.parent / "home"),
        "GRADIO_SERVER_PORT": str(port),
    }


def run(copy: Path, port: int, language: str, text: str) -> str:
    """What a block prints; it must end well."""
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else ["python", "-c", text]
    done = subprocess.run(
        command, cwd=copy, env=environment(copy, port), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def page(copy: Path, port: int, command: str) -> Iterator[None]:
    """The page, started by `command`, for as long as the block lasts."""
    log = copy.parent / "page.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=copy,
            env=environment(copy, port),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not _answers(port):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
            yield
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.timeout(1200)  # with CI set, packages are installed
def test_every_command_and_example_runs(copy: Path) -> None:
    port = _free_port()
    told: dict[str, str] = {}
    todo = [
        block
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        if path.name not in OWN_TESTS
        for block in blocks(path)
    ]
    todo.remove(("bash", "./setup.sh test\n"))  # what is running now
    app = todo.index(("bash", "./setup.sh app\n"))
    for language, text in todo[:app]:
        told[text] = run(copy, port, language, as_here(text))
    with page(copy, port, as_here(todo[app][1])):
        for language, text in todo[app + 1 :]:
            told[text] = run(copy, port, language, as_here(text).replace(ADDRESS, f"http://127.0.0.1:{port}"))

    for name in ("demo.mp4", "talk.mp4", "happy.mp4"):
        assert (copy / "output" / name).stat().st_size > 20_000
    demo, quick, *_ = told.values()
    for said in ("made", "output/demo.mp4", "engine     lite", "not Ditto", "RTF", "FFD", "free disk"):
        assert said in demo
    assert documented_keys() <= set(json.loads(quick.splitlines()[-1]))
    sync = json.loads(next(out for text, out in told.items() if "measure_sync" in text).splitlines()[-1])
    assert sync["frames"] == 200
    assert sync["lag_frames"] == 0
    assert sync["r"] > 0.5 > sync["control"]["p95"]


def as_here(text: str) -> str:
    """The block, with the stand-ins for setup.sh where no fresh environment is asked for."""
    for command, stand_in in ({} if FRESH else STAND_INS).items():
        text = text.replace(command, stand_in)
    return text


def documented_keys() -> set[str]:
    """The names that the README gives to what --json prints."""
    paragraph = (ROOT / "README.md").read_text().partition("`--json` prints one")[2].partition("FFD, the")[0]
    names = set(re.findall(r"`(\w+)`", paragraph))
    assert len(names) > 15
    return names


def test_commands_that_need_checkpoints_are_understood() -> None:
    """Blocks marked `sh` need a hub, weights or a kit: their command lines are read, not run."""
    parsers = {"model_manager.py": model_manager.parser(), "inference.py": inference.parser()}
    seen = 0
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for block in re.findall(r"^```sh\n(.*?)^```$", path.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = [word for word in shlex.split(line, comments=True) if not word.startswith("VISAVIS_")]
                if words and words[0] == "python" and words[1] in parsers:
                    parsers[words[1]].parse_args(words[2:])
                    seen += 1
    assert seen > 8


def test_the_first_commands_stand_near_the_top() -> None:
    body = (ROOT / "README.md").read_text().split("---\n", 2)[2].splitlines()[:30]
    assert any(line.startswith("![") for line in body)
    assert body.index("./setup.sh demo") < body.index("./setup.sh test")


def test_links_lead_somewhere() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_pages_left_to_others_are_looked_at_there() -> None:
    for page, test in OWN_TESTS.items():
        assert page in (ROOT / "tests" / test).read_text(), page
