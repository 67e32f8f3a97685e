"""Checkpoints of the published format load; every other file is refused with a plain word."""

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.errors import CorruptCheckpoint, MissingCheckpoint
from core.models.checkpoints import MODULES, load_network
from core.models.decoder import SpectralConv2d
from scripts.parity import kit
from tests import ditto

State = dict[str, Tensor]
STITCH = "stitch_network"  # the smallest


def _thin(net: str) -> State:
    """A state dict of the right names and shapes whose file takes no room: every entry repeats one value."""
    with torch.device("meta"):
        module = MODULES[net]()
    return {name: torch.ones((), dtype=t.dtype).expand(t.shape) for name, t in module.state_dict().items()}


def _save_stitch(path: Path, state: State) -> Path:
    torch.save({"retarget_shoulder": {f"module.{name}": t for name, t in state.items()}}, path)
    return path


@pytest.mark.parametrize("net", MODULES)
def test_loads_whole_and_ready_to_use(net, tmp_path):
    thin = _thin(net)
    path = tmp_path / "thin.pth"
    wrapped: dict[str, object] = {"model_state_dict": thin, "epoch": 3} if net == "lmdm" else dict(thin)
    torch.save(wrapped, path)
    if net == STITCH:
        _save_stitch(path, thin)
    network = load_network(net, path)
    tensors = [*network.parameters(), *network.buffers()]
    assert not any(t.is_meta or t.requires_grad for t in tensors)
    assert not any(part.training for part in network.modules())
    assert not any(hasattr(part, "weight_orig") for part in network.modules())


@pytest.mark.parametrize("legacy", [False, True])
def test_values_are_those_of_the_file(legacy, tmp_path):
    path, made = tmp_path / "a.pth", ditto.weights(STITCH)
    kit.write_checkpoint(STITCH, made, path, legacy=legacy)
    state = load_network(STITCH, path).state_dict()
    assert all(np.array_equal(state[name].numpy(), array) for name, array in made.items())


def test_weights_are_mapped_and_outlive_the_name_of_their_file(tmp_path):
    path = tmp_path / "a.pth"
    kit.write_checkpoint(STITCH, ditto.weights(STITCH), path)
    network = load_network(STITCH, path)
    assert str(path) in Path("/proc/self/maps").read_text()
    path.unlink()
    assert bool(network(torch.zeros(1, 21, 3), torch.zeros(1, 21, 3)).isfinite().all())


def test_folding_leaves_the_file_alone(tmp_path):
    path = tmp_path / "decoder.pth"
    state = _thin("decoder")
    state["up_1.conv_s.weight_orig"] = torch.full((64, 256, 1, 1), 3.0)  # in full, so it is mapped
    torch.save(state, path)
    before = path.read_bytes()
    up = load_network("decoder", path).up_1
    assert isinstance(up, nn.Module)
    assert isinstance(up.conv_s, SpectralConv2d)
    sigma = 3 * 64 * 256  # of a matrix of threes between vectors of ones
    torch.testing.assert_close(up.conv_s.weight.data, torch.full((64, 256, 1, 1), 3 / sigma))
    assert path.read_bytes() == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype, tmp_path):
    made = {name: torch.from_numpy(a).to(dtype) for name, a in ditto.weights(STITCH).items()}
    state = load_network(STITCH, _save_stitch(tmp_path / "a.pth", made)).state_dict()
    assert all(torch.equal(state[name], t.float()) for name, t in made.items())


def test_layers_of_the_motion_model_share_one_rotation(tmp_path):
    torch.save({"model_state_dict": _thin("lmdm")}, tmp_path / "a.pth")
    network = load_network("lmdm", tmp_path / "a.pth")
    found = [buffer for name, buffer in network.named_buffers(remove_duplicate=False) if "freqs" in name]
    assert len(found) == 11
    assert len({id(buffer) for buffer in found}) == 1


def _without(state: State) -> State:
    return {name: t for name, t in state.items() if name != "mlp.4.bias"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without, ["entry 'mlp.4.bias' expected and not found"]),
        (
            lambda s: {**s, "mlp.8.gate": s["mlp.0.bias"]},
            ["entry 'mlp.8.gate' found and not", "newer version"],
        ),
        (
            lambda s: {name.replace("mlp", "net"): t for name, t in s.items()},
            ["entry 'mlp.0.weight' and 7 more expected", "entry 'net.0.weight' and 7 more found"],
        ),
        (
            lambda s: {**s, "mlp.6.bias": torch.zeros(66)},
            ["entry 'mlp.6.bias' expected as float32 (65,)", "found as float32 (66,)"],
        ),
        (
            lambda s: {**s, "mlp.6.bias": s["mlp.6.bias"].double()},
            ["entry 'mlp.6.bias' expected as float32 (65,)", "found as float64 (65,)"],
        ),
        (
            lambda s: {**s, "mlp.6.bias": s["mlp.6.bias"].to_sparse()},
            ["entry 'mlp.6.bias' expected as float32 (65,)", "without values of its own"],
        ),
        (lambda s: {**s, "mlp.6.bias": s["mlp.6.bias"].to("meta")}, ["'mlp.6.bias'", "without values"]),
    ],
    ids=["missing", "unknown", "renamed", "shape", "dtype", "sparse", "meta"],
)
def test_what_does_not_fit_is_named(change: Callable[[State], State], words, tmp_path):
    path = _save_stitch(tmp_path / "a.pth", change(_thin(STITCH)))
    with pytest.raises(CorruptCheckpoint) as caught:
        load_network(STITCH, path)
    assert all(word in str(caught.value) for word in [str(path), STITCH, *words]), str(caught.value)


@pytest.mark.parametrize(
    ("net", "other"), [("warp_network", "decoder"), ("decoder", "lmdm"), ("lmdm", STITCH)]
)
def test_swapped_files_are_recognised(net, other, tmp_path):
    path = tmp_path / "a.pth"
    torch.save(_thin(other), path)
    with pytest.raises(CorruptCheckpoint, match=f"does not fit {net}; it looks like {other}: entry"):
        load_network(net, path)


class _Program:
    """Would make a folder if its pickle were run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_a_program_is_refused_and_not_run(how, tmp_path):
    path, marker = tmp_path / "a.pth", tmp_path / "marker"
    state = {**_thin(STITCH), "extra": _Program(marker)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(_Program(marker), protocol=2))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(CorruptCheckpoint, match=r"holds a program \(\w+\.mkdir\).*not run"):
        load_network(STITCH, path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [({}, "nothing"), ([1, 2], "list"), (torch.zeros(3), "Tensor"), ({"model_state_dict": 5}, "int"),
     ({"step": 5}, "found int"), ({7: torch.zeros(1)}, "as entry 7, found Tensor")],
)  # fmt: skip
def test_other_content_is_no_checkpoint(content, found, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CorruptCheckpoint, match=found):
        load_network(STITCH, tmp_path / "a.pth")


def _zip() -> bytes:
    with io.BytesIO() as out:
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a.txt", "a")
        return out.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>404</html>", bytes(5000), _zip()])
def test_foreign_files_are_refused(content, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpoint, match=rf"no PyTorch checkpoint.*\({len(content)} bytes"):
        load_network(STITCH, path)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_cut_short_are_refused(legacy, tmp_path):
    path = tmp_path / "a.pth"
    kit.write_checkpoint(STITCH, ditto.weights(STITCH), path, legacy=legacy)
    whole = path.read_bytes()
    for kept in (10, 1000, 30_000, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(CorruptCheckpoint, match="cut short"):
            load_network(STITCH, path)


@pytest.mark.parametrize("legacy", [False, True])
def test_whatever_damage_ends_in_our_error(legacy, tmp_path):
    path, rng = tmp_path / "a.pth", np.random.default_rng(3)
    kit.write_checkpoint(STITCH, ditto.weights(STITCH), path, legacy=legacy)
    whole, refused = path.read_bytes(), 0
    for _ in range(150):
        damaged = bytearray(whole)
        head, tail = rng.integers(1500, size=2), len(whole) - 1 - rng.integers(1500, size=1)
        for place in (*head, *tail):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings(action="ignore"):  # of formats that the damage seems to name
            try:
                load_network(STITCH, path)
            except CorruptCheckpoint:
                refused += 1
    assert refused > 50


def test_missing_files_are_named(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(MissingCheckpoint, match=str(path)):
            load_network(STITCH, path)
