"""Pictures of every kind that is taken, and everything that is refused."""

from pathlib import Path

import numpy as np
import pytest

from core.errors import BadImage, BadPath, TooLong
from core.media.image import BACKDROP, ImageLimits, fit_size, read_image, resize_to, sniff, sniff_source
from core.types import AvatarSource
from tests import picture_files as files
from tests.faces import astronaut_portrait, grey

LIMITS = ImageLimits()


def _read(data: bytes, limits: ImageLimits = LIMITS) -> tuple[np.ndarray, tuple[str, ...]]:
    return read_image(AvatarSource(data=data), limits)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize(
    ("data", "most"),
    [
        (files.png(), 0),
        (files.webp(), 0),
        (files.bmp(), 0),
        (files.jpeg(), 1.5),
        (files.cmyk_jpeg(), 1.5),
        (files.rgb16_png(), 0),
        (files.palette_png(), 3),
        (files.rgba_png(255), 0),
    ],
    ids=["png", "webp", "bmp", "jpeg", "cmyk", "16-bit", "palette", "opaque alpha"],
)
def test_colours_come_out_right(data, most):
    rgb, notes = _read(data)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert _difference(rgb, astronaut_portrait()) <= most
    assert notes == ()


@pytest.mark.parametrize("data", [files.grey_png(), files.grey16_png()], ids=["8-bit", "16-bit"])
def test_grey_is_scaled_not_clipped(data):
    rgb, _ = _read(data)
    assert _difference(rgb, grey()) <= 1


@pytest.mark.parametrize("orientation", files.ORIENTATIONS)
def test_exif_turns_the_picture_upright(orientation):
    tall = astronaut_portrait()[:, :400]
    rgb, _ = _read(files.jpeg(tall, orientation))
    assert _difference(rgb, tall) < 1.5


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow mentions it
def test_broken_exif_does_not_spoil_the_picture():
    data = files.jpeg(orientation=6).replace(b"MM\0*\0\0\0\x08", b"MM\0*\xff\xff\xff\xff")
    rgb, _ = _read(data)
    assert _difference(rgb, np.rot90(astronaut_portrait())) < 1.5  # as it is stored


def test_transparency_is_put_on_the_backdrop_with_a_note():
    rgb, notes = _read(files.rgba_png(0))
    assert tuple(rgb[2, 2]) == BACKDROP
    assert np.array_equal(rgb[240, 256], astronaut_portrait()[240, 256])
    assert len(notes) == 1
    assert "transparent" in notes[0]


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_used(kind):
    rgb, notes = _read(files.animated(kind))
    assert np.array_equal(rgb, astronaut_portrait())
    assert notes == ("The picture is animated (3 frames), the first is used.",)


def test_wrong_suffix_does_not_matter(tmp_path):
    path = tmp_path / "portrait.png"
    path.write_bytes(files.jpeg())
    rgb, _ = read_image(AvatarSource(path=path), LIMITS)
    assert _difference(rgb, astronaut_portrait()) < 1.5
    assert sniff_source(AvatarSource(path=path)) == "image"


def test_large_pictures_are_decoded_reduced():
    wide = np.repeat(np.repeat(astronaut_portrait(), 8, axis=0), 2, axis=1)  # 1024 x 4096
    for data in (files.png(wide), files.jpeg(wide)):
        rgb, _ = _read(data, ImageLimits(decode_side=1300))
        assert max(rgb.shape) in (1366, 2048)  # by 3 where any factor goes, by 2 where the decoder halves
        assert abs(float(rgb.mean()) - float(wide.mean())) < 1
        assert _read(data, ImageLimits(decode_side=0))[0].shape == wide.shape


def test_reduction_leaves_no_seam_between_bands():
    ramp = np.broadcast_to(np.linspace(0, 255, 1101)[:, None, None], (1101, 30, 3)).astype(np.uint8)
    rgb, _ = _read(files.png(ramp), ImageLimits(decode_side=500))
    assert rgb.shape == (551, 15, 3)
    steps = np.diff(rgb[:, 0, 0].astype(int))
    assert steps.min() >= 0
    assert steps.max() <= 1


# --- refused


@pytest.mark.parametrize("make", [files.png, files.jpeg, files.webp, files.bmp])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.95])
def test_truncated_files_are_refused(make, keep):
    with pytest.raises(BadImage, match="damaged"):
        _read(files.truncated(make(), keep))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"I am no picture", "not a picture"),
        (files.animated("GIF"), "GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "HEIF"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"BM" + bytes(60), "damaged"),
    ],
)
def test_other_files_are_refused_by_name(data, words):
    with pytest.raises(BadImage, match=words) as caught:
        _read(data)
    assert "\n" not in str(caught.value)


def test_bomb_is_refused_from_its_header():
    with pytest.raises(TooLong, match="50000 x 50000"):
        _read(files.bomb_png())


def test_limits_hold_at_their_edge():
    data = files.png()
    exact = ImageLimits(max_bytes=len(data), max_pixels=512 * 512)
    assert _read(data, exact)[0].shape == (512, 512, 3)
    with pytest.raises(TooLong, match="larger than the limit"):
        _read(data, ImageLimits(max_bytes=len(data) - 1))
    with pytest.raises(TooLong, match="512 x 512"):
        _read(data, ImageLimits(max_pixels=512 * 512 - 1))
    with pytest.raises(TooLong, match="512 x 512"):
        _read(files.webp(), exact)


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path / "nobody.png", tmp_path):
        with pytest.raises(BadPath, match=path.name):
            read_image(AvatarSource(path=path), LIMITS)
        with pytest.raises(BadPath):
            sniff_source(AvatarSource(path=path))
    with pytest.raises(BadPath, match="No portrait"):
        read_image(AvatarSource(), LIMITS)


def test_devices_are_not_read():
    with pytest.raises(BadPath):
        read_image(AvatarSource(path=Path("/dev/zero")), LIMITS)


def test_damaged_bytes_never_escape_as_foreign_errors():
    small = np.ascontiguousarray(astronaut_portrait()[::10, ::10])
    sound = [
        files.png(small),
        files.jpeg(small, 6),
        files.webp(small),
        files.bmp(small),
        files.animated("PNG"),
    ]
    rng = np.random.default_rng(11)
    refused = 0
    for turn in range(600):
        data = bytearray(sound[turn % len(sound)])
        for at in rng.integers(0, min(len(data), 200 if turn % 2 else len(data)), 4):
            data[at] = rng.integers(0, 256)
        try:
            rgb, _ = _read(bytes(data), ImageLimits(max_pixels=2_000_000))
            assert rgb.ndim == 3
        except (BadImage, TooLong):
            refused += 1
    assert refused > 100


# --- telling kinds apart


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (files.png(), "image"),
        (files.jpeg(), "image"),
        (files.webp(), "image"),
        (files.bmp(), "image"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "video"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81", "video"),
        (b"RIFF\0\0\1\0AVI LIST", "video"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "unknown"),
        (b"RIFF\0\0\1\0WAVEfmt ", "unknown"),
        (b"GIF89a", "unknown"),
        (b"", "unknown"),
    ],
)
def test_kinds_are_told_by_signature(head, kind):
    assert sniff(head[:64]) == kind


# --- the size rule: (height, width, limit) -> (height, width), from antgroup/ditto-talkinghead e9191cf6


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((480, 640, 1920), (480, 640)),
        ((1080, 1920, 1920), (1080, 1920)),
        ((2160, 3840, 1920), (1080, 1920)),
        ((3841, 2161, 1920), (1920, 1080)),
        ((513, 511, 1920), (512, 510)),
        ((1921, 1921, 1920), (1920, 1920)),
        ((101, 3001, 512), (16, 512)),
        ((777, 333, 320), (320, 136)),
        ((720, 1281, -1), (720, 1280)),
        ((1366, 768, 1280), (1280, 720)),
    ],
)
def test_size_rule_is_the_references(before, after):
    height, width, most = before
    assert fit_size(width, height, most) == (after[1], after[0])
    assert resize_to(np.zeros((height, width, 3), np.uint8), most).shape == (*after, 3)


def test_vanishing_sides_are_refused():
    for width, height in ((1, 1), (3000, 3), (1, 500)):
        with pytest.raises(BadImage, match="narrow"):
            fit_size(width, height, 512)


def test_a_picture_that_fits_is_not_touched():
    rgb = astronaut_portrait()
    assert resize_to(rgb, 1920) is rgb
