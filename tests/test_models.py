"""The six networks give what the published code gives with the same weights and inputs."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.models.checkpoints import MODULES, load_network
from core.models.decoder import SpectralConv2d
from core.networks import MAIN_NETWORKS
from scripts.parity import networks
from tests import ditto

SPECS = {spec.name: spec for spec in MAIN_NETWORKS}
LIMIT = 1e-4  # of the output's peak
Load = Callable[[str], nn.Module]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Networks as they come from files of the published format."""
    folder = tmp_path_factory.mktemp("checkpoints")
    yield lambda net: load_network(net, ditto.checkpoint(net, folder))
    shutil.rmtree(folder)  # 0.7 GB


def _tensors(arrays: dict[str, np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(array) for array in arrays.values()]


def _run(network: nn.Module, arguments: list[Tensor]) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        out = network(*arguments)
    return out if isinstance(out, tuple) else (out,)


def _outputs(net: str, case: int, tensors: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """By the names of the golden file: a lone output is "out" there."""
    names = ["out"] if len(tensors) == 1 else [port.name for port in SPECS[net].outputs]
    return {f"case{case}.{name}": t.float().numpy() for name, t in zip(names, tensors, strict=True)}


@pytest.mark.parametrize("net", MODULES)
def test_state_dict_is_named_and_shaped_as_published(net):
    with torch.device("meta"):
        ours = MODULES[net]().state_dict()
    rows = ditto.manifest()["networks"][net]["state_dict"]
    types = {row["name"]: torch.int64 if row["kind"] == "zero_int" else torch.float32 for row in rows}
    assert {name: tuple(t.shape) for name, t in ours.items()} == {r["name"]: tuple(r["shape"]) for r in rows}
    assert {name: t.dtype for name, t in ours.items()} == types


@pytest.mark.parametrize("net", ["stitch_network", "motion_extractor", "appearance_extractor"])
def test_equals_the_published_code(net, load):
    network, golden = load(net), ditto.golden(net)
    for case in networks.cases(golden):
        arguments = networks.inputs(net, case, golden, ditto.salt())
        assert list(arguments) == [port.name for port in SPECS[net].inputs]
        for name, array in _outputs(net, case, _run(network, _tensors(arguments))).items():
            assert golden.difference(name, array) < LIMIT * golden.peak(name), name


def test_warp_network_equals_the_published_code(load):
    network, golden = load("warp_network"), ditto.golden("warp_network")
    seen: list[Any] = []
    network.dense_motion_network.register_forward_hook(lambda module, given, out: seen.append(out))
    for case in networks.cases(golden):
        arguments = networks.inputs("warp_network", case, golden, ditto.salt())
        (out,) = _run(network, _tensors(arguments))
        motion = seen.pop()
        for name, tensor, limit in (
            ("out", out, LIMIT * golden.peak(f"case{case}.out")),
            ("deformation", motion.deformation, 1e-4),
            ("occlusion_map", motion.occlusion, LIMIT),
            ("mask", motion.mask, LIMIT),
        ):
            assert golden.difference(f"case{case}.{name}", tensor.numpy()) < limit, name


def test_decoder_equals_the_published_code(load):
    network, golden = load("decoder"), ditto.golden("decoder")
    for case in networks.cases(golden):
        (out,) = _run(network, _tensors(networks.inputs("decoder", case, golden, ditto.salt())))
        picture = out.numpy()
        assert golden.difference(f"case{case}.out", picture) < LIMIT
        assert golden.difference(f"case{case}.out_rows_mean", picture.mean(3)) < LIMIT
        assert golden.difference(f"case{case}.out_patch", picture[..., 240:256, 240:256]) < LIMIT


def test_lmdm_equals_the_published_code(load):
    network, golden = load("lmdm"), ditto.golden("lmdm")
    for case in networks.cases(golden):
        arguments = _tensors(networks.inputs("lmdm", case, golden, ditto.salt()))
        found = _outputs("lmdm", case, _run(network, arguments))
        with torch.inference_mode():
            without, within = network.passes(*arguments)
        found |= {f"case{case}.uncond": without.numpy(), f"case{case}.cond": within.numpy()}
        for name, array in found.items():
            assert golden.difference(name, array) < LIMIT * golden.peak(name), name


class _WideInside(TorchFunctionMode):
    """Half precision as an accelerator has it: sums in float32, results rounded. CPUs are slow at it."""

    SUMS = (F.conv2d, F.conv3d, F.linear, F.batch_norm, F.instance_norm, F.layer_norm, F.avg_pool3d)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in self.SUMS:
            return func(*args, **(kwargs or {}))
        wide = {key: _widened(value) for key, value in (kwargs or {}).items()}
        return func(*map(_widened, args), **wide).to(args[0].dtype)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("net", ["appearance_extractor", "motion_extractor", "warp_network", "decoder"])
def test_half_precision_is_near(net, dtype, load):
    """40 dB below the range of the values. The other two networks are small and stay in float32.

    Keypoints stay in float32 as well: rounded to bfloat16 they move a tenth of a voxel, and 36 dB are left.
    """
    network, golden = load(net).to(dtype), ditto.golden(net)
    given = networks.inputs(net, 0, golden, ditto.salt())
    arguments = [
        t if name.startswith("kp") else t.to(dtype) for name, t in zip(given, _tensors(given), strict=True)
    ]
    with _WideInside():
        out = _run(network, arguments)
    assert {t.dtype for t in out} == {dtype}
    for name, array in _outputs(net, 0, out).items():
        assert golden.psnr(name, array) >= 40, name


def _small(net: str) -> list[Tensor]:
    """Two different inputs at once, as small as the network takes them."""
    shapes = {port.name: port.shape[1:] for port in SPECS[net].inputs}
    shapes |= {"image": (3, 64, 64), "feature_3d": (32, 16, 32, 32), "feature": (256, 8, 8)}
    generator = torch.Generator().manual_seed(7)
    return [
        torch.tensor([700, 20])
        if port.dtype == "int64"
        else torch.randn(2, *shapes[port.name], generator=generator)
        for port in SPECS[net].inputs
    ]


@pytest.mark.parametrize("net", MODULES)
def test_what_shares_a_batch_does_not_mix(net, load):
    network, both = load(net), _small(net)
    kept = [t.clone() for t in both]
    together = _run(network, both)
    apart = [_run(network, [t[i : i + 1] for t in both]) for i in range(2)]
    for index, out in enumerate(together):
        each = torch.cat([one[index] for one in apart])
        torch.testing.assert_close(out, each, rtol=0, atol=LIMIT * float(each.abs().max()))
    assert all(torch.equal(now, before) for now, before in zip(both, kept, strict=True))


def test_folding_divides_by_the_largest_singular_value():
    conv = SpectralConv2d(6, 5, 3)
    weight = torch.randn(5, 6, 3, 3, generator=torch.Generator().manual_seed(1))
    u, sizes, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    conv.load_state_dict(
        {"weight_orig": weight, "weight_u": u[:, 0], "weight_v": v[0], "bias": torch.zeros(5)}
    )
    conv.fold()
    torch.testing.assert_close(conv.weight.data, weight / sizes[0])
    assert set(conv.state_dict()) == {"weight", "bias"}
