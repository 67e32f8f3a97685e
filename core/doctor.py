"""Everything about this machine that helps to help: what runs here, how fast, and how equal, in one file.

The file is a zip with `report.json` and a clip of every engine that could make one. What cannot be checked
is said there with its reason; nothing is fetched.
"""

import json
import os
import platform
import resource
import secrets
import tempfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.checkpoints.catalogue import VARIANTS
from core.checkpoints.machine import checks, probe
from core.checkpoints.provide import ensure, locate
from core.contracts import Engine
from core.engines.registry import start_engine
from core.errors import AssetError, StoreFailed, TalkerError
from core.networks import MAIN_NETWORKS, NetworkSpec, Port
from core.options import GenerationOptions
from core.runtimes.load import open_network
from core.samples import SPEECH, sample_portrait
from core.settings import Settings
from core.talker import ClipInfo, Progress, audio_limits, clip
from core.types import AvatarSource

Say = Callable[[str], None]
_SPREAD = {"kp_source": 0.3, "kp_driving": 0.3, "feature_3d": 0.5, "feature": 0.5}  # of inputs not about 1
_CLIPS = 2  # of each engine: the first one warms up


def write_report(path: Path, settings: Settings, say: Say) -> dict[str, Any]:
    """Run all checks and write the zip, whole or not at all -> what is in its report.json.

    `say` is told what is being looked at. Raises StoreFailed where the file cannot be written.
    """
    settings = settings.model_copy(update={"download": "never"})
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(unfinished, "x") as archive:
            report = {
                "python": platform.python_version(),
                "system": platform.platform(),
                "cpus": os.cpu_count(),
                "machine": asdict(probe(settings.device)),
                "checks": [check._asdict() for check in checks(probe(settings.device))],
                "checkpoints": {name: _state(name, settings) for name in VARIANTS},
                "parity": _parity(settings, say),
                "engines": {name: _engine(name, settings, Path(folder), say) for name in ("lite", "ditto")},
            }
            for made in sorted(Path(folder).glob("*.mp4")):
                archive.write(made, made.name)
            archive.writestr("report.json", json.dumps(report, indent=1))
        unfinished.replace(path)
    except OSError as error:
        raise StoreFailed(f"Cannot write '{path}': {error.strerror}.", "Choose another place.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return report


def _state(name: str, settings: Settings) -> dict[str, Any]:
    place, record, paths = locate(VARIANTS[name], settings)
    missing = [asset.path for asset, path in paths.items() if asset.needed and not path.is_file()]
    return {"folder": str(place.folder), "commit": record.commit, "missing": missing}


def _parity(settings: Settings, say: Say) -> dict[str, Any]:
    """Each network as torch and as ONNX with the same drawn inputs: largest difference over the peak."""
    try:
        torch_files, onnx_files = (
            ensure(VARIANTS[name], settings).files for name in ("ditto-pytorch", "ditto-onnx")
        )
    except AssetError as error:
        return {"not checked": str(error)}
    found: dict[str, Any] = {}
    for spec in MAIN_NETWORKS:
        say(f"{spec.name}: torch against ONNX")
        try:
            found[spec.name] = _apart(spec, torch_files[spec.name], onnx_files[spec.name])
        except TalkerError as error:
            found[spec.name] = str(error)
    return found


def _apart(spec: NetworkSpec, *files: Path) -> float:
    rng = np.random.default_rng(0)
    arrays = {port.name: _drawn(port, rng) for port in spec.inputs}
    outputs = []
    for file in files:
        with closing(open_network(spec, file, threads=os.cpu_count() or 1)) as network:
            outputs.append(network(arrays))
    one, other = outputs
    return max(float(np.abs(one[name] - other[name]).max() / np.abs(one[name]).max()) for name in one)


def _drawn(port: Port, rng: np.random.Generator) -> np.ndarray:
    shape = [size for size in port.shape if isinstance(size, int)]
    if port.dtype == "int64":
        return np.full(shape, 500, np.int64)
    values = rng.standard_normal(shape, dtype=np.float32)
    if port.name == "image":
        return np.clip(0.5 + 0.25 * values, 0, 1)
    return np.float32(_SPREAD.get(port.name, 1.0)) * values


def _engine(name: str, settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Registration, first-frame delay, real-time factor and memory of an engine, and its clip."""
    say(f"{name}: a clip")
    try:
        running = start_engine(name, settings)
    except TalkerError as error:
        return {"not run": str(error)}
    about = running.about()
    with closing(running.engine) as engine:
        try:
            return {**about, **_clip(engine, settings, folder)}
        except TalkerError as error:
            return {**about, "failed": str(error)}


def _clip(engine: Engine, settings: Settings, folder: Path) -> dict[str, Any]:
    portrait = folder / "portrait.png"
    Image.fromarray(sample_portrait()).save(portrait)
    options = GenerationOptions()
    avatar = engine.register(AvatarSource(path=portrait), options.crop)
    output = folder / f"{engine.name}.mp4"
    runs = [
        _made(clip(engine, avatar, SPEECH, output, options, audio_limits(settings))) for _ in range(_CLIPS)
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "ffd_ms": [round(run.ffd_ms, 1) for run in runs],
        "rtf": [round(run.rtf, 4) for run in runs],
        "stages_ms": {stage: round(value, 1) for stage, value in runs[-1].stages_ms.items()},
        "frames": runs[-1].frames,
        "peak_rss_mb": round(peak, 1),
        "clip": output.name,
    }


def _made(work: Generator[Progress, None, ClipInfo]) -> ClipInfo:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            made: ClipInfo = stop.value
            return made
