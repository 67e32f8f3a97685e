"""Networks run by torch, on the CPU or on CUDA."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from core.errors import ComputeError, EngineUnavailable, OutOfMemory
from core.networks import LMDM, STITCH_NETWORK, NetworkSpec
from core.runtimes.devices import Precision, less_memory
from core.runtimes.ports import inputs_of, outputs_of

log = logging.getLogger(__name__)
_HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_ALWAYS_FP32 = (LMDM.name, STITCH_NETWORK.name)  # as upstream: their values do not stand halves
_OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory")


class TorchNetwork:
    """A torch module in eval mode as a Network; threads may share it.

    fp16 and bf16 run the module under autocast, so its weights stay float32; the motion model and the
    stitching network run in fp32 whatever is asked. Raises EngineUnavailable (no CUDA) and OutOfMemory.
    """

    def __init__(
        self, spec: NetworkSpec, module: torch.nn.Module, device: str = "cpu", precision: Precision = "fp32"
    ) -> None:
        if device != "cpu" and not torch.cuda.is_available():
            raise EngineUnavailable(
                f"torch {torch.__version__} sees no CUDA device.",
                "Check the NVIDIA driver and that torch is a CUDA build, or choose the device cpu.",
            )
        self._spec, self._device = spec, torch.device(device)
        self._half = None if spec.name in _ALWAYS_FP32 else _HALVES.get(precision)
        with _translated(spec.name, device, "loading"):
            self._module: torch.nn.Module | None = module.eval().to(self._device)
        log.info("%s: torch on %s, %s", spec.name, device, precision if self._half else "fp32")

    @torch.inference_mode()
    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert self._module is not None, "called after close"
        given = inputs_of(self._spec, arrays)
        with (
            _translated(self._spec.name, self._device.type, "running"),
            torch.autocast(self._device.type, dtype=self._half, enabled=self._half is not None),
        ):
            made = self._module(*(torch.tensor(array, device=self._device) for array in given))
            results = made if isinstance(made, tuple) else (made,)
            found = [result.float().cpu().numpy() for result in results]
        return outputs_of(self._spec, found, self._spec.name)

    def close(self) -> None:
        """Release the weights. May be called twice; the network is not to be called afterwards."""
        self._module = None


@contextmanager
def _translated(name: str, device: str, doing: str) -> Iterator[None]:
    """torch's errors as ours."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
            torch.cuda.empty_cache()  # what this run had goes back, so that the next one finds room
            raise OutOfMemory(
                f"{name}: no memory left while {doing}.", less_memory(device, "torch")
            ) from error
        raise ComputeError(f"{name}: failed while {doing}: {str(error).splitlines()[0][:300]}") from error
