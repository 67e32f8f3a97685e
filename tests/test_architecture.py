"""The house stands: imports run downward, and a bare `import core` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [  # later rows may import earlier ones; rows of one floor not each other's rooms
    ("core.types", "core.errors", "core.option_arrays"),
    ("core.option_values", "core.settings", "core.native", "core.mapped"),
    ("core.options",),
    ("core.contracts", "core.networks", "core.option_table"),
    ("core.media", "core.models", "core.aux_models", "core.samples", "core.checkpoints"),
    ("core.runtimes",),
    ("core.atomic_components",),
    ("core.engines",),
    ("core.optimization", "core.more_kwargs"),
    ("core.talker", "core.compat"),
    ("core.batch", "core.live"),
    ("core.studio", "core.sdk_run"),
    ("core.doctor", "core.order"),
    ("ui", "server"),
    ("streaming_protocol",),
    (
        "inference",
        "app",
        "app_optimized",
        "model_manager",
        "stream_pipeline_offline",
        "stream_pipeline_online",
        "api_server",
        "streaming_server",
        "streaming_client",
    ),
]


def room_of(module: str) -> tuple[int, str] | None:
    """Floor and room of a module of ours, None for others."""
    for floor, rooms in enumerate(FLOORS):
        for room in rooms:
            if module == room or module.startswith(room + "."):
                return floor, room
    return None


def upward_imports(module: str, source: str) -> list[str]:
    """What a module imports from above itself or from a neighbour on its floor."""
    here = room_of(module)
    assert here, f"{module} has no floor"
    wrong = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            there = room_of(name)
            if there and (there[0] > here[0] or (there[0] == here[0] and there[1] != here[1])):
                wrong.append(f"{module} imports {name}")
    return wrong


def modules() -> list[tuple[str, Path]]:
    """Every module of the product by its dotted name; packages without code of their own left out."""
    found = [(path.stem, path) for path in ROOT.glob("*.py")]
    for package in ("core", "ui", "server"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "__init__.py":
                found.append((".".join(path.relative_to(ROOT).with_suffix("").parts), path))
    return found


@pytest.mark.parametrize(
    ("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_imports_run_downward(module: str, path: Path) -> None:
    assert upward_imports(module, path.read_text()) == []


def test_the_check_sees_an_upward_import() -> None:
    assert upward_imports("core.media.audio", "from core.talker import clip")
    assert upward_imports("core.media.audio", "import core.aux_models.face_mesh")
    assert not upward_imports("core.talker", "from core.media.audio import open_audio")


def test_packages_import_nothing() -> None:
    for path in ROOT.glob("core/**/__init__.py"):
        assert not path.read_text().strip(), path


def test_a_bare_import_is_light() -> None:
    heavy = "{'torch', 'cv2', 'gradio', 'tensorrt', 'mediapipe'}"
    code = (
        "import sys, core, core.types, core.options, core.errors, core.contracts, core.settings; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
