"""All networks of one engine, opened together or not at all."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from core.atomic_components.face_reader import CropMesh, FaceReader, MediapipeMesh, NetworkMesh
from core.atomic_components.first_landmarks import first_landmarks
from core.aux_models.face_mesh import FaceMesh
from core.aux_models.hubert import Hubert
from core.checkpoints.catalogue import Profile
from core.contracts import Network
from core.engines.ditto.face_renderer import FaceRenderer
from core.engines.ditto.registration import SourceNetworks
from core.errors import MissingCheckpoint
from core.networks import (
    APPEARANCE_EXTRACTOR,
    BLAZE_FACE,
    DECODER,
    FACE_MESH,
    HUBERT,
    INSIGHTFACE_DET,
    LANDMARK106,
    LANDMARK203,
    LMDM,
    MAIN_NETWORKS,
    MOTION_EXTRACTOR,
    STITCH_NETWORK,
    WARP_NETWORK,
    NetworkSpec,
)
from core.runtimes.devices import Precision
from core.runtimes.files import require_file
from core.runtimes.load import open_network
from core.runtimes.onnx_runtime import has_cuda

_BUNDLED_203 = "aux_models"  # the folder of the PyTorch bundle, whose landmark203 has its points third


class DittoNetworks:
    """What the engine runs; `loaded` says which files, by role.

    Raises MissingCheckpoint before any is opened, CorruptCheckpoint, EngineUnavailable, OutOfMemory; then
    nothing stays open.
    """

    def __init__(
        self, files: Mapping[str, Path], profile: Profile, device: str, precision: Precision, threads: int
    ) -> None:
        self.loaded: dict[str, Path] = {}
        self._files, self._device, self._precision, self._threads = files, device, precision, threads
        self._face_mesh: FaceMesh | None = None
        self._require(profile)
        with ExitStack() as stack:
            self._stack = stack
            reader = FaceReader(
                first_landmarks(profile, self._open, self._mesh), self._open(LANDMARK203), self._crop_mesh()
            )
            self.source = SourceNetworks(
                reader, self._open(APPEARANCE_EXTRACTOR), self._open(MOTION_EXTRACTOR)
            )  # fmt: skip
            self.hubert = Hubert(self._open(HUBERT))
            self.lmdm = self._open(LMDM)
            self.stitch = self._open(STITCH_NETWORK)
            self.renderer = FaceRenderer(self._open(WARP_NETWORK), self._open(DECODER))
            self._stack = stack.pop_all()

    def _require(self, profile: Profile) -> None:
        """Every file that will be opened is there."""
        first = () if profile == "commercial" else (INSIGHTFACE_DET, LANDMARK106)
        for spec in (*first, LANDMARK203, HUBERT, *MAIN_NETWORKS):
            path = self._files.get(spec.name)
            if path is None:
                raise MissingCheckpoint(
                    f"The checkpoints have no {spec.name}.", "See what is there: python model_manager.py list"
                )
            require_file(path)

    def _device_of(self, spec: NetworkSpec) -> str:
        """An auxiliary network runs on the CPU where ONNX Runtime has no CUDA: torch alone may have it."""
        return self._device if spec in MAIN_NETWORKS or has_cuda() else "cpu"

    def _open(self, spec: NetworkSpec) -> Network:
        path = self._files[spec.name]
        takes = (2,) if spec is LANDMARK203 and path.parent.name == _BUNDLED_203 else None
        device = self._device_of(spec)
        network = open_network(spec, path, device, self._precision, self._threads, takes)
        self.loaded[spec.name] = path
        return self._stack.enter_context(closing(network))

    def _mesh(self) -> FaceMesh:
        if self._face_mesh is None:
            self._face_mesh = self._stack.enter_context(closing(FaceMesh()))
            self.loaded[MediapipeMesh.networks[0]] = self._face_mesh.folder
        return self._face_mesh

    def _crop_mesh(self) -> CropMesh:
        """The published mesh networks where they are, else those of the mediapipe package."""
        if BLAZE_FACE.name in self._files and FACE_MESH.name in self._files:
            return NetworkMesh(self._open(BLAZE_FACE), self._open(FACE_MESH))
        return MediapipeMesh(self._mesh())

    def close(self) -> None:
        self._stack.close()
