"""Memory that Ditto's networks take: their weights, and what lies between their layers while one runs.

Measured by torch on the CPU in float32, batch 1, as the engine runs them. Libraries take memory of their own
on top, on a GPU cuDNN and the CUDA context; that is not seen here.
"""

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from core.models.checkpoints import MODULES
from core.models.decoder import SpectralConv2d
from core.networks import MAIN_NETWORKS, NetworkSpec

_ANY = 0.01  # the weights' values do not matter


def measure() -> dict[str, dict[str, int]]:
    """By network: bytes of its `weights` as published, and the most that `activations` take at once."""
    return {
        spec.name: {"weights": _weights(spec.name), "activations": _activations(spec)}
        for spec in MAIN_NETWORKS
    }


def _weights(name: str) -> int:
    with torch.device("meta"):
        entries = MODULES[name]().state_dict().values()
    return sum(entry.numel() * entry.element_size() for entry in entries)


def _filled(name: str) -> nn.Module:
    with torch.device("meta"):
        network = MODULES[name]()
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    for entry in network.state_dict().values():
        entry.fill_(_ANY if entry.is_floating_point() else 0)
    for part in network.modules():
        if isinstance(part, SpectralConv2d):
            part.fold()
    return network


def _activations(spec: NetworkSpec) -> int:
    network = _filled(spec.name)
    given = [torch.from_numpy(np.zeros(tuple(map(int, port.shape)), port.dtype)) for port in spec.inputs]
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        network(*given)
    # what was taken and given back, in bytes; `seen.events()` has no order of these
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        taken += event.nbytes()
        most = max(most, taken)
    return most
