"""The boxes of fragmented MP4 (ISO/IEC 14496-12, -14 and -15) for one H.264 and one AAC track.

FFmpeg's own muxer waits for following packets before it lets one go and rounds a track's first time to 0; a
live stream can afford neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

VIDEO, AUDIO = 1, 2  # track numbers
_UNITY = b"".join(v.to_bytes(4, "big") for v in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
_DEPENDS, _KEY = 0x01010000, 0x02000000  # sample flags: needs others and is no key; needs none


@dataclass(frozen=True)
class Track:
    """What a player must know of a track; `rate` is its time scale, `setup` the decoder's own header (avcC's
    or the AudioSpecificConfig's bytes). `size` is (width, height), (0, 0) for sound."""

    number: int
    rate: int
    setup: bytes
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Sample:
    """One coded frame of a track: its bytes, its length in the track's time scale, whether it is a key."""

    data: bytes
    duration: int
    key: bool = True


def header(tracks: Sequence[Track]) -> bytes:
    """What comes before any fragment: file type, and a movie without samples."""
    brands = b"iso5" + _u32(512) + b"iso5iso6mp41avc1"
    plain = b"\x01\x00" + bytes(10) + _UNITY + bytes(24) + _u32(3)  # volume, matrix, next track's number
    movie = _full(b"mvhd", 0, 0, _u32(0, 0, 1000, 0, 0x10000), plain)
    extends = _box(b"mvex", *(_full(b"trex", 0, 0, _u32(each.number, 1, 0, 0, 0)) for each in tracks))
    return _box(b"ftyp", brands) + _box(b"moov", movie, *map(_track, tracks), extends)


def fragment(sequence: int, parts: Sequence[tuple[int, int, Sequence[Sample]]]) -> bytes:
    """One fragment of tracks: (number, time of the first sample in the track's scale, samples) each."""
    parts = [part for part in parts if part[2]]
    size = len(_moof(sequence, parts, 0))
    moof = _moof(sequence, parts, size + 8)
    return moof + _box(b"mdat", *(sample.data for _, _, samples in parts for sample in samples))


def _moof(sequence: int, parts: Sequence[tuple[int, int, Sequence[Sample]]], data: int) -> bytes:
    tracks = []
    for number, time, samples in parts:
        rows = b"".join(
            _u32(each.duration, len(each.data), _KEY if each.key else _DEPENDS) for each in samples
        )
        tracks.append(
            _box(
                b"traf",
                _full(b"tfhd", 0, 0x020000, _u32(number)),  # offsets count from this moof
                _full(b"tfdt", 1, 0, time.to_bytes(8, "big")),
                _full(b"trun", 0, 0x000701, _u32(len(samples), data), rows),
            )
        )
        data += sum(len(each.data) for each in samples)
    return _box(b"moof", _full(b"mfhd", 0, 0, _u32(sequence)), *tracks)


def _track(track: Track) -> bytes:
    width, height = track.size
    is_video = track.number == VIDEO
    volume = b"\x00\x00" if is_video else b"\x01\x00"
    shape = _u32(width << 16, height << 16)
    head = _full(b"tkhd", 0, 3, _u32(0, 0, track.number, 0, 0), bytes(12), volume, bytes(2), _UNITY, shape)
    handler, media = b"soun", _full(b"smhd", 0, 0, bytes(4))
    if is_video:
        handler, media = b"vide", _full(b"vmhd", 0, 1, bytes(8))
    nothing = _u32(0)
    table = _box(
        b"stbl",
        _full(b"stsd", 0, 0, _u32(1), _video_entry(track) if is_video else _audio_entry(track)),
        *(_full(name, 0, 0, nothing) for name in (b"stts", b"stsc", b"stco")),
        _full(b"stsz", 0, 0, _u32(0, 0)),
    )
    here = _box(b"dinf", _full(b"dref", 0, 0, _u32(1), _full(b"url ", 0, 1)))
    language = b"\x55\xc4\x00\x00"  # und
    return _box(
        b"trak",
        head,
        _box(
            b"mdia",
            _full(b"mdhd", 0, 0, _u32(0, 0, track.rate, 0), language),
            _full(b"hdlr", 0, 0, _u32(0), handler, bytes(12), b"\x00"),
            _box(b"minf", media, here, table),
        ),
    )


def _video_entry(track: Track) -> bytes:
    width, height = (side.to_bytes(2, "big") for side in track.size)
    resolution = _u32(0x480000, 0x480000)
    one = b"\x00\x01"  # the reference of the data, and the frames in a sample
    shape = bytes(16) + width + height + resolution + bytes(4) + one + bytes(32) + b"\x00\x18\xff\xff"
    return _box(b"avc1", bytes(6), one, shape, _box(b"avcC", track.setup))


def _audio_entry(track: Track) -> bytes:
    config = _descriptor(4, b"\x40\x15", bytes(3), _u32(0, 0), _descriptor(5, track.setup))
    stream = _full(b"esds", 0, 0, _descriptor(3, b"\x00\x00\x00", config, _descriptor(6, b"\x02")))
    rate = (track.rate << 16).to_bytes(4, "big")
    return _box(b"mp4a", bytes(6), b"\x00\x01", bytes(8), b"\x00\x01\x00\x10", bytes(4), rate, stream)


def avc_setup(sps: bytes, pps: bytes) -> bytes:
    """The decoder's header for H.264 with 4-byte lengths, of its two parameter sets."""
    sets = b"\xe1" + len(sps).to_bytes(2, "big") + sps + b"\x01" + len(pps).to_bytes(2, "big") + pps
    return b"\x01" + sps[1:4] + b"\xff" + sets


def split_units(stream: bytes) -> list[bytes]:
    """The units of an H.264 byte stream, whose start codes are 00 00 01 or 00 00 00 01."""
    return [unit.rstrip(b"\x00") for unit in stream.split(b"\x00\x00\x01") if unit.strip(b"\x00")]


def with_lengths(units: Sequence[bytes]) -> bytes:
    """Units each behind its length, as an MP4 holds them."""
    return b"".join(_u32(len(unit)) + unit for unit in units)


def _u32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


def _box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return _u32(8 + len(body)) + name + body


def _full(name: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return _box(name, bytes([version]) + flags.to_bytes(3, "big"), *content)


def _descriptor(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    assert len(body) < 128
    return bytes([tag, len(body)]) + body
