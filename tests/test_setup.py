"""setup.sh with stand-ins for Python, pip and the disk; the requirements files."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.setup_house import PYTHON, ROOT, make_house, only_error, pip_calls, setup

DOORS = [path.name for path in ROOT.glob("*.py")]
COMMANDS = "demo app test build run all help"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return make_house(tmp_path)


def test_help_tells_every_command(house: Path) -> None:
    said = setup(house, "help").stdout
    assert all(f"\n  {command} " in said for command in ("(none)", *COMMANDS.split()))


def test_an_unknown_command_is_refused(house: Path) -> None:
    result = setup(house, "deploy")
    assert result.returncode == 2
    assert result.stderr.startswith('error: Unknown command "deploy".')
    assert not pip_calls(house)


@pytest.mark.parametrize(
    ("command", "file", "then"),
    [
        ((), "requirements.txt", "ready"),
        (("demo",), "requirements-base.txt", "ran scripts/demo.py"),
        (("app",), "requirements-base.txt", "ran app.py"),
        (("test",), "requirements-dev.txt", "ran -m pytest"),
    ],
)
def test_each_command_installs_its_file_and_goes_on(
    house: Path, command: tuple[str, ...], file: str, then: str
) -> None:
    result = setup(house, *command)
    assert result.returncode == 0, result.stderr
    assert [call.split()[-1] for call in pip_calls(house)] == [file]
    assert then in result.stdout.splitlines()[-1]
    assert (house / "output").is_dir()
    assert (house / "checkpoints").is_dir()


def test_a_second_run_installs_nothing_until_the_requirements_change(house: Path) -> None:
    setup(house)
    for command in ("", "demo", "app"):
        assert setup(house, *command.split()).returncode == 0
    assert len(pip_calls(house)) == 1  # the base set is part of the full one
    setup(house, "test")
    assert len(pip_calls(house)) == 2
    with (house / "requirements-base.txt").open("a") as file:
        file.write("# newer\n")
    setup(house, "demo")
    assert len(pip_calls(house)) == 3


def test_a_failed_installation_is_tried_again(house: Path) -> None:
    assert setup(house, "demo", FAKE_PIP="ERROR: broken").returncode == 1
    assert setup(house, "demo").returncode == 0


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_another_python_is_named_with_what_to_do(house: Path, version: str) -> None:
    said = only_error(setup(house, "demo", FAKE_VERSION=version))
    assert f"found: Python {version}.0" in said
    assert "apt-get install python3.11" in said
    assert "PYTHON=/path/to/it" in said


def test_a_fit_python_under_another_name_is_found(house: Path) -> None:
    (house / "bin" / "python3.12").write_text(PYTHON.replace(":-3.11", ":-3.12"))
    (house / "bin" / "python3.12").chmod(0o755)
    (house / "bin" / "python3").unlink()
    assert "Python 3.12" in setup(house, "demo").stdout


def test_the_variable_python_rules(house: Path) -> None:
    said = only_error(setup(house, "demo", PYTHON="/no/such/python"))
    assert "PYTHON=/no/such/python is not Python 3.11 or 3.12" in said


def test_a_missing_venv_module_is_named_with_the_apt_line(house: Path) -> None:
    assert "apt-get install python3.11-venv" in only_error(setup(house, "demo", FAKE_NO_VENV="1"))


@pytest.mark.parametrize(
    ("pip", "cause"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: Retrying ... NewConnectionError(...)\nERROR: No match", "Check the network"),
        ("ERROR: No matching distribution found for soxr", "No matching distribution found for soxr"),
    ],
)
def test_a_failure_of_pip_is_explained(house: Path, pip: str, cause: str) -> None:
    assert cause in only_error(setup(house, "demo", FAKE_PIP=pip))


def test_too_little_disk_is_told_before_anything_is_fetched(house: Path) -> None:
    (house / "bin" / "df").unlink()
    (house / "bin" / "df").write_text("#!/bin/bash\necho head\necho disk 1 1 102400 1 /\n")
    (house / "bin" / "df").chmod(0o755)
    said = only_error(setup(house, "demo"))
    assert "Only 100 MB are free" in said
    assert "Free some space" in said
    assert not pip_calls(house)


def test_a_missing_system_library_is_named_with_the_apt_line(house: Path) -> None:
    (house / "fake" / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    said = only_error(setup(house, "demo"))
    assert "libGL.so.1" in said
    assert "apt-get install " + " ".join((ROOT / "packages.txt").read_text().split()) in said


def pins(name: str) -> dict[str, str]:
    """Distribution -> version, of one requirements file without those it includes."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return dict(line.split("==") for line in lines if line and not line.startswith("-r"))


def imported(*places: str) -> Iterator[str]:
    """Top-level names that the code in these places imports."""
    for place in places:
        path = ROOT / place
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    yield from (alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module.split(".")[0]


def distributions(*places: str) -> set[str]:
    """Installed distributions that the code in these places imports, in the spelling of the files."""
    known = packages_distributions()
    found = {name for module in set(imported(*places)) for name in known.get(module, [])}
    return {re.sub("[_.]", "-", name).lower() for name in found}


def test_what_the_product_imports_is_pinned_without_torch() -> None:
    base = pins("requirements-base.txt")
    optional = {"torch"}  # only core/models and its runtime import it, see test_runtimes
    assert distributions("core", "ui", "server", *DOORS, "scripts/demo.py") - optional <= set(base)
    assert "torch" not in base
    assert distributions("scripts") <= {*base, *pins("requirements.txt")}
    assert distributions("tests") <= {*base, *pins("requirements.txt"), *pins("requirements-dev.txt")}


def test_nothing_is_pinned_without_a_reason() -> None:
    resolver = {"protobuf", "jax", "jaxlib", "pandas", "opencv-contrib-python"}  # what mediapipe needs held
    doors = {
        "gradio",
        "gradio-client",
        "uvicorn",
        "fastapi",
        "huggingface-hub",
        "websockets",
        "wsproto",
        "python-multipart",
    }  # the page, its server and what that loads by itself, the Hub
    planned = {"librosa", "onnxruntime"}  # the engine Ditto
    used = distributions("core", "ui", "server", *DOORS, "scripts")
    assert set(pins("requirements-base.txt")) - used <= resolver | doors | planned


def test_space_and_requirements_agree() -> None:
    readme = (ROOT / "README.md").read_text()
    front = dict(line.split(": ", 1) for line in readme.split("---\n")[1].splitlines())
    assert front["sdk_version"] == pins("requirements-base.txt")["gradio"]
    assert front["python_version"] == '"3.11"'
    assert (ROOT / front["app_file"]).exists()
    assert front["license"] == "apache-2.0"


def test_no_file_names_a_package_host() -> None:
    texts = [
        ROOT / "setup.sh",
        ROOT / ".ci" / "run",
        ROOT / "pyproject.toml",
        *ROOT.glob("*requirements*.txt"),
    ]
    for path in texts:
        assert not re.search(r"https?://(?!127)|--(extra-)?index-url|--find-links", path.read_text()), path
