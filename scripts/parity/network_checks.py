"""The six networks on a kit's inputs, and the sampler around the motion model."""

from collections.abc import Iterator

import numpy as np

from core.atomic_components.diffusion import sample, schedule, times
from core.models.schedule import alphas_cumprod
from core.networks import MAIN_NETWORKS
from scripts.parity import networks
from scripts.parity.findings import DDIM, DEFORMATION, EXACT, NETWORK, STEP, Check, Kit, Result
from scripts.parity.kit import Arrays, Golden

_SPECS = {spec.name: spec for spec in MAIN_NETWORKS}
_PATCH = (..., slice(240, 256), slice(240, 256))  # of the decoder's picture


def check_of(net: str) -> Check:
    """The check of one network: every case, and for the motion model whole runs of sampling."""

    def check(kit: Kit) -> Iterator[Result]:
        golden = kit.golden(net)
        network = kit.networks(net)
        for case in networks.cases(golden):
            arguments = networks.inputs(net, case, golden, kit.salt)
            out = network(arguments)
            named = {"out": out[_SPECS[net].outputs[0].name]} if len(out) == 1 else out
            if net == "decoder":
                picture = named["out"]
                named |= {"out_rows_mean": picture.mean(3), "out_patch": picture[_PATCH]}
            named |= kit.insides(net, arguments)
            for name, value in named.items():
                limit = DEFORMATION if name == "deformation" else NETWORK
                yield Result(f"case{case}.{name}", value, limit)
        if net == "lmdm":
            yield from _sampling(kit, golden)

    return check


def _sampling(kit: Kit, golden: Golden) -> Iterator[Result]:
    yield Result("alphas_cumprod", alphas_cumprod(), EXACT)
    alphas = alphas_cumprod()
    network, condition = kit.networks("lmdm"), networks.condition(0, kit.salt)
    for steps in sorted(int(key[4:].split(".")[0]) for key in golden.arrays if key.endswith(".time_pairs")):
        key, run, at = f"ddim{steps}", schedule(steps), times(steps)
        yield Result(f"{key}.time_pairs", np.stack([at[:-1], at[1:]], 1), EXACT)
        yield Result(f"{key}.sigma", np.array([step.fresh for step in run[:-1]], np.float32), DDIM)
        yield Result(f"{key}.c", np.array([step.found for step in run[:-1]], np.float32), DDIM)
        yield Result(f"{key}.alpha_next_sqrt", np.sqrt(alphas[at[1:-1]]), STEP)
        x, noises = networks.noise(steps, kit.salt)
        yield Result(f"{key}.noise_check", np.stack([noise.reshape(-1)[:4] for noise in noises]), STEP)

        def denoise(x: np.ndarray, time: int) -> tuple[np.ndarray, np.ndarray]:
            given: Arrays = {"x": x, **condition, "time_cond": np.array([time], np.int64)}
            out = network(given)
            return out["pred_noise"], out["x_start"]

        yield Result(f"{key}.out", sample(denoise, x, noises, run), DDIM)
