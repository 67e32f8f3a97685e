"""The command line of the checkpoints, as a user runs it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from huggingface_hub import constants

import model_manager
from core.checkpoints.catalogue import VARIANTS
from core.checkpoints.hub import Hub
from tests.fake_hub import FIRST, SECOND, FakeHub, published, serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub of our own, empty folders, no GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("VISAVIS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VISAVIS_DEVICE", "cpu")
    with serving(FakeHub()) as served:
        point_at(served.endpoint, monkeypatch)
        yield served


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub.__init__, "__defaults__", (endpoint,))


class Run(NamedTuple):
    code: int
    lines: list[str]
    errors: str


@pytest.fixture
def run(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run the command line -> exit code, lines of the output, errors."""

    def main(*arguments: str) -> Run:
        code = model_manager.main(list(arguments))
        told = capsys.readouterr()
        return Run(code, told.out.splitlines(), told.err)

    return main


def answer(lines: list[str]) -> Any:
    return json.loads(lines[-1])


def test_fetch_look_and_verify(tmp_path: Path, run: Callable[..., Run], hub: FakeHub) -> None:
    code, lines, stderr = run("where", "--json")
    assert (code, stderr, hub.requests) == (0, "", [])
    assert len(answer(lines)["variants"]["ditto-onnx"]["missing"]) == len(VARIANTS["ditto-onnx"].assets)

    code, lines, stderr = run("download", "--json")
    assert (code, stderr) == (0, ""), "without a terminal there is no bar"
    assert lines[0].startswith("ditto-onnx: no GPU: VISAVIS_DEVICE=cpu"), "the choice and its reason"
    made = answer(lines)
    assert (made["variant"], made["commit"]) == ("ditto-onnx", FIRST)
    assert all(Path(path).is_file() for path in made["files"].values())

    hub.requests.clear()
    code, lines, _ = run("where", "--json")
    assert answer(lines)["variants"]["ditto-onnx"]["missing"] == []
    code, lines, _ = run("verify", "ditto-onnx", "--json")
    assert code == 0 and set(answer(lines)["files"].values()) == {"right"}
    assert hub.requests == []

    Path(made["files"]["decoder"]).write_bytes(b"broken")
    code, lines, stderr = run("verify", "ditto-onnx", "--json")
    assert (code, stderr.count("\n"), answer(lines)["error"]) == (3, 1, "corrupt_checkpoint")
    assert "wrong    ditto_onnx/decoder.onnx" in lines
    assert "download ditto-onnx" in stderr
    assert run("download", "ditto-onnx").code == 0
    assert run("verify", "ditto-onnx").code == 0
    hub.requests.clear()
    assert any("config " in line and " kB " in line for line in run("list").lines)
    assert hub.requests == [], "sizes of what was fetched are recorded"


def test_a_folder_a_revision_and_a_profile(tmp_path: Path, run: Callable[..., Run], hub: FakeHub) -> None:
    hub.commits[SECOND] = {**published(), "ditto_onnx/hubert.onnx": b"other"}
    hub.branches["next"] = SECOND
    there = str(tmp_path / "there")
    code, lines, _ = run(
        "download", "ditto-onnx", "--to", there, "--revision", "next",
        "--profile", "commercial", "--json",
    )  # fmt: skip
    made = answer(lines)
    assert (code, made["commit"]) == (0, SECOND)
    assert Path(made["files"]["hubert"]).read_bytes() == b"other"
    assert Path(made["files"]["hubert"]) == tmp_path / "there" / "ditto_onnx" / "hubert.onnx"
    assert "insightface_det" not in made["files"]
    assert not any("insightface" in path.name for path in (tmp_path / "there").rglob("*"))
    code, lines, stderr = run("verify", "ditto-onnx", "--to", there)
    assert code == 3 and "missing  ditto_onnx/insightface_det.onnx" in lines and f"--to {there}" in stderr
    assert run("verify", "ditto-onnx", "--to", there, "--profile", "commercial")[0] == 0


def test_the_list_tells_sizes_as_the_hub_does(
    tmp_path: Path, run: Callable[..., Run], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, lines, stderr = run("list", "--json")
    assert (code, stderr) == (0, "")
    for name, variant in answer(lines)["variants"].items():
        assert variant["bytes"] == sum(len(published()[asset.path]) for asset in VARIANTS[name].assets)
    assert not (tmp_path / "home").exists(), "a look records nothing"
    point_at("http://127.0.0.1:9", monkeypatch)
    code, lines, stderr = run("list", "--json")
    assert code == 0 and answer(lines)["variants"]["ditto-onnx"]["bytes"] is None
    assert "sizes are unknown: The hub cannot be reached" in stderr
    point_at(hub.endpoint, monkeypatch)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, lines, stderr = run("list")
    assert (code, stderr, hub.requests) == (0, "", [])
    assert any("size unknown" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "more", "code", "said"),
    [
        (["download", "ditto"], {}, 2, "There is no variant 'ditto'."),
        (["download", "--revision", "nightly"], {}, 2, "no revision 'nightly'"),
        (["fetch"], {}, 2, "See --help."),
        ([], {}, 2, "See --help."),
        (["download"], {"HF_ENDPOINT": "http://127.0.0.1:9"}, 3, "The hub cannot be reached"),
        (["download"], {"HF_HUB_OFFLINE": "1"}, 3, "Unset HF_HUB_OFFLINE"),
        (["download"], {"VISAVIS_DOWNLOAD": "never"}, 3, "Unset VISAVIS_DOWNLOAD"),
        (["verify"], {"VISAVIS_DOWNLOAD": "never"}, 3, "files are wrong or missing"),
        (["where"], {"VISAVIS_DOWNLOAD": "sometimes"}, 2, "VISAVIS_DOWNLOAD"),
        (["download", "--to", "/proc/nowhere"], {}, 4, "cannot be written"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str],
    more: dict[str, str],
    code: int,
    said: str,
    run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in more.items():
        if name == "HF_ENDPOINT":
            point_at(value, monkeypatch)
        elif name == "HF_HUB_OFFLINE":
            monkeypatch.setattr(constants, name, True)
        else:
            monkeypatch.setenv(name, value)
    given, _, stderr = run(*arguments)
    assert (given, stderr.count("\n")) == (code, 1), stderr
    assert stderr.startswith("error: ") and said in stderr


def test_a_folder_nobody_knows_the_hashes_of_is_not_called_right(
    tmp_path: Path, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, content in published().items():
        (tmp_path / "checkpoints" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "checkpoints" / path).write_bytes(content)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, lines, stderr = run("verify", "ditto-onnx")
    assert code == 3 and "hashes of 14 files" in stderr
    assert all(line.startswith("unknown") for line in lines)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert run("verify", "ditto-onnx").code == 0


def test_the_doctor_gives_a_line_for_each_check(
    tmp_path: Path, run: Callable[..., Run], hub: FakeHub
) -> None:
    code, lines, stderr = run("doctor", "--json")
    assert (code, stderr, hub.requests) == (0, "", [])
    told = answer(lines)
    assert told["variant"] is None and lines[-2].startswith("auto means lite: no GPU")
    assert len(told["checks"]) == len(lines) - 2
    assert all(check["remedy"] for check in told["checks"] if not check["good"])


def test_the_bar_follows_the_bytes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with model_manager._bar() as report:
        report(model_manager.Progress("download", "folder/file.onnx", 500, 1000))
        report(model_manager.Progress("check", "folder/file.onnx", 1000, 1000))
    assert "1.00k/1.00k" in capsys.readouterr().err


def test_an_interrupt_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_manager, "run", interrupted)
    assert model_manager.main(["where"]) == 130
    assert capsys.readouterr().err == "error: Stopped; nothing half-written is left.\n"
