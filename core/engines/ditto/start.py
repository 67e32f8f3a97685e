"""Which files Ditto runs on here and on what, and the engine made of them."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core.checkpoints.catalogue import CONFIG, VARIANTS, Asset, Variant
from core.checkpoints.check import Report, silent
from core.checkpoints.hub import Hub
from core.checkpoints.machine import Choice, on_cpu, on_gpu, probe
from core.checkpoints.provide import ensure, locate
from core.engines.ditto.config import DittoConfig
from core.engines.ditto.config_file import NO_SECTIONS, backend_of, find_file, read_published
from core.engines.ditto.engine import DittoEngine
from core.errors import EngineUnavailable
from core.networks import LMDM
from core.runtimes.devices import Precision, Runtime, pick_device
from core.settings import Settings

_ONNX = "ditto-onnx"  # its roles are all that there are


class Needs(NamedTuple):
    """What a start would fetch: bytes, into which folder, and how many are free there."""

    choice: Choice
    missing: int
    folder: Path
    free: int


def choose(settings: Settings) -> Choice:
    """The variant to run: on the GPU if that is fit, else on the CPU; of several the first that is whole.

    Raises EngineUnavailable where nothing is installed that runs Ditto.
    """
    machine = probe(settings.device)
    able = on_gpu(machine) or [_on(choice, settings) for choice in on_cpu(machine)]
    if not able:
        raise EngineUnavailable(
            "Nothing is installed that runs Ditto.", "pip install -r requirements-base.txt"
        )
    return next((choice for choice in able if is_whole(_variant(choice), settings)), able[0])


def is_whole(variant: Variant, settings: Settings) -> bool:
    """True where every file that is needed is there; what is in them is not looked at."""
    return not _missing(variant, settings)


def needs(settings: Settings) -> Needs:
    """What `start` would fetch. Asks the hub for sizes that nobody noted; raises as `Hub` does."""
    choice = choose(settings)
    variant = _variant(choice)
    place, record, _ = locate(variant, settings)
    missing = _missing(variant, settings)
    sizes = record.files
    if missing and not sizes:
        hub = Hub()
        sizes = hub.files(record.commit or hub.commit("main"))
    folder = next(each for each in (place.folder, *place.folder.absolute().parents) if each.exists())
    count = sum(sizes[asset.path].size for asset in missing if asset.path in sizes)
    return Needs(choice, count, place.folder, shutil.disk_usage(folder).free)


def start(settings: Settings, choice: Choice, report: Report = silent) -> DittoEngine:
    """Ditto with the files of a variant, fetched and checked as VISAVIS_DOWNLOAD says.

    Raises as `checkpoints.provide.ensure` and as `DittoNetworks`; then nothing stays open.
    """
    made = ensure(_variant(choice), settings, report)
    known = made.commit or _fingerprint(made.files)
    return _engine(settings, made.files, f"{made.variant} {known}", choice.device)


def start_published(
    settings: Settings,
    cfg_pkl: Path,
    data_root: Path,
    sections: Mapping[str, Mapping[str, Any]] = NO_SECTIONS,
) -> tuple[DittoEngine, Choice]:
    """Ditto with the models that a published configuration names, in `data_root` or where it says.

    `sections` replace entries of the configuration. Raises MissingCheckpoint, CorruptCheckpoint, BadOption,
    and as `DittoNetworks`.
    """
    config = read_published(cfg_pkl, sections)
    named = config.files()
    opened = {asset.role for asset in VARIANTS[_ONNX].files(settings.license_profile)}
    files = {role: find_file(name, data_root) for role, name in named.items() if role in opened}
    files[CONFIG] = cfg_pkl
    runtime: Runtime = "torch" if backend_of(files[LMDM.name]) == "torch" else "onnx"
    device, reason = pick_device(settings.device, runtime)
    engine = _engine(settings, files, _fingerprint(files), device, config)
    return engine, Choice(None, f"the models that {cfg_pkl.name} names; {reason}", device)


def _engine(
    settings: Settings,
    files: Mapping[str, Path],
    identity: str,
    device: str,
    config: DittoConfig | None = None,
) -> DittoEngine:
    is_torch = backend_of(files[LMDM.name]) == "torch"
    precision: Precision = settings.precision if is_torch else "fp32"
    threads = len(os.sched_getaffinity(0))
    return DittoEngine(settings, files, identity, device, precision, threads, config)


def _variant(choice: Choice) -> Variant:
    assert choice.variant is not None
    return VARIANTS[choice.variant]


def _on(choice: Choice, settings: Settings) -> Choice:
    """The device that was asked for by name; that it is missing is told when a network is opened."""
    return choice._replace(device="cuda") if settings.device == "cuda" else choice


def _missing(variant: Variant, settings: Settings) -> list[Asset]:
    _, _, paths = locate(variant, settings)
    return [asset for asset, path in paths.items() if asset.needed and not path.is_file()]


def _fingerprint(files: Mapping[str, Path]) -> str:
    """Stands for the contents of files that nobody knows the hashes of: another file has another time."""
    stats = {role: path.stat() for role, path in sorted(files.items())}
    return " ".join(f"{role} {stat.st_size} {stat.st_mtime_ns}" for role, stat in stats.items())
