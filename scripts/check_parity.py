"""Does this code give the numbers of the published Ditto? Runs it on a parity kit and compares.

    python scripts/check_parity.py --kit DIR [--media DIR] [--runtime torch|onnx]
                                   [--only networks|aux|steps|e2e] [--dump DIR] [--json]

A kit is a manifest with the rules of made-up weights and a folder `golden` with what the published code gave
for them; all that differs between two kits is in those files. --media is the folder with the pictures and
sounds that they name; without it the cases that need them are left out. --dump writes what was computed
here under the same names and keys; of what the kit keeps as JSON, one entry for every line shown. With --json
the last line is one JSON object. Exit code 1: beyond a limit.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from core.contracts import Network
from core.errors import TalkerError
from core.networks import MAIN_NETWORKS
from core.runtimes.load import open_network
from scripts.parity import auxiliary, e2e, flows, steps, tables
from scripts.parity.findings import Check, Finding, Kit, read_manifest, run
from scripts.parity.kit import Arrays, weights, write_checkpoint
from scripts.parity.network_checks import check_of
from scripts.parity.tables import Entry

SPECS = {spec.name: spec for spec in MAIN_NETWORKS}
AREAS: dict[str, dict[str, Check]] = {
    "networks": {net: check_of(net) for net in SPECS},
    "aux": {
        "steps_detection": auxiliary.detection,
        "steps_crop": auxiliary.crop,
        "steps_eye": auxiliary.eye,
        "steps_wav2feat": auxiliary.wav2feat,
        "steps_audio_load": auxiliary.audio_load,
    },
    "steps": {
        "steps_keypoint": steps.keypoint,
        "steps_mask": steps.mask,
        "steps_condition": steps.condition,
        "steps_smooth_source": steps.smooth_source,
        "steps_audio2motion_offline": steps.audio2motion,
        "steps_motion_stitch": steps.motion_stitch,
        "steps_putback": steps.putback,
        "steps_offline_motion": flows.offline_motion,
        "steps_online_motion": flows.online_motion,
    },
    "e2e": {
        "e2e_offline_image": e2e.offline_image,
        "e2e_offline_video": e2e.offline_video,
        "e2e_online_image": e2e.online_image,
    },
}
TABLES: dict[str, dict[str, Callable[[Kit], Iterator[Entry]]]] = {
    "steps": {
        "steps_online_flow": tables.online_flow,
        "steps_ctrl_info": tables.ctrl_info,
        "steps_loader": tables.loader,
    }
}


class Networks:
    """The six networks with a kit's weights, written as published and opened by a runtime, when asked for."""

    def __init__(self, manifest: dict[str, Any], runtime: str, folder: Path, stack: ExitStack) -> None:
        self._manifest, self._runtime, self._folder, self._stack = manifest, runtime, folder, stack
        self._open: dict[str, Network] = {}

    def __call__(self, net: str) -> Network:
        if net not in self._open:
            path = self._checkpoint(net)
            if self._runtime == "onnx":
                path = self._exported(net, path)
            network = open_network(SPECS[net], path)
            self._open[net] = self._stack.enter_context(closing(network))
        return self._open[net]

    def insides(self, net: str, arrays: Arrays) -> Arrays:
        """What lies between a network's inputs and its outputs, which torch alone can show."""
        if self._runtime != "torch" or net not in ("warp_network", "lmdm"):
            return {}
        import torch

        from core.models.checkpoints import load_network

        module: Any = load_network(net, self._checkpoint(net))
        names: tuple[str, ...]
        given = [torch.from_numpy(array) for array in arrays.values()]
        with torch.inference_mode():
            if net == "lmdm":
                names, found = ("uncond", "cond"), module.passes(*given)
            else:
                names, found = ("deformation", "occlusion_map", "mask"), module.dense_motion_network(*given)
        return {name: tensor.numpy() for name, tensor in zip(names, found, strict=True)}

    def _checkpoint(self, net: str) -> Path:
        path = self._folder / f"{net}.pth"
        if not path.exists():
            made = weights(net, self._manifest["networks"][net], str(self._manifest["salt"]))
            write_checkpoint(net, made, path)
        return path

    def _exported(self, net: str, checkpoint: Path) -> Path:
        from core.models.checkpoints import load_network
        from scripts.export_onnx import export

        path = checkpoint.with_suffix(".onnx")
        export(SPECS[net], load_network(net, checkpoint), path)
        return path


def check(kit: Kit, only: str | None, dump: Path | None) -> Iterator[Finding]:
    """All findings of an area, or of all areas, file by file; files that the kit lacks are left out."""
    for area, files in AREAS.items():
        if only not in (None, area):
            continue
        for stem, work in files.items():
            if (kit.golden_folder / f"{stem}.npz").is_file():
                yield from run(kit, stem, work, dump)
        for stem, table in TABLES.get(area, {}).items():
            if (kit.golden_folder / f"{stem}.json").is_file():
                yield from _run_table(kit, stem, table, dump)


def _run_table(
    kit: Kit, stem: str, table: Callable[[Kit], Iterator[Entry]], dump: Path | None
) -> Iterator[Finding]:
    entries = list(table(kit))
    for entry in entries:
        differs = float(entry.ours != entry.theirs)
        yield Finding(f"{stem}.json", entry.key, differs, 0.0, differs, not differs)
    if dump:
        dump.mkdir(parents=True, exist_ok=True)
        made = {entry.key: entry.ours for entry in entries}
        (dump / f"{stem}.json").write_text(json.dumps(made, indent=1) + "\n", "utf-8")


def show(finding: Finding) -> str:
    """One line of the table."""
    verdict = "" if finding.ok else "  BEYOND"
    name = f"{finding.file.rsplit('.', 1)[0]} {finding.key}"
    return f"{name:64} {finding.difference:10.2e} {finding.limit:10.2e} {100 * finding.share:7.2f}%{verdict}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kit", type=Path, required=True, help="folder with manifest.json and golden/")
    parser.add_argument("--media", type=Path, help="folder with the files that the kit names")
    parser.add_argument("--runtime", choices=("torch", "onnx"), default="torch", help="runs the networks")
    parser.add_argument("--only", choices=tuple(AREAS), help="one area")
    parser.add_argument("--dump", type=Path, help="folder for what was computed")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args(arguments)
    found: list[Finding] = []
    try:
        manifest = read_manifest(options.kit)
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            networks = Networks(manifest, options.runtime, Path(folder), stack)
            golden = options.kit / "golden"
            kit = Kit(str(manifest["salt"]), golden, options.media, networks, networks.insides)
            print(f"{'net or step, case':64} {'difference':>10} {'limit':>10} {'values':>8}")
            for finding in check(kit, options.only, options.dump):
                found.append(finding)
                print(show(finding), flush=True)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    beyond = [finding for finding in found if not finding.ok]
    print(f"{len(found)} compared, {len(beyond)} beyond their limit")
    if options.json:
        rows = [finding._asdict() | {"difference": _number(finding.difference)} for finding in found]
        print(json.dumps({"salt": kit.salt, "runtime": options.runtime, "ok": not beyond, "findings": rows}))
    return 1 if beyond or not found else 0


def _number(value: float) -> float | None:
    """JSON knows no infinity: None where shapes differ."""
    return value if np.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
