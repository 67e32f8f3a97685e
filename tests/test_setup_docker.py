"""setup.sh build, run and all, with stand-ins for Docker."""

import itertools
from pathlib import Path

import pytest
import yaml

from tests.setup_house import ROOT, docker_calls, make_house, only_error, pip_calls, play_docker, setup


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return make_house(tmp_path)


@pytest.mark.parametrize(
    ("without", "compose", "image"),
    [
        ("nvidia-smi", "docker compose", "cpu"),
        ("nvidia-smi docker_compose", "docker-compose", "cpu"),
        ("docker_compose", "docker-compose", "cuda"),
    ],
)
def test_all_builds_and_starts_with_the_compose_that_is_there(
    house: Path, without: str, compose: str, image: str
) -> None:
    play_docker(house, "docker", "docker-compose", "nvidia-smi")
    result = setup(house, "all", FAKE_WITHOUT=without)
    assert result.returncode == 0, result.stderr
    files = "-f docker-compose.yml" + (" -f docker-compose.gpu.yml" if image == "cuda" else "")
    assert docker_calls(house) == [f"{compose} {files} build", f"{compose} {files} up -d"]
    assert f"==> image visavis:{image} ({compose})" in result.stdout
    assert all((house / name).is_dir() for name in ("checkpoints", "data", "output"))
    assert not pip_calls(house)


def test_plain_docker_starts_what_the_compose_file_says(house: Path) -> None:
    play_docker(house, "docker")
    result = setup(house, "run", FAKE_WITHOUT="docker_compose image_inspect")
    assert result.returncode == 0, result.stderr
    said = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["ditto-talkinghead"]
    calls = docker_calls(house)
    assert calls[1:3] == ["docker build --target cpu --tag visavis:cpu .", "docker rm -f ditto-container"]
    words = calls[3].split()
    assert words[:2] == ["docker", "run"]
    assert words[-1] == said["image"]
    assert flags(words, "--name") == [said["container_name"]]
    assert flags(words, "--restart") == [said["restart"]]
    assert flags(words, "--security-opt") == said["security_opt"]
    assert flags(words, "-p") == [port.replace("${PORT:-8000}", "8000") for port in said["ports"]]
    assert flags(words, "--env") == said["environment"]
    named = [mount.replace(str(house), ".").replace("visavis-", "") for mount in flags(words, "-v")]
    assert named == said["volumes"]
    assert "--gpus" not in words


def flags(words: list[str], flag: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == flag]


@pytest.mark.parametrize("owner", [0, 1000])
def test_folders_that_the_container_cannot_write_are_told(house: Path, owner: int) -> None:
    play_docker(house, "docker")
    (house / "bin" / "stat").unlink()
    (house / "bin" / "stat").write_text(f"#!/bin/bash\necho {owner}\n")
    (house / "bin" / "stat").chmod(0o755)
    said = setup(house, "run", TARGET="cpu").stdout
    assert ("sudo chown -R 1000:1000 checkpoints data output" in said) == (owner != 1000)


def test_an_image_that_is_there_is_not_built_again_and_gets_the_gpu(house: Path) -> None:
    play_docker(house, "docker")
    result = setup(house, "run", FAKE_WITHOUT="docker_compose", TARGET="cuda", PORT="8080")
    assert "started: http://127.0.0.1:8080/demo" in result.stdout
    assert flags(docker_calls(house)[-1].split(), "-p") == ["8080:8000"]
    assert docker_calls(house)[0] == "docker image inspect visavis:cuda"
    assert not any(call.startswith("docker build") for call in docker_calls(house))
    assert flags(docker_calls(house)[-1].split(), "--gpus") == ["1"]
    assert docker_calls(house)[-1].endswith("visavis:cuda")


@pytest.mark.parametrize("command", ["build", "run", "all"])
def test_without_docker_the_other_way_is_named(house: Path, command: str) -> None:
    said = only_error(setup(house, command))
    assert "Docker is not installed" in said
    assert "./setup.sh app" in said


@pytest.mark.parametrize(
    ("without", "target", "cause"),
    [
        ("docker_info", "cpu", "daemon does not answer. Start it"),
        ("", "tpu", "TARGET=tpu is neither cpu nor cuda"),
        ("build", "cpu", "was not built; the reason stands above"),
        ("build", "cuda", "docker login nvcr.io"),
        ("up_-d", "cpu", "docker rm -f ditto-container"),
    ],
)
def test_a_failure_of_docker_is_explained(house: Path, without: str, target: str, cause: str) -> None:
    play_docker(house, "docker")
    result = setup(house, "all", FAKE_WITHOUT=without, TARGET=target)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if not line.startswith("no ")]
    assert len(errors) == 1
    assert cause in errors[0]
    assert "started" not in result.stdout
