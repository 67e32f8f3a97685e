"""The sampler steps when and as far as the published code does, on any kind of array."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.atomic_components.diffusion import sample, schedule, times
from core.errors import BadOption
from core.models.checkpoints import load_network
from core.models.schedule import alphas_cumprod
from scripts.parity import networks
from tests import ditto

ROOT = Path(__file__).parent.parent
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def lmdm(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    path = ditto.checkpoint("lmdm", tmp_path_factory.mktemp("lmdm"))
    network = load_network("lmdm", path)
    path.unlink()  # it is mapped
    return network


def test_every_number_of_steps_is_called_at_the_published_times():
    for steps in range(1, 1001):
        published = torch.linspace(-1, 999, steps + 1).to(torch.int64).flip(0).numpy()
        assert np.array_equal(times(steps), published), steps


def test_alphas_are_the_published_ones_to_the_bit():
    assert np.array_equal(alphas_cumprod(), ditto.golden("lmdm").arrays["alphas_cumprod"])


@pytest.mark.parametrize("count", [5, 10, 50])
def test_steps_are_the_published_ones(count):
    stored, steps = ditto.golden("lmdm").arrays, schedule(count)
    at = [step.time for step in steps] + [-1]
    assert list(pairwise(at)) == [tuple(pair) for pair in stored[f"ddim{count}.time_pairs"]]
    for ours, theirs in (("fresh", "sigma"), ("found", "c"), ("motion", "alpha_next_sqrt")):
        values = np.array([getattr(step, ours) for step in steps[:-1]])
        np.testing.assert_allclose(values, stored[f"ddim{count}.{theirs}"], rtol=0, atol=1e-7)  # one rounding


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 26, 50, 1000])
def test_noise_keeps_its_size(count):
    """The squares of a step's coefficients sum to one. Below zero by rounding, 3 steps once gave NaN."""
    for step in schedule(count):
        assert step.motion**2 + step.found**2 + step.fresh**2 == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_numbers_of_steps_out_of_range_are_refused(count):
    with pytest.raises(BadOption, match=f"{count} sampling steps.*1 to 1000"):
        schedule(count)


@pytest.mark.parametrize("count", [5, 10])
def test_a_run_equals_the_published_one(count, lmdm):
    golden, (x, noises) = ditto.golden("lmdm"), networks.noise(count, ditto.salt())
    heard = networks.condition(0, ditto.salt())
    cond_frame, cond = (torch.from_numpy(heard[name]) for name in ("cond_frame", "cond"))
    for noise, check in zip(noises, golden.arrays[f"ddim{count}.noise_check"], strict=True):
        assert np.array_equal(noise.flat[:4], check)

    @torch.inference_mode()
    def denoise(x: np.ndarray, time: int) -> Pair:
        noise, motion = lmdm(torch.from_numpy(x), cond_frame, cond, torch.tensor([time]))
        return noise.numpy(), motion.numpy()

    motion = sample(denoise, x, noises, schedule(count))
    assert motion.dtype == np.float32
    assert golden.difference(f"ddim{count}.out", motion) < 1e-4


def test_tensors_go_the_same_way_as_arrays():
    x, noises = networks.noise(6, "any")

    def arrays(x: np.ndarray, time: int) -> Pair:
        return x * np.float32(0.5) + np.float32(time), x - np.float32(1)

    def tensors(x: Tensor, time: int) -> tuple[Tensor, Tensor]:
        return x * 0.5 + time, x - 1

    ours = sample(arrays, x, noises, schedule(6))
    theirs = sample(tensors, torch.from_numpy(x), [torch.from_numpy(n) for n in noises], schedule(6))
    assert theirs.dtype == torch.float32
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_one_step_is_the_first_guess():
    x = np.ones((2, 3), np.float32)
    motion = sample(lambda x, time: (np.full_like(x, np.nan), x * time), x, [], schedule(1))
    assert np.array_equal(motion, 999 * x)


@pytest.mark.parametrize("given", [3, 5])
def test_noise_is_one_less_than_steps(given):
    x = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="zip"):
        sample(lambda x, time: (x, x), x, [x] * given, schedule(5))


def test_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import core.atomic_components.diffusion"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
