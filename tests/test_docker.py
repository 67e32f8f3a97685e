"""Dockerfile, .dockerignore and compose files, as far as they can be checked without a container engine."""

import http.server
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from core.settings import Settings
from scripts.check_docker import Machine, filled
from scripts.dockerfile import Context, Step, steps, target

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
TARGETS = ("cpu", "cuda")


def only(name: str, stage: str) -> str:
    (found,) = [step.text for step in target(DOCKERFILE, stage) if step.name == name]
    return found


def compose(name: str) -> dict[str, Any]:
    services = yaml.safe_load((ROOT / name).read_text())["services"]
    assert list(services) == ["ditto-talkinghead"]
    return services["ditto-talkinghead"]


def test_the_targets_stand_on_the_bases_that_the_documents_name() -> None:
    bases = [step.text for step in steps(DOCKERFILE) if step.name == "FROM"]
    assert bases[0] == "nvcr.io/nvidia/tensorrt:25.08-py3 AS cuda"
    assert re.fullmatch(r"python:3\.11-slim-\w+ AS cpu", bases[-1])  # the last is built where none is named


def test_the_targets_differ_in_base_and_packages_alone() -> None:
    cpu, cuda = ([(s.name, s.text) for s in target(DOCKERFILE, name)] for name in TARGETS)
    apart = {text for name, text in {*cpu} ^ {*cuda} if name not in ("FROM", "ARG")}
    environment = {text for text in apart if text.startswith("HOME=")}
    assert all("pip install" in text for text in apart - environment)
    shorter, longer = sorted(environment, key=len)
    assert longer == f"{shorter} PATH=/opt/venv/bin:$PATH"


@pytest.mark.parametrize("stage", TARGETS)
def test_every_source_of_a_copy_is_there_and_not_left_out(stage: str) -> None:
    context = Context.of(ROOT)
    for step in target(DOCKERFILE, stage):
        if step.name == "COPY":
            assert all(context.sources(step.text).values()), step.text


@pytest.mark.parametrize("stage", TARGETS)
def test_what_the_image_starts_is_in_it(stage: str) -> None:
    sent = {str(path) for path in Context.of(ROOT).files()}
    command = Step("CMD", only("CMD", stage)).words()
    health = Step("CMD", only("HEALTHCHECK", stage).partition("CMD ")[2]).words()
    assert command[2:] == ["--host", "0.0.0.0", "--port", "8000"]
    assert {command[1], health[1]} <= sent
    assert health[2:] == only("EXPOSE", stage).split() == ["8000", "7860"]


@pytest.mark.parametrize("stage", TARGETS)
def test_shell_steps_have_no_syntax_errors(stage: str) -> None:
    for step in target(DOCKERFILE, stage):
        if step.name == "RUN":
            done = subprocess.run(
                ["sh", "-n", *step.words()[1:]], capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), step.text


@pytest.mark.parametrize("stage", TARGETS)
def test_the_server_does_not_run_as_root(stage: str) -> None:
    assert only("USER", stage) == "1000:1000"
    names = [step.name for step in target(DOCKERFILE, stage)]
    assert "RUN" not in names[names.index("USER") :]


def test_the_image_holds_what_the_program_needs_and_nothing_else() -> None:
    sent = set(map(str, Context.of(ROOT).files()))
    code = (path for name in ("core", "ui", "server", "scripts") for path in (ROOT / name).rglob("*.py"))
    needed = {str(path.relative_to(ROOT)) for path in (*code, *ROOT.glob("*.py"), *ROOT.glob("assets/*.wav"))}
    assert needed <= sent
    assert not [name for name in sent if re.search(r"^(tests|output|docs)/|__pycache__|(^|/)\.", name)]


def test_secrets_and_heavy_folders_stay_out(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    left_out = (
        ".env",
        "core/.env",
        "checkpoints/a.pth",
        "data/b.wav",
        ".git/config",
        "core/__pycache__/x.pyc",
    )
    taken = ("core/media/audio.py", "server/static/demo.js", "new_door.py", "assets/speech.wav")
    for name in (*left_out, *taken):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {str(path) for path in Context.of(tmp_path).files()} == set(taken)


def test_apt_packages_come_from_the_one_list_and_resolve() -> None:
    installs = [s.text for s in steps(DOCKERFILE) if s.name == "RUN" and "apt-get install" in s.text]
    assert len(installs) == len(TARGETS)
    line = " xargs apt-get install -y --no-install-recommends <packages.txt "
    assert all(line in text.split("&&") for text in installs)
    apt = shutil.which("apt-get")
    if apt is None or not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        pytest.skip("no apt with package lists on this machine")
    names = (ROOT / "packages.txt").read_text().split()
    done = subprocess.run([apt, "-s", "install", *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_compose_file_is_what_the_documents_name() -> None:
    service = compose("docker-compose.yml")
    assert service["container_name"] == "ditto-container"
    assert service["build"]["target"] == "cpu"
    assert service["ports"] == ["${PORT:-8000}:8000"]
    mounts = dict(mount.split(":") for mount in service["volumes"])
    assert {name: mounts[f"./{name}"] for name in ("data", "checkpoints", "output")} == {
        name: f"/app/{name}" for name in ("data", "checkpoints", "output")
    }
    assert "deploy" not in service  # a machine without a GPU starts it


def test_settings_that_compose_passes_on_are_settings() -> None:
    known = {f"VISAVIS_{name.upper()}" for name in Settings.model_fields}
    assert set(compose("docker-compose.yml")["environment"]) <= known
    set_inside = {word.partition("=")[0] for word in only("ENV", "cpu").split()}
    assert {name for name in set_inside if name.startswith("VISAVIS_")} <= known


def test_the_gpu_file_asks_for_a_gpu_and_changes_the_image_alone() -> None:
    service = compose("docker-compose.gpu.yml")
    assert service["build"] == {"target": "cuda"}
    assert service["image"] == "visavis:cuda"
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert set(service) == {"build", "image", "deploy"}


def test_the_volume_of_the_cache_holds_the_home() -> None:
    mounts = dict(mount.split(":")[::-1] for mount in compose("docker-compose.yml")["volumes"])
    environment = dict(word.split("=", 1) for word in only("ENV", "cpu").split())
    assert any(PurePosixPath(environment["VISAVIS_HOME"]).is_relative_to(inside) for inside in mounts)
    assert environment["VISAVIS_MODELS"] in mounts


def health(*ports: int) -> int:
    line = [sys.executable, ROOT / "scripts" / "health.py", *map(str, ports)]
    return subprocess.run(line, check=False).returncode


def test_the_health_check_tells_a_server_that_answers_from_others() -> None:
    class Answers(http.server.BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            self.send_response(self.status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            assert health(1, server.server_port) == 0
            Answers.status = 503
            assert health(server.server_port) == 1
        finally:
            server.shutdown()
            thread.join()
    assert health(server.server_port) == 1


def test_a_dockerfile_is_read_as_docker_reads_it() -> None:
    text = '# c\nFROM a AS one\nRUN b && \\\n    # c\n    d\nFROM b AS two\nCMD ["x", "y z"]\n'
    assert [step.text for step in target(text, "one")] == ["a AS one", "b && d"]
    assert target(text, "one")[1].words() == ["/bin/sh", "-c", "b && d"]
    assert target(text, "two")[1].words() == ["x", "y z"]
    with pytest.raises(ValueError, match="no target three"):
        target(text, "three")
    with pytest.raises(ValueError, match="not an instruction"):
        steps("FROM a\nRUNN b")


def test_steps_make_the_folder_that_stands_for_the_image(tmp_path: Path) -> None:
    (tmp_path / "source" / "core").mkdir(parents=True)
    (tmp_path / "source" / "core" / "a.py").write_text("1")
    (tmp_path / "source" / ".dockerignore").write_text("*\n!core\n")
    machine, context = Machine(tmp_path / "image"), Context.of(tmp_path / "source")
    todo = [Step("WORKDIR", "/app/src"), Step("COPY", ". ."), Step("ENV", "A=1 B=$A"), Step("USER", "7:7")]
    for step in todo:
        machine.do(step, context)
    assert (tmp_path / "image/app/src/core/a.py").read_text() == "1"
    line, environment = machine.command(["x"])
    assert line[-3:] == ["7:7", "/app/src", "x"]
    assert environment["A"] == "1"
    with pytest.raises(ValueError, match="COPY finds no b"):
        machine.do(Step("COPY", "core b ."), context)
    assert filled("$A/$B", {"A": "x"}) == "x/$B"
