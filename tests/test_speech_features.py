"""Sound to rows of speech features, however it is cut, against the parity kit's numbers."""

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from core.atomic_components.speech_features import offline_features, online_features
from core.atomic_components.windows import frame_count
from core.aux_models.hubert import ChunkSize, Hubert
from core.errors import BadOption
from core.networks import HUBERT
from core.runtimes.onnx_runtime import OnnxNetwork
from core.types import AudioChunk
from scripts.parity.kit import audio, draw, stub_hubert
from tests.ditto import StandIn, golden
from tests.fakes import chunks_of

FEATURES = golden("steps_wav2feat")
CASES = [name for name in FEATURES.arrays if name.startswith("n")]
STEP = 1e-5


def hubert(network: StandIn | None = None) -> Hubert:
    return Hubert(network or StandIn(lambda arrays: {"encoding_out": stub_hubert(arrays["input_values"][0])}))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", [617, 100_000])
def test_offline_is_the_references(name, cut):
    samples, size = name[1:].split("_c")
    sound = 0.3 * draw(f"shared/in/wav/{samples}", (int(samples),))
    rows = np.concatenate(
        list(offline_features(chunks_of(sound, cut), hubert(), ChunkSize(*(int(part) for part in size))))
    )
    assert rows.shape == (frame_count(int(samples)), 1024)
    assert FEATURES.difference(name, rows[:, FEATURES.arrays["dims"]]) < STEP


def starts(sound: np.ndarray, offline: bool, size: ChunkSize) -> list[int]:
    """Where windows begin, in samples of a sound that counts up from 1; one without sound is left out."""
    network = StandIn(lambda arrays: {"encoding_out": np.zeros((2 * sum(size), 1024), np.float32)})
    for _ in (offline_features if offline else online_features)(
        chunks_of(sound, 5000), hubert(network), size
    ):
        pass
    windows = [call["input_values"][0] for call in network.calls]
    return [int(window[at := int(window.argmax())]) - 1 - at for window in windows if window.any()]


def test_windows_lie_as_in_the_reference():
    size, sound = ChunkSize(), np.arange(1, 640 * 1700 + 1, dtype=np.float32)
    whole = starts(sound, True, size)
    early = {i: start for i, start in enumerate(whole) if start != i * 3200 - 2000}
    assert early[1615 // 5] == 1615 * 640 - 1 - 2000  # truncated from just below
    assert min(early) == 1615 // 5
    live = starts(sound, False, size)
    assert live == [i * 3200 - 1920 for i in range(len(live))]


@pytest.mark.parametrize(("samples", "blocks"), [(0, 0), (1, 1), (1280, 1), (1281, 2), (40_000, 14)])
def test_online_goes_on_until_the_sound_has_been_first(samples, blocks):
    sound = audio("shared/online", samples)
    rows = list(online_features(chunks_of(sound, 3200), hubert(), ChunkSize()))
    assert [len(block) for block in rows] == [5] * blocks


@pytest.mark.parametrize("make", [offline_features, online_features])
def test_a_window_is_used_as_soon_as_its_sound_is_there(make):
    given = 0

    def sound() -> Iterator[AudioChunk]:
        nonlocal given
        for chunk in chunks_of(np.zeros(32_000, np.float32), 640):
            given += 640
            yield chunk

    rows = make(sound(), hubert(), ChunkSize())
    waited = []
    for _ in range(3):
        next(rows)
        waited.append(given)
    lead = 2000 if make is offline_features else 1920
    assert waited == [-(-(6480 - lead + 3200 * i) // 640) * 640 for i in range(3)]


def test_silence_has_its_frames():
    rows = list(offline_features(chunks_of(np.zeros(6400, np.float32), 6400), hubert(), ChunkSize()))
    assert sum(map(len, rows)) == 10
    assert not np.concatenate(rows).any()


def test_no_sound_has_none():
    assert list(offline_features([], hubert(), ChunkSize())) == []


def test_a_size_that_makes_no_window_is_refused():
    with pytest.raises(BadOption):
        next(offline_features([], hubert(), ChunkSize(3, 0, 2)))


def test_features_through_onnx_runtime(tmp_path):
    """A graph with the published ports, one row for every 400 samples, hop 320."""
    kernel = np.cos(0.01 * np.arange(1024))[:, None, None].repeat(400, 2).astype(np.float32) / 400
    nodes = [
        helper.make_node("Unsqueeze", ["input_values", "axis"], ["sound"]),
        helper.make_node("Conv", ["sound", "kernel"], ["columns"], strides=[320]),
        helper.make_node("Squeeze", ["columns", "first"], ["square"]),
        helper.make_node("Transpose", ["square"], ["encoding_out"], perm=[1, 0]),
    ]
    values = {"axis": np.array([1]), "first": np.array([0]), "kernel": kernel}
    ports = [
        [helper.make_tensor_value_info(port.name, TensorProto.FLOAT, port.shape) for port in side]
        for side in (HUBERT.inputs, HUBERT.outputs)
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "hubert", *ports, constants)
    path = tmp_path / "hubert.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    network = OnnxNetwork(HUBERT, path)
    sound = audio("shared/onnx", 10_000)
    rows = np.concatenate(list(offline_features(chunks_of(sound, 3000), Hubert(network), ChunkSize())))
    network.close()
    assert rows.shape == (16, 1024)
    early = np.pad(sound, (80, 0))  # rows of a frame begin 80 samples before it
    means = [early[at : at + 400].mean() for at in range(0, 9600, 320)]
    pairs = np.reshape(means, (-1, 2)).mean(1)
    assert np.allclose(rows[: len(pairs)], np.outer(pairs, np.cos(0.01 * np.arange(1024))), atol=1e-5)
