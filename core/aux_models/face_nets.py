"""The three face networks inside the mediapipe 0.10.21 wheel, run one by one.

The stock FaceMesh solution looks for faces once, in the whole picture, with its short-range detector.
Driving the networks singly lets `face_mesh` choose where and how to look, and hand the mesh an upright,
well-scaled crop. All pictures are uint8 (H, W, 3) RGB; every class here is for one thread at a time.
"""

import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from core.errors import EngineUnavailable
from core.native import import_native

MESH_SIDE = 192  # px, the input of the mesh network
_START = threading.Lock()  # imports and the diverted standard error belong to the whole process
_HARMLESS = (b"XNNPACK delegate for CPU", b"before absl::InitializeLog", b"inference_feedback_manager.cc",
             b"landmark_projection_calculator.cc")  # fmt: skip
_DETECTOR = """input_stream: "image" output_stream: "out" num_threads: 1
node {{ calculator: "FaceDetection{reach}RangeCpu"
       input_stream: "IMAGE:image" output_stream: "DETECTIONS:out" }}"""
_MESH = """input_stream: "image" input_stream: "roi" output_stream: "out" num_threads: 1
node { calculator: "ConstantSidePacketCalculator" output_side_packet: "PACKET:0:attention"
       options { [mediapipe.ConstantSidePacketCalculatorOptions.ext] { packet { bool_value: true } } } }
node { calculator: "FaceLandmarkCpu" input_stream: "IMAGE:image" input_stream: "ROI:roi"
       input_side_packet: "WITH_ATTENTION:attention" output_stream: "LANDMARKS:out" }"""


class FaceNets:
    """Detectors and mesh, loaded and warmed up; `folder` is the package that brings them.

    Raises EngineUnavailable when mediapipe cannot start.
    """

    def __init__(self) -> None:
        with _START, _quiet():
            self._mp = _Mediapipe()
            self.folder = self._mp.folder
            try:
                self._detectors = [_Graph(self._mp, _DETECTOR.format(reach=r)) for r in ("Short", "Full")]
                self._mesh = _Graph(self._mp, _MESH)
            except (RuntimeError, ValueError) as error:
                raise EngineUnavailable(
                    f"mediapipe could not start its face networks: {str(error).splitlines()[0]}",
                    "Reinstall it: pip install --force-reinstall mediapipe==0.10.21",
                ) from error
            blank = np.zeros((MESH_SIDE, MESH_SIDE, 3), np.uint8)
            self.detect(blank)
            self.mesh(blank)

    def detect(self, rgb: np.ndarray) -> list[np.ndarray]:
        """Faces as (4, 2) float32 px: right eye, left eye, the box's low and high corner; surest first.

        "Right" is the person's. One face may be seen twice. Sees faces from a tenth of the picture's longer
        side to all of it, rolled up to about 40 degrees.
        """
        size = np.array([rgb.shape[1], rgb.shape[0]], np.float32)
        found: list[tuple[float, np.ndarray]] = []
        for detector in self._detectors:
            for one in self._mp.messages(detector.run(image=self._mp.image(rgb))):
                box, eyes = one.location_data.relative_bounding_box, one.location_data.relative_keypoints[:2]
                low, high = (box.xmin, box.ymin), (box.xmin + box.width, box.ymin + box.height)
                corners = np.array([*((eye.x, eye.y) for eye in eyes), low, high], np.float32)
                found.append((one.score[0], corners * size))
        return [corners for _, corners in sorted(found, key=lambda pair: -pair[0])]

    def mesh(self, crop: np.ndarray) -> np.ndarray | None:
        """The 478 points (478, 3) float32 in px of a square crop that a face fills upright; None: no face."""
        packet = self._mesh.run(image=self._mp.image(crop), roi=self._mp.whole)
        if packet is None:
            return None
        points = [(p.x, p.y, p.z) for p in self._mp.message(packet).landmark]
        return np.array(points, np.float32) * np.float32(crop.shape[1])

    def close(self) -> None:
        """Release the networks and their threads. May be called twice."""
        for graph in (*self._detectors, self._mesh):
            graph.close()


class _Mediapipe:
    """The few parts of the package that are needed, and packets in and out of it."""

    def __init__(self) -> None:
        with _bare_package("mediapipe") as folder:
            self.folder = folder
            self._native = import_native("mediapipe.python._framework_bindings")
            self._create = import_native("mediapipe.python.packet_creator")
            self._get = import_native("mediapipe.python.packet_getter")
            rect = import_native("mediapipe.framework.formats.rect_pb2")
            for message in ("calculator_pb2", "formats.landmark_pb2", "formats.detection_pb2"):
                import_native(f"mediapipe.framework.{message}")
        self._native.resource_util.set_resource_dir(str(folder.parent))
        roi = rect.NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0, rotation=0.0)
        self.whole = self._create.create_proto(roi)
        self.graph = self._native.calculator_graph.CalculatorGraph

    def image(self, rgb: np.ndarray) -> Any:
        srgb = self._native.image_frame.ImageFormat.SRGB
        return self._create.create_image_frame(np.ascontiguousarray(rgb), image_format=srgb)

    def message(self, packet: Any) -> Any:
        return self._get.get_proto(packet)

    def messages(self, packet: Any) -> list[Any]:
        return [] if packet is None else self._get.get_proto_list(packet)


class _Graph:
    """One running mediapipe graph whose only output stream is called "out"."""

    def __init__(self, mediapipe: _Mediapipe, text: str) -> None:
        self._graph = mediapipe.graph(graph_config=text)
        self._time = 0
        self._out: Any = None
        self._graph.observe_output_stream("out", self._keep, False)
        self._graph.start_run({})

    def _keep(self, _name: str, packet: Any) -> None:
        self._out = packet

    def run(self, **inputs: Any) -> Any:
        """The output packet for these input packets, None when there is none."""
        self._out = None
        self._time += 1
        for name, packet in inputs.items():
            self._graph.add_packet_to_input_stream(stream=name, packet=packet.at(self._time))
        self._graph.wait_until_idle()
        return self._out

    def close(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None  # its thread ends with it


@contextmanager
def _bare_package(package: str) -> Iterator[Path]:
    """Let modules of a package be imported without running its __init__; yields its folder.

    That of mediapipe pulls in matplotlib, sounddevice and all other solutions: 0.6 s and 60 MB for nothing. A
    bare package stands in meanwhile and goes again with all Python modules below it, so that a later
    `import mediapipe` is the usual one.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EngineUnavailable(
            f"The Python package {package} is not installed.", "Run: pip install -r requirements-base.txt"
        )
    folder = Path(spec.origin).parent
    if package in sys.modules:
        yield folder
        return
    bare = sys.modules[package] = ModuleType(package)
    bare.__path__ = [str(folder)]
    try:
        yield folder
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            if "_framework_bindings" not in name:  # native code can be loaded but once
                del sys.modules[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the start-up chatter of native code off standard error; pass on every other line after it."""
    try:
        kept = os.dup(2)
    except OSError:  # closed: nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            for line in caught:
                if not any(words in line for words in _HARMLESS):
                    os.write(2, line)
