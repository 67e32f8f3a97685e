"""Write Ditto's six networks as ONNX files, each compared with torch before it gets its name.

    python scripts/export_onnx.py checkpoints --out checkpoints/ditto_onnx [--only decoder warp_network]

CHECKPOINTS is the folder of the published repository, or one with the .pth files themselves in it.
Inputs and outputs are named and shaped as in core/networks.py. Needs torch and onnx.
"""

import argparse
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import onnx
import torch

from core.checkpoints.catalogue import VARIANTS
from core.errors import BadPath, ComputeError, StoreFailed, TalkerError
from core.models.checkpoints import load_network
from core.networks import MAIN_NETWORKS, NetworkSpec, Port
from core.runtimes.onnx_rewrite import replace_grid_samples
from core.runtimes.onnx_runtime import OnnxNetwork
from core.runtimes.torch_runtime import TorchNetwork

OPSET = 20  # the first with volumetric GridSample, which the exporter writes and we spell out
TOLERANCE = 1e-4  # of an output's peak
_SPREAD = {"kp_source": 0.3, "kp_driving": 0.3, "feature_3d": 0.5}  # of inputs that are not about 1


def export(spec: NetworkSpec, module: torch.nn.Module, path: Path) -> float:
    """Write `module` (in eval mode) to `path`; the largest difference from torch, as a share of the peak.

    The file gets its name once it is checked and has given what torch gives, within TOLERANCE. Raises
    ComputeError when it gives something else, StoreFailed when it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _trace(spec, module, unfinished)
        model = onnx.load(unfinished)
        replaced = replace_grid_samples(model, "GridSample", path.name)
        onnx.checker.check_model(model, full_check=True)
        if replaced:
            onnx.save(model, unfinished)
        del model
        difference = compare(spec, module, unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise StoreFailed(
            f"Cannot write '{path}': {error.strerror}.", "Free some space or rights."
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return difference


def compare(spec: NetworkSpec, module: torch.nn.Module, path: Path) -> float:
    """The largest difference of a file from torch as a share of an output's peak. Raises ComputeError
    beyond TOLERANCE."""
    arrays = {port.name: drawn(port) for port in spec.inputs}
    expected = TorchNetwork(spec, module)(arrays)
    found = OnnxNetwork(spec, path)(arrays)
    worst = 0.0
    for name, value in expected.items():
        share = float(np.abs(found[name] - value).max() / np.abs(value).max())
        if not share <= TOLERANCE:
            raise ComputeError(
                f"{spec.name}: the exported {name} differs from torch by {share:.1e} of the peak, "
                f"{TOLERANCE:.0e} at most allowed."
            )
        worst = max(worst, share)
    return worst


def drawn(port: Port) -> np.ndarray:
    """An input that the network might meet; the same every time."""
    rng = np.random.default_rng(len(port.name))
    shape = [size if isinstance(size, int) else 1 for size in port.shape]
    if port.dtype == "int64":
        return np.full(shape, 499, np.int64)  # a time in the middle of 0..999
    if port.name == "image":
        return rng.random(shape, np.float32)
    return np.float32(_SPREAD.get(port.name, 1.0)) * rng.standard_normal(shape, np.float32)


def _trace(spec: NetworkSpec, module: torch.nn.Module, path: Path) -> None:
    """Let torch write the graph. The tracing exporter needs onnx alone; the newer one two packages more."""
    given = tuple(torch.from_numpy(drawn(port)) for port in spec.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on its ways; `compare` tells whether the graph is right
        torch.onnx.export(
            module,
            given,
            str(path),
            input_names=[port.name for port in spec.inputs],
            output_names=[port.name for port in spec.outputs],
            opset_version=OPSET,
            dynamo=False,
        )


def find(folder: Path, role: str) -> Path:
    """The .pth of a network in a folder, by its published path or its name alone. Raises BadPath."""
    published = published_path("ditto-pytorch", role)
    for path in (folder / published, folder / published.name):
        if path.is_file():
            return path
    raise BadPath(f"There is neither {published} nor {published.name} in '{folder}'.")


def published_path(variant: str, role: str) -> Path:
    return next(Path(asset.path) for asset in VARIANTS[variant].assets if asset.role == role)


def run(folder: Path, out: Path, specs: Iterable[NetworkSpec]) -> None:
    """Export the networks of `folder`, and print a line for each. Raises TalkerError."""
    for spec in specs:
        path = out / published_path("ditto-onnx", spec.name).name
        difference = export(spec, load_network(spec.name, find(folder, spec.name)), path)
        size = path.stat().st_size / 1e6
        print(f"{spec.name:21} {path} ({size:.1f} MB), {difference:.1e} of the peak from torch")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Write Ditto's networks as ONNX files.")
    made.add_argument("checkpoints", type=Path, help="folder with the published .pth files")
    made.add_argument("--out", type=Path, required=True, help="folder of the ONNX files")
    names = [spec.name for spec in MAIN_NETWORKS]
    made.add_argument("--only", nargs="+", choices=names, default=names, help="networks to export (all)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """-> exit code."""
    given = parser().parse_args(argv)
    try:
        run(given.checkpoints, given.out, [spec for spec in MAIN_NETWORKS if spec.name in given.only])
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
