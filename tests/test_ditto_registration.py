"""Where a source video's avatar begins and when it is refused: its first face, and a face that goes away."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from core.atomic_components.face_reader import FaceReader
from core.atomic_components.first_landmarks import Landmarks, anchors_of
from core.aux_models.face_mesh import FaceMesh
from core.engines.ditto import registration
from core.engines.ditto.registration import SourceNetworks, register, source_picture
from core.errors import NoFace
from core.media.writer import VideoWriter
from core.option_table import parse_options
from core.settings import Settings
from core.types import AvatarSource, RegisteredAvatar
from tests.ditto import EYES, LIPS, StandIn
from tests.test_ditto_engine import RUNS
from tests.test_face_reader import POINTS_106, POINTS_203, PORTRAIT_FACE, moved, on_pictures

SIZE = (64, 48)  # px, width and height of the made-up videos
DARK, LIGHT = 40, 200  # a frame without a face, one with


class FaceInLight:
    """The first landmarks: a face in light frames, none in dark ones; keeps how light each was."""

    networks: tuple[str, ...] = ("first",)

    def __init__(self) -> None:
        self.shown: list[float] = []

    def __call__(self, rgb: np.ndarray) -> Landmarks:
        self.shown.append(float(rgb.mean()))
        if rgb.mean() < (DARK + LIGHT) / 2:
            raise NoFace(f"No face in look {len(self.shown)}.", "Use another.")
        points = POINTS_106 * 40
        return Landmarks(points, anchors_of(points, EYES[106], LIPS[106]), ("a note",))


class MeshInLight:
    """The mesh of a face in crops that show light, none in dark ones."""

    networks: tuple[str, ...] = ("mesh",)

    def __call__(self, crop: np.ndarray) -> np.ndarray | None:
        if crop.max() < (DARK + LIGHT) / 2:
            return None
        return np.random.default_rng(0).uniform(0.3, 0.7, (478, 3)).astype(np.float32)


@dataclass
class Studio:
    """Registers made-up videos: letters are frames, f one with a face, anything else one without."""

    folder: Path
    first: FaceInLight = field(default_factory=FaceInLight)
    reports: list[float] = field(default_factory=list)

    def register(self, letters: str, **values: object) -> RegisteredAvatar:
        path = self.folder / "made-up.mp4"
        with VideoWriter(path, SIZE) as writer:
            for index, letter in enumerate(letters):
                light = LIGHT - index if letter == "f" else DARK
                writer.write(np.full((SIZE[1], SIZE[0], 3), light, np.uint8))
        reader = FaceReader(
            self.first, StandIn(lambda arrays: {"landmarks": POINTS_203.reshape(1, 406)}), MeshInLight()
        )
        return registered(path, reader, self.reports, **values)


def registered(path: Path, reader: FaceReader, reports: list[float], **values: object) -> RegisteredAvatar:
    networks = SourceNetworks(
        reader, StandIn(RUNS["appearance_extractor"]), StandIn(RUNS["motion_extractor"])
    )
    crop = parse_options({"smo_k_s": 1, **values}).crop
    return register(AvatarSource(path=path), crop, "key", networks, Settings(), reports.append)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def lights(avatar: RegisteredAvatar) -> list[int]:
    """The numbers of the made-up frames that an avatar has."""
    return [round(LIGHT - float(source_picture(avatar, row).mean())) for row in range(avatar.n_frames)]


# --- where it begins


@pytest.mark.parametrize(
    ("letters", "begins"),
    [
        ("ffff", 0),
        (".fffff", 1),  # seen in the search of frame 5, followed back
        (".....ffff", 5),
        ("......ff", 6),  # no search after frame 5 but that of the last frame
        ("...........fffff", 11),
        (".f.fff", 3),  # a face that comes and goes
        (".f", 1),
    ],
)
def test_an_avatar_begins_where_the_face_is_first_seen(studio: Studio, letters: str, begins: int) -> None:
    avatar = studio.register(letters)
    assert np.allclose(lights(avatar), range(begins, len(letters)), atol=2)
    assert avatar.n_frames == len(letters) - begins
    assert all(len(avatar.arrays[name]) == avatar.n_frames for name in ("x.t", "features", "crop_to_source"))
    told = f"The first {begins / 25:.2g} s of the video show no face and are left out."
    assert avatar.notes == ((told,) if begins else ()) + ("a note",)
    assert studio.reports == sorted(studio.reports)
    assert studio.reports[-1] == pytest.approx(1.0)


def test_notes_count_in_seconds(studio: Studio) -> None:
    notes = studio.register("." * 30 + "ff").notes
    assert notes[0] == "The first 1.2 s of the video show no face and are left out."


def test_the_frames_that_are_asked_for_are_counted_from_the_face_on(studio: Studio) -> None:
    avatar = studio.register("." * 7 + "f" * 9, template_n_frames=3)
    assert np.allclose(lights(avatar), [7, 8, 9], atol=2)
    assert studio.reports == sorted(studio.reports) and studio.reports[-1] == 1.0


def test_few_frames_without_a_face_are_searched(studio: Studio) -> None:
    studio.register("." * 41 + "ffff")
    dark = sum(light < (DARK + LIGHT) / 2 for light in studio.first.shown)
    assert dark == 9  # 0, 5 .. 40; the frames before 44, the last, show the face
    assert len(studio.reports) == 9 + 4, "who waits is told, and can cancel"


def test_a_video_without_a_face_is_refused(studio: Studio) -> None:
    with pytest.raises(NoFace, match=r"^No face in look 1\. Use another\.$"):
        studio.register("." * 8)
    assert len(studio.first.shown) == 3  # 0, 5 and the last


def test_ten_seconds_are_searched(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registration._PATIENCE == 250
    monkeypatch.setattr(registration, "_PATIENCE", 25)
    avatar = studio.register("." * 25 + "fff")
    assert avatar.n_frames == 3
    with pytest.raises(NoFace, match=r"The first 1 s of the video show no face.*Cut its beginning off"):
        studio.register("." * 26 + "fff")


# --- when it is refused


def test_a_face_that_goes_away_ends_a_registration_unless_asked_otherwise(studio: Studio) -> None:
    letters = "fff" + "." * 10 + "ff"
    with pytest.raises(NoFace, match="No face in look"):
        studio.register(letters)
    avatar = studio.register(letters, check_track=True)
    assert avatar.n_frames == len(letters)
    assert avatar.notes == ("a note",)


def test_a_face_that_is_gone_for_long_is_told_with_its_second(studio: Studio) -> None:
    with pytest.raises(NoFace, match=r"lost in the video at 0\.5 s for over 0\.4 s.*template_n_frames"):
        studio.register("." * 10 + "fff" + "." * 11 + "ff", check_track=True)
    short = studio.register("." * 10 + "fff" + "." * 11 + "ff", check_track=True, template_n_frames=13)
    assert short.n_frames == 13


# --- on a real picture


@pytest.fixture(scope="module")
def mesh() -> Iterator[FaceMesh]:
    with FaceMesh() as made:
        yield made


def test_cuts_are_followed_on_request(mesh: FaceMesh, tmp_path: Path) -> None:
    """After each cut a part of the face is still in the crop, and a track that stayed is not told."""
    places = ((0.0, 0.0), (0.02, 0.0), (0.6, 0.1), (-0.2, 0.3))  # sides of the face
    with VideoWriter(tmp_path / "cuts.mp4", (1024, 1024)) as writer:
        for place in places:
            writer.write(moved(place))
    middles = []
    for check in (False, True):
        reader, _ = on_pictures(mesh, follows=False)
        avatar = registered(tmp_path / "cuts.mp4", reader, [], check_track=check)
        middles.append([(one @ (256, 256, 1))[:2] for one in avatar.arrays["crop_to_source"]])
    stayed, followed = ((np.array(each) - each[0]) / PORTRAIT_FACE[1] for each in middles)
    assert np.linalg.norm(followed - places, axis=1).max() < 0.06
    assert np.linalg.norm(stayed - places, axis=1)[2:].min() > 0.2
