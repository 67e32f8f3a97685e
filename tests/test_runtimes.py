"""Networks out of files: what fits runs, what does not is refused by name, whichever runtime it is."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from onnx import helper

from core.errors import (
    BadOption,
    ComputeError,
    CorruptCheckpoint,
    EngineUnavailable,
    MissingCheckpoint,
    OutOfMemory,
    TalkerError,
)
from core.networks import (
    AUX_NETWORKS,
    DECODER,
    HUBERT,
    LANDMARK106,
    LANDMARK203,
    LMDM,
    MAIN_NETWORKS,
    MOTION_EXTRACTOR,
    STITCH_NETWORK,
    WARP_NETWORK,
    NetworkSpec,
    Port,
)
from core.runtimes import devices, onnx_runtime
from core.runtimes.devices import less_memory, pick_device
from core.runtimes.load import open_network
from core.runtimes.onnx_runtime import OnnxNetwork
from core.runtimes.torch_runtime import TorchNetwork
from tests.graphs import tiny_model, write_tiny

ROOT = Path(__file__).parent.parent
LANDMARKS = {"input": np.full((1, 3, 224, 224), 0.25, np.float32)}


def some(spec: NetworkSpec) -> dict[str, np.ndarray]:
    """Halves for every input, 3200 where a size is open."""
    sizes = {port.name: [s if isinstance(s, int) else 3200 for s in port.shape] for port in spec.inputs}
    return {port.name: np.full(sizes[port.name], 0.5, port.dtype) for port in spec.inputs}


@pytest.mark.parametrize("spec", [*MAIN_NETWORKS, *AUX_NETWORKS], ids=lambda spec: spec.name)
def test_every_network_opens_by_its_ports(tmp_path: Path, spec: NetworkSpec) -> None:
    network = open_network(spec, write_tiny(spec, tmp_path / "net.onnx"))
    results = network(some(spec))
    assert list(results) == [port.name for port in spec.outputs]
    for number, port in enumerate(spec.outputs):
        fixed = tuple(size if isinstance(size, int) else 1 for size in port.shape)
        assert results[port.name].shape == fixed
        assert results[port.name].dtype == port.dtype
        np.testing.assert_allclose(results[port.name], 0.5 + number, rtol=1e-5)
    network.close()
    network.close()


def test_half_precision_files_take_and_give_float32(tmp_path: Path) -> None:
    network = OnnxNetwork(STITCH_NETWORK, write_tiny(STITCH_NETWORK, tmp_path / "net.onnx", half=True))
    found = network(some(STITCH_NETWORK))["out"]
    assert found.dtype == np.float32
    assert np.all(found == 0.5)


def test_which_outputs_are_taken(tmp_path: Path) -> None:
    """The landmark file of the PyTorch bundle has three outputs, and the third is the one."""
    model = tiny_model(LANDMARK203._replace(outputs=tuple(Port(name, (1, 406)) for name in "abc")))
    path = tmp_path / "landmark203.onnx"
    path.write_bytes(model.SerializeToString())
    assert np.all(OnnxNetwork(LANDMARK203, path)(LANDMARKS)["landmarks"] == 0.25)
    assert np.all(open_network(LANDMARK203, path, takes=(2,))(LANDMARKS)["landmarks"] == 2.25)
    with pytest.raises(CorruptCheckpoint, match="outputs are a, b, c, expected 4 or more"):
        OnnxNetwork(LANDMARK203, path, takes=(3,))


def test_a_single_input_may_have_any_name(tmp_path: Path) -> None:
    path = write_tiny(LANDMARK203._replace(inputs=(Port("input.1", (1, 3, 224, 224)),)), tmp_path / "x.onnx")
    assert np.all(OnnxNetwork(LANDMARK203, path)(LANDMARKS)["landmarks"] == 0.25)


@pytest.mark.parametrize("shape", [(1, 1, 406), (406,), (1, 1, 406, 1)])
def test_axes_of_length_one_come_and_go(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_tiny(LANDMARK203._replace(outputs=(Port("out", shape),)), tmp_path / "x.onnx")
    assert OnnxNetwork(LANDMARK203, path)(LANDMARKS)["landmarks"].shape == (1, 406)


def test_sizes_declared_for_another_input_size_are_not_believed(tmp_path: Path) -> None:
    """Of a file with an open input size, only a run tells the outputs' sizes; published detectors lie."""
    model = tiny_model(LANDMARK203)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    shape = model.graph.output[0].type.tensor_type.shape
    shape.dim[1].dim_value = 99
    node = next(node for node in model.graph.node if node.op_type == "Expand")
    model.graph.initializer.append(helper.make_tensor("sizes", 7, [2], [1, 406]))
    node.input[1] = "sizes"
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    try:
        network = OnnxNetwork(LANDMARK203, path)
    except CorruptCheckpoint as error:
        pytest.skip(f"ONNX Runtime infers the shape itself here: {error}")
    assert network(LANDMARKS)["landmarks"].shape == (1, 406)


NARROW = WARP_NETWORK._replace(inputs=(Port("feature_3d", (1, 32, 8, 64, 64)), *WARP_NETWORK.inputs[1:]))
FLOAT_TIME = LMDM._replace(inputs=(*LMDM.inputs[:3], Port("time_cond", (1,))))


@pytest.mark.parametrize(
    ("spec", "found", "words"),
    [
        (WARP_NETWORK, DECODER, "inputs are feature, expected feature_3d, kp_source, kp_driving"),
        (WARP_NETWORK, NARROW, r"feature_3d is \(1, 32, 8, 64, 64\), expected \(1, 32, 16, 64, 64\)"),
        (LANDMARK106, LANDMARK106._replace(inputs=(Port("data", (3, 192, 192)),)), r"is \(3, 192, 192\)"),
        (
            STITCH_NETWORK,
            STITCH_NETWORK._replace(outputs=(Port("out", (1, 65)),)),
            r"output out is \(1, 65\), expected \(1, 21, 3\)",
        ),
        (
            MOTION_EXTRACTOR,
            MOTION_EXTRACTOR._replace(outputs=MOTION_EXTRACTOR.outputs[:6]),
            "outputs are pitch, yaw, roll, t, exp, scale, expected 7 or more",
        ),
        (LMDM, FLOAT_TIME, r"time_cond is tensor\(float\), expected int64"),
    ],
    ids=["another network", "size", "rank", "output", "too few outputs", "type"],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, spec: NetworkSpec, found: NetworkSpec, words: str
) -> None:
    with pytest.raises(CorruptCheckpoint, match=rf"net\.onnx.*{words}"):
        OnnxNetwork(spec, write_tiny(found, tmp_path / "net.onnx"))


def test_a_result_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = write_tiny(HUBERT._replace(outputs=(Port("encoding_out", ("T", 768)),)), tmp_path / "net.onnx")
    network = OnnxNetwork(HUBERT, path)
    with pytest.raises(CorruptCheckpoint, match=r"encoding_out is \(1, 768\), expected \(T, 1024\)"):
        network(some(HUBERT))


@pytest.mark.parametrize("broken", ["cut", "text", "empty", "header", "newer"])
def test_broken_files_are_refused_by_name(tmp_path: Path, broken: str) -> None:
    model = tiny_model(LANDMARK203)
    whole = model.SerializeToString()
    model.ir_version = 9999
    content = {
        "cut": whole[:-40], "text": b"<html>Not found</html>", "empty": b"", "header": whole[:8],
        "newer": model.SerializeToString(),
    }[broken]  # fmt: skip
    path = tmp_path / "landmark203.onnx"
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpoint, match=r"landmark203\.onnx") as caught:
        open_network(LANDMARK203, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".onnx", ".pth", ".engine"])
def test_missing_files(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "folder").with_suffix(suffix).mkdir()
    for name in ("nothing", "folder"):
        with pytest.raises(MissingCheckpoint, match=name):
            open_network(DECODER, (tmp_path / name).with_suffix(suffix))


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptCheckpoint, match=r"model\.bin"):
        open_network(DECODER, tmp_path / "model.bin")


def plan(*version: int, magic: bytes = b"ftrt") -> bytes:
    return magic + bytes(20) + bytes(version) + bytes(64)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (plan(8, 6, 1), EngineUnavailable, r"TensorRT 8\.6\.1, which TensorRT 10 and newer cannot read"),
        (plan(7, 2, 3, magic=b"ptrt"), EngineUnavailable, r"TensorRT 7\.2\.3, which"),
        (plan(10, 14, 1), EngineUnavailable, r"TensorRT 10\.14\.1; this version of Visavis runs no TensorRT"),
        (b"something else", CorruptCheckpoint, "warp_network_fp16.engine is not a TensorRT engine"),
        (b"", CorruptCheckpoint, "is empty"),
    ],
)
def test_tensorrt_engines_are_named_and_refused(
    tmp_path: Path, content: bytes, kind: type[TalkerError], words: str
) -> None:
    path = tmp_path / "warp_network_fp16.engine"
    path.write_bytes(content)
    with pytest.raises(kind, match=words) as caught:
        open_network(WARP_NETWORK, path)
    if kind is EngineUnavailable:
        assert "ONNX file of warp_network" in caught.value.hint


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    path = write_tiny(STITCH_NETWORK, tmp_path / "net.onnx")
    for network in (OnnxNetwork(STITCH_NETWORK, path), TorchNetwork(STITCH_NETWORK, torch.nn.Identity())):
        given = some(STITCH_NETWORK)
        with pytest.raises(ComputeError, match="called with kp_source; expected kp_source, kp_driving"):
            network({"kp_source": given["kp_source"]})
        with pytest.raises(ComputeError, match=r"input kp_driving is \(1, 63\), expected \(1, 21, 3\)"):
            network(given | {"kp_driving": np.zeros((1, 63), np.float32)})


class Sum(torch.nn.Module):
    def forward(self, source: torch.Tensor, driving: torch.Tensor) -> torch.Tensor:
        return (source + driving).flatten(1) @ torch.eye(63)


def test_types_and_layouts_of_the_caller_do_not_matter(tmp_path: Path) -> None:
    """Arrays may be of another type and order, and read-only, as they are when mapped from a file."""
    given = {
        name: np.asfortranarray(array.astype(np.float64)) for name, array in some(STITCH_NETWORK).items()
    }
    for array in given.values():
        array.flags.writeable = False
    onnx = OnnxNetwork(STITCH_NETWORK, write_tiny(STITCH_NETWORK, tmp_path / "net.onnx"))
    assert np.all(onnx(given)["out"] == 0.5)
    flat = STITCH_NETWORK._replace(outputs=(Port("out", (1, 63)),))
    assert np.all(TorchNetwork(flat, Sum())(given)["out"] == 1)
    readonly = np.full((1, 21, 3), 0.5, np.float32)
    readonly.flags.writeable = False
    assert np.all(TorchNetwork(flat, Sum())(dict.fromkeys(given, readonly))["out"] == 1)


def sized(asked: int) -> tuple[NetworkSpec, bytes]:
    """A network whose run asks for `asked` GiB."""
    spec = NetworkSpec("big", (Port("x", (1, 1)),), (Port("y", (1, "N")),))
    nodes = [
        helper.make_node("Expand", ["x", "sizes"], ["wide"]),
        helper.make_node("Sqrt", ["wide"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "big", [helper.make_tensor_value_info("x", 1, (1, 1))],
        [helper.make_tensor_value_info("y", 1, (1, "N"))],
        [helper.make_tensor("sizes", 7, [2], [asked << 14, 1 << 14])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return spec, model.SerializeToString()


def test_out_of_memory_in_onnx_runtime(tmp_path: Path) -> None:
    spec, content = sized(1 << 20)
    path = tmp_path / "big.onnx"
    path.write_bytes(content)
    with pytest.raises(OutOfMemory, match="big: no memory left while"):
        OnnxNetwork(spec, path)({"x": np.ones((1, 1), np.float32)})


class Hungry(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.expand(1, 1 << 48).contiguous()


class Broken(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.zeros(5, 5)


def test_errors_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[None] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(None))
    spec = NetworkSpec("net", (Port("x", (1, 1)),), (Port("y", (1, 1)),))
    one = {"x": np.ones((1, 1), np.float32)}
    with pytest.raises(OutOfMemory, match=r"net: no memory left while running.*template_n_frames"):
        TorchNetwork(spec, Hungry())(one)
    assert given_back, "so that the next run finds room"
    assert "VISAVIS_PRECISION=fp16" in less_memory("cuda", "torch")
    assert "PRECISION" not in less_memory("cuda", "onnx"), "an ONNX file has its own"
    with pytest.raises(ComputeError, match="net: failed while running"):
        TorchNetwork(spec, Broken())(one)


class Kinds(torch.nn.Module):
    """Gives the type that a product is computed in, as a number, and the product."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        product = x @ x
        assert not torch.is_grad_enabled()
        return torch.full((1, 1), float(torch.finfo(product.dtype).bits)), product


@pytest.mark.parametrize(
    ("name", "precision", "bits"),
    [
        ("net", "fp32", 32),
        ("net", "bf16", 16),
        ("net", "fp16", 16),
        ("lmdm", "fp16", 32),
        ("stitch_network", "bf16", 32),
    ],
)
def test_precisions_of_torch(name: str, precision: devices.Precision, bits: int) -> None:
    spec = NetworkSpec(name, (Port("x", (1, 1)),), (Port("bits", (1, 1)), Port("product", (1, 1))))
    network = TorchNetwork(spec, Kinds(), precision=precision)
    found = network({"x": np.full((1, 1), 3, np.float32)})
    assert found["bits"] == bits
    assert found["product"] == 9
    assert found["product"].dtype == np.float32
    network.close()


def test_threads_share_a_network(tmp_path: Path) -> None:
    network = OnnxNetwork(LANDMARK203, write_tiny(LANDMARK203, tmp_path / "net.onnx"))
    found: dict[int, float] = {}

    def call(number: int) -> None:
        given = {"input": np.full((1, 3, 224, 224), number, np.float32)}
        found[number] = min(float(network(given)["landmarks"].min()) for _ in range(20))

    threads = [Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == pytest.approx({0: 0, 1: 1, 2: 2, 3: 3})


def test_cuda_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny(LANDMARK203, tmp_path / "net.onnx")
    monkeypatch.setattr(onnx_runtime.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineUnavailable, match=r"without CUDA.*onnxruntime-gpu"):
        OnnxNetwork(LANDMARK203, path, "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineUnavailable, match="sees no CUDA device"):
        TorchNetwork(LANDMARK203, torch.nn.Identity(), "cuda:1")
    with pytest.raises(BadOption, match="no device 'gpu'"):
        open_network(LANDMARK203, path, "gpu")
    assert OnnxNetwork(LANDMARK203, path).provider == "CPUExecutionProvider"


@pytest.mark.parametrize("started", ["CUDAExecutionProvider", "CPUExecutionProvider"])
def test_the_provider_that_runs_is_read_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str
) -> None:
    """ONNX Runtime falls back to the CPU by itself when CUDA cannot start; that is told."""
    asked: list[object] = []
    options: list[onnx_runtime.ort.SessionOptions] = []
    real: Callable[..., object] = onnx_runtime.ort.InferenceSession

    def session(model: object, option: object, providers: list[object]) -> object:
        asked.extend(providers)
        options.append(option)
        made = real(model, option, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(made, "get_providers", lambda: [started])
        return made

    monkeypatch.setattr(onnx_runtime.ort, "InferenceSession", session)
    monkeypatch.setattr(onnx_runtime, "has_cuda", lambda: True)
    path = write_tiny(LANDMARK203, tmp_path / "net.onnx")
    if started.startswith("CPU"):
        with pytest.raises(EngineUnavailable, match="could not start CUDA"):
            OnnxNetwork(LANDMARK203, path, "cuda:1")
    else:
        assert OnnxNetwork(LANDMARK203, path, "cuda:1", threads=3).provider == started
        assert (options[0].intra_op_num_threads, options[0].inter_op_num_threads) == (3, 1)
    assert asked[0][0] == "CUDAExecutionProvider"  # type: ignore[index]
    assert asked[0][1]["device_id"] == "1"  # type: ignore[index]


def test_devices_are_picked_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu", "onnx") == ("cpu", "cpu, as asked for")
    assert pick_device("cuda:1", "torch") == ("cuda:1", "cuda:1, as asked for")
    with pytest.raises(BadOption, match="no device 'tpu'"):
        pick_device("tpu", "onnx")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(onnx_runtime, "has_cuda", lambda: False)
    monkeypatch.setattr(devices, "cuda_devices", lambda: 1)
    device, reason = pick_device("auto", "onnx")
    assert (device, "ONNX Runtime" in reason, "has no CUDA" in reason) == ("cpu", True, True)
    assert pick_device("auto", "torch")[0] == "cuda"
    monkeypatch.setattr(devices, "cuda_devices", lambda: 0)
    assert pick_device("auto", "torch") == ("cpu", "cpu: the NVIDIA driver shows no device")


def test_a_driver_that_is_not_there_has_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_DRIVER", "no_such_library.so")
    assert devices.cuda_devices() == 0


def test_torch_stays_in_its_rooms() -> None:
    may = ("core/models/", "core/runtimes/torch_runtime.py")
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "core").rglob("*.py") if imports_torch(path)}
    assert found
    assert [name for name in found if not name.startswith(may)] == []


def imports_torch(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] == "torch" for name in names):
            return True
    return False


def test_onnx_needs_no_torch(tmp_path: Path) -> None:
    """With torch not importable a network runs from ONNX, and a .pth says what is missing."""
    path = write_tiny(LANDMARK203, tmp_path / "net.onnx")
    code = f"""
import sys
sys.modules["torch"] = None
from pathlib import Path
import numpy as np
from core.errors import EngineUnavailable
from core.networks import LANDMARK203
from core.runtimes.devices import pick_device, less_memory
from core.runtimes.load import open_network
assert pick_device("auto", "onnx")[0] in ("cpu", "cuda")
network = open_network(LANDMARK203, Path({str(path)!r}))
print(network({{"input": np.ones((1, 3, 224, 224), np.float32)}})["landmarks"].shape)
try:
    open_network(LANDMARK203, Path("x.pth"))
except EngineUnavailable as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[0] == "(1, 406)"
    assert "torch is not installed" in ran.stdout
    assert "ONNX files" in ran.stdout
