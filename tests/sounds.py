"""Sounds for tests: speech-like signals, WAV files of every depth, encoded files, and broken ones."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

DEPTHS = ("u8", "s16", "s24", "s32", "f32", "f64")
# suffix: encoder, sample format it takes, container
ENCODERS = {
    ".mp3": ("libmp3lame", "fltp", "mp3"),
    ".m4a": ("aac", "fltp", "mp4"),
    ".flac": ("flac", "s16", "flac"),
    ".ogg": ("libopus", "flt", "ogg"),
}


def speech_like(seconds: float, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    """Voiced syllables with pauses, float64 (channels, n), peak .7; every channel differs a little."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(120 + 25 * np.sin(2 * np.pi * 0.7 * time)) / rate
    voice = sum(np.sin(k * pitch) / k ** (1 + 0.3 * np.sin(2 * np.pi * 1.3 * time)) for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3.5 * time), 0, None) * (np.sin(2 * np.pi * 0.4 * time + 1) > -0.6)
    sound = voice * syllables
    sound *= 0.7 / max(np.abs(sound).max(), 1e-9)
    return np.stack([sound * (1 - 0.13 * channel) for channel in range(channels)])


def wav(sound: np.ndarray, rate: int, depth: str = "s16") -> bytes:
    """A WAV file of float samples (channels, n), -1..1."""
    channels, _ = sound.shape
    width = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8}[depth]
    code = 3 if depth[0] == "f" else 1
    flat = sound.T.reshape(-1)
    if depth[0] == "f":
        data = flat.astype(f"<{depth}".replace("f32", "f4").replace("f64", "f8")).tobytes()
    elif depth == "u8":
        data = np.clip(np.round(flat * 128 + 128), 0, 255).astype(np.uint8).tobytes()
    else:
        full = 2 ** (8 * width - 1)
        whole = np.clip(np.round(flat * full), -full, full - 1).astype("<i4")
        data = whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    head = struct.pack("<HHIIHH", code, channels, rate, rate * channels * width, channels * width, 8 * width)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip


def header_at(content: bytes, promise: int) -> bytes:
    """A WAV file made by `wav` whose header promises so many bytes of sound."""
    return content[:40] + struct.pack("<I", promise) + content[44:]


def write_wav(path: Path, sound: np.ndarray, rate: int, depth: str = "s16") -> Path:
    path.write_bytes(wav(sound, rate, depth))
    return path


def write_encoded(path: Path, sound: np.ndarray, rate: int) -> Path:
    """A file in the format of its suffix (see ENCODERS) from float samples (1, 2 or 6 channels, n)."""
    codec, kind, container_format = ENCODERS[path.suffix]
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        stream.format = kind
        planar = sound.astype(np.float32)
        frame = av.AudioFrame.from_ndarray(planar, "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for packets in (stream.encode(frame), stream.encode(None)):
            container.mux(packets)
    return path


def write_covered(path: Path, sound: np.ndarray, rate: int) -> Path:
    """An MP3 of mono samples (1, n) with a cover picture, as music comes."""
    with av.open(str(path), "w", format="mp3") as container:
        stream, cover = container.add_stream("libmp3lame", rate=rate), container.add_stream("mjpeg", rate=25)
        stream.layout, stream.format = "mono", "fltp"
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(sound.astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = rate, 0
        for packets in (
            cover.encode(av.VideoFrame(32, 32, "yuvj420p")),
            cover.encode(None),
            stream.encode(frame),
            stream.encode(None),
        ):
            container.mux(packets)
    return path


def broken_sounds(folder: Path) -> dict[str, Path]:
    """Files that no sound can be taken from, by what is wrong with them."""
    good = wav(speech_like(1.0), 16_000)
    bad = np.full((1, 16_000), 0.1)
    contents = {
        "empty": b"",
        "text": b"This is not a sound. " * 200,
        "noise": np.random.default_rng(1).bytes(20_000),
        "truncated header": good[:30],
        "header only": good[:44],
        "no samples": wav(np.zeros((1, 0)), 16_000),
        "unknown codec": good[:20] + b"\x34\x12" + good[22:],
        "one sample": wav(np.zeros((1, 1)), 16_000),
        "5 ms": wav(speech_like(0.005), 16_000),
        "50 ms left": good[: 44 + 1_600],
        "nan": wav(np.where(np.arange(16_000) == 9_000, np.nan, bad), 16_000, "f32"),
        "infinite": wav(np.where(np.arange(16_000) == 12_345, np.inf, bad), 16_000, "f32"),
        "beyond float32": wav(np.where(np.arange(16_000) == 77, 1e300, bad), 16_000, "f64"),
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/hostname\n#EXT-X-ENDLIST\n",
        "concat script": b"ffconcat version 1.0\nfile good.wav\n",
    }
    made = {}
    for name, content in contents.items():
        made[name] = folder / f"{name.replace(' ', '_')}.wav"
        made[name].write_bytes(content)
    return made
