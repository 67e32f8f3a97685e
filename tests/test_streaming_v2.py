"""The live protocol over real sockets: one clock, isolation, interruption, resumption, slow clients."""

import asyncio
import gc
import hashlib
import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from core.contracts import StageClock
from core.live import Packet
from core.options import Crop, GenerationOptions
from core.types import AudioChunk, AvatarSource, Frame, RegisteredAvatar
from server import live_line, live_room, streaming_v2
from server.live_ear import OpusEar, PcmEar
from server.live_line import Kept, Ring
from server.live_media import FragmentCoder, Media
from server.live_quality import LADDER, Quality
from server.protocol_v2 import (
    Bye,
    Failure,
    Interrupted,
    Kind,
    MediaMessage,
    Pong,
    Ready,
    Report,
    Speaking,
    Stats,
)
from tests.fakes import FakeEngine
from tests.live_server import LiveServer, live_server
from tests.live_viewer import Viewer, decoded, viewer
from tests.sounds import write_wav

ROOT = Path(__file__).parent.parent
CHUNK = 640 * 2  # bytes of a frame of sound


def _bytes(source: AvatarSource) -> bytes:
    return source.data or (source.path.read_bytes() if source.path else b"")


class MarkedEngine(FakeEngine):
    """Every avatar's frames are of its portrait's colour; noise, on `side` pixels, costs bytes."""

    side = 64
    noise = False

    def fingerprint(self, source: AvatarSource, crop: Crop) -> str:
        return hashlib.sha256(_bytes(source)).hexdigest()

    def register(
        self, source: AvatarSource, crop: Crop, progress: Callable[[float], None] = lambda fraction: None
    ) -> RegisteredAvatar:
        made = super().register(source, crop, progress)
        colour = np.array(Image.open(io.BytesIO(_bytes(source))).convert("RGB").resize((1, 1)))[0, 0]
        rgb = np.full((self.side, self.side, 3), colour, np.uint8)
        return replace(made, arrays={"rgb": rgb}, size=(self.side, self.side))

    def animate(
        self,
        avatar: RegisteredAvatar,
        audio: Iterator[AudioChunk],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        for frame in super().animate(avatar, audio, options, rng, clock):
            rgb = avatar.arrays["rgb"]
            if self.noise:
                rgb = rng.integers(0, 255, rgb.shape, np.uint8)
            yield Frame(frame.index, rgb)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("home")
    with live_server(
        home, MarkedEngine(), ("streaming",), max_sessions=3, session_idle_s=30, rate_per_minute=9999
    ) as running:
        yield running


def run(play: Any) -> None:
    asyncio.run(play)


def tone(hertz: float, seconds: float, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16_000)) / 16_000)


def s16(sound: np.ndarray) -> bytes:
    return np.round(sound * 32767).astype("<i2").tobytes()


def loudest(sound: np.ndarray, rate: int = 16_000) -> float:
    """The frequency that is strongest."""
    return float(np.abs(np.fft.rfft(sound)).argmax() * rate / len(sound))


async def push(guest: Viewer, data: bytes, size: int = CHUNK) -> None:
    for start in range(0, len(data), size):
        await guest.socket.send(data[start : start + size])


def upload(server: LiveServer, kind: str, name: str, data: bytes) -> tuple[str, dict[str, str]]:
    """Hand in a file -> its path, and the cookie that goes with it."""
    answer = httpx.post(f"{server.http}/upload", files={kind: (name, data)})
    assert answer.status_code == 200, answer.text
    return answer.json()[f"{kind}_path"], {"cookie": f"visavis-owner={answer.cookies['visavis-owner']}"}


def sequences(guest: Viewer) -> list[int]:
    return [message.sequence for message in guest.media]


# --- one clock


def test_pictures_and_sound_are_one_stream(server: LiveServer) -> None:
    """A tone pushed live comes back at the media time that `speaking` names, every frame in its place."""

    async def play() -> None:
        async with viewer(server) as guest:
            ready = await guest.start()
            assert ready.size == (64, 64) and (ready.fps, ready.rate, ready.epoch) == (25, 16_000, 0)
            assert ready.mime.startswith("video/mp4") and len(ready.resume) > 40
            first = await guest.take()
            assert isinstance(first, MediaMessage) and first.kind is Kind.HEADER and first.time == 0
            await push(guest, s16(tone(1000, 0.8)), 3001)
            await guest.send(type="end")
            on = await guest.word(Speaking, lambda word: word.on)
            off = await guest.word(Speaking, lambda word: not word.on)
            stats = await guest.word(Stats)
            await guest.until(off.time + 0.8)
            times, _, begin, sound = guest.played()
        assert times == pytest.approx([index / 25 for index in range(len(times))])
        assert sequences(guest) == list(range(1, len(guest.media) + 1))
        assert off.time - on.time == pytest.approx(0.8)
        loud = np.flatnonzero(np.abs(sound) > 0.2) / 16_000 + begin
        assert loud[0] == pytest.approx(on.time, abs=0.005) and loud[-1] == pytest.approx(off.time, abs=0.01)
        assert loudest(sound[np.abs(sound) > 0.05]) > 0
        assert stats.drift_ms == 0 and stats.crf == 23 and stats.rate_divisor == 1 and stats.sessions == 1
        assert 20 < stats.fps < 40

    run(play())


def test_the_first_fragments_are_small_then_of_200_ms(server: LiveServer) -> None:
    async def play() -> None:
        async with viewer(server) as guest:
            await guest.start()
            await guest.until(1.0)
        times = [message.time for message in guest.media if message.kind is Kind.FRAGMENT]
        assert times[:5] == pytest.approx([0, 0.04, 0.2, 0.4, 0.6])

    run(play())


@pytest.mark.parametrize("image", ["webp", "jpeg"])
def test_pictures_by_themselves(server: LiveServer, image: str) -> None:
    async def play() -> None:
        async with viewer(server) as guest:
            ready = await guest.start(media="frames", image=image)
            assert ready.mime == f"image/{image}"
            await push(guest, s16(tone(500, 0.4)))
            await guest.send(type="end")
            off = await guest.word(Speaking, lambda word: not word.on)
            await guest.until(off.time + 0.2)
        frames = [message for message in guest.media if message.kind is Kind.FRAME]
        sounds = [message for message in guest.media if message.kind is Kind.SOUND]
        assert [m.time for m in frames] == pytest.approx([index / 25 for index in range(len(frames))])
        assert [m.time for m in sounds][: len(frames)] == [m.time for m in frames]
        picture = Image.open(io.BytesIO(frames[3].payload))
        assert picture.size == (64, 64) and picture.format == image.upper()
        heard = np.frombuffer(b"".join(m.payload for m in sounds), "<i2") / 32767
        begin = round((off.time - 0.4) * 16_000)
        np.testing.assert_allclose(heard[begin : begin + 6400], tone(500, 0.4), atol=2e-4)
        assert not heard[begin + 6400 :].any()

    run(play())


def test_a_file_is_spoken_and_may_be_broken(server: LiveServer, tmp_path: Path) -> None:
    speech = write_wav(tmp_path / "tone.wav", tone(800, 0.6)[None], 16_000).read_bytes()
    path, cookie = upload(server, "audio", "tone.wav", speech)
    broken, cookie2 = upload(server, "audio", "noise.wav", b"RIFF no sound at all")

    async def play() -> None:
        async with viewer(server, headers=cookie) as guest:
            await guest.start()
            await guest.send(type="say", audio=path)
            on = await guest.word(Speaking)
            await guest.send(type="say", audio=path)
            off = await guest.word(Speaking)
            assert off.time - on.time == pytest.approx(1.2, abs=0.05)
            for stolen in ("/etc/passwd", "../../x", "", "a\0b"):
                await guest.send(type="say", audio=stolen)
                assert (await guest.failure()).code == "bad_path"
        async with viewer(server, headers=cookie2) as guest:
            await guest.start()
            await guest.send(type="say", audio=broken)
            assert (await guest.failure()).code == "bad_audio"
            await guest.until(1.0)

    run(play())


# --- isolation


def test_nothing_of_one_session_reaches_another(server: LiveServer) -> None:
    """Two portraits of one colour each, two tones: each viewer sees and hears its own alone."""

    async def one(colour: tuple[int, int, int], hertz: float) -> None:
        with io.BytesIO() as buffer:
            Image.new("RGB", (40, 40), colour).save(buffer, "PNG")
            path, cookie = await asyncio.to_thread(upload, server, "source", "me.png", buffer.getvalue())
        async with viewer(server, headers=cookie) as guest:
            await guest.start(source=path, media="frames", image="jpeg")
            await guest.until(0.4)  # what is sent ahead at the start is silent
            sound = s16(tone(hertz, 1.6))
            for at in range(0, len(sound), len(sound) // 8):
                await guest.socket.send(sound[at : at + len(sound) // 8])
                await asyncio.sleep(0.05)
            await guest.send(type="end")
            off = await guest.word(Speaking, lambda word: not word.on and word.time > 1.6)
            await guest.until(off.time + 0.2)
        for message in guest.media:
            if message.kind is Kind.FRAME:
                shown = np.array(Image.open(io.BytesIO(message.payload))).mean((0, 1))
                np.testing.assert_allclose(shown, colour, atol=6)
        heard = np.frombuffer(b"".join(m.payload for m in guest.media if m.kind is Kind.SOUND), "<i2")
        power = np.abs(np.fft.rfft(heard)) ** 2
        bands = np.fft.rfftfreq(len(heard), 1 / 16_000)
        mine = power[np.abs(bands - hertz) < 100].sum()
        assert loudest(heard) == pytest.approx(hertz, abs=5) and mine > 0.95 * power.sum()
        assert np.ptp(np.flatnonzero(heard)) == pytest.approx(1.6 * 16_000, rel=0.01)

    async def play() -> None:
        await asyncio.gather(one((200, 30, 30), 500), one((30, 30, 200), 1250))

    run(play())


def test_a_full_house_says_when_to_come_back(server: LiveServer) -> None:
    async def play() -> None:
        async with viewer(server) as a, viewer(server) as b, viewer(server) as c, viewer(server) as d:
            for guest in (a, b, c):
                await guest.start()
            await d.send(type="start", source="sample")
            refused = await d.failure()
            assert refused.code == "busy" and refused.retry_after_s
            await a.send(type="stop")
            assert (await a.word(Bye)).reason == "stopped"
            await d.start()  # on the same connection

    run(play())


# --- interruption


def test_an_interrupt_is_silent_at_once(server: LiveServer) -> None:
    async def play() -> None:
        async with viewer(server) as guest:
            await guest.start()
            await push(guest, s16(tone(700, 3.0)), 20_000)
            on = await guest.word(Speaking)
            await guest.until(on.time + 0.4)
            asked = time.monotonic()
            await guest.send(type="interrupt")
            told = await guest.word(Interrupted)
            assert told.epoch == 1
            before, guest.media = guest.media, []
            await guest.until(told.time)
            assert time.monotonic() - asked < 0.5
            await guest.until(told.time + 1.0)
            assert {message.epoch for message in before} == {0}
            assert {message.epoch for message in guest.media} == {1}
            assert guest.media[0].kind is Kind.HEADER and guest.media[0].time == told.time
            times, _, _, sound = guest.played()
            assert times[0] == pytest.approx(told.time) and not np.abs(sound).max() > 0.01
            assert np.diff(times) == pytest.approx(0.04)
            await push(guest, s16(tone(700, 0.4)))  # and it speaks again
            again = await guest.word(Speaking, lambda word: word.on)
            assert again.epoch == 1 and again.time > told.time

    run(play())


def test_nothing_old_follows_an_interrupt(tmp_path: Path) -> None:
    """Also what was being coded when it came: the pictures take long to code here."""
    engine = MarkedEngine()
    engine.side, engine.noise = 512, True
    with live_server(tmp_path, engine, ("streaming",)) as server:

        async def play() -> None:
            async with viewer(server) as guest:
                await guest.start(media="frames", image="webp")
                for epoch in range(1, 5):
                    await guest.until(guest.media[-1].time + 0.04 if guest.media else 0)
                    await asyncio.sleep(0.015)
                    await guest.send(type="interrupt")
                    told = await guest.word(Interrupted)
                    got = await guest.take()
                    while not isinstance(got, MediaMessage):
                        got = await guest.take()
                    assert (told.epoch, got.epoch) == (epoch, epoch) and got.time == told.time

        run(play())


def test_an_interrupt_ends_files_that_wait(server: LiveServer, tmp_path: Path) -> None:
    speech = write_wav(tmp_path / "long.wav", tone(800, 20)[None], 16_000).read_bytes()
    path, cookie = upload(server, "audio", "long.wav", speech)

    async def play() -> None:
        async with viewer(server, headers=cookie) as guest:
            await guest.start()
            for _ in range(3):
                await guest.send(type="say", audio=path)
            await guest.word(Speaking)
            await guest.socket.send(bytes(100))
            assert "file is being spoken" in (await guest.failure()).message
            for _ in range(20):
                await guest.send(type="say", audio=path)
            assert (await guest.failure()).code == "busy"
            await guest.send(type="interrupt")
            told = await guest.word(Interrupted)
            assert not (await guest.word(Speaking)).on
            await guest.until(told.time + 1.0)
            assert (await guest.word(Stats)).waiting_s == 0

    run(play())


# --- resumption


def test_a_lost_connection_goes_on_where_it_was(server: LiveServer) -> None:
    """No fragment lost, none repeated, though the client missed what was under way."""

    async def play() -> None:
        async with viewer(server) as guest:
            ready = await guest.start()
            await push(guest, s16(tone(600, 1.5)), 30_000)
            await guest.word(Speaking)
            await guest.until(1.0)
            guest.socket.transport.abort()
        kept = guest.media
        await asyncio.sleep(0.5)
        assert server.house.admission.active == 1
        async with viewer(server) as again:
            back = await again.start(resume=ready.resume, last=kept[-1].sequence)
            assert (back.session, back.resume) == (ready.session, ready.resume)
            assert (await again.word(Speaking)).on
            await again.word(Speaking, lambda word: not word.on)
            await again.until(again.media[-1].time + 0.8)
            again.media = kept + again.media
            times, _, _, sound = again.played()
        assert sequences(again) == list(range(1, len(again.media) + 1))
        assert times == pytest.approx([index / 25 for index in range(len(times))])
        assert np.flatnonzero(np.abs(sound) > 0.05).size / 16_000 == pytest.approx(1.5, rel=0.08)

    run(play())


def test_a_new_connection_takes_over_from_one_that_hangs(server: LiveServer) -> None:
    async def play() -> None:
        async with viewer(server) as hung, viewer(server) as again:
            ready = await hung.start()
            await hung.until(0.4)
            await again.start(resume=ready.resume, last=hung.media[-1].sequence)
            await again.until(1.0)
            assert sequences(again)[0] == hung.media[-1].sequence + 1
            with pytest.raises(Exception, match="1000"):
                while True:
                    await hung.take()
            assert server.house.admission.active == 1

    run(play())


def test_only_what_is_there_can_be_resumed(server: LiveServer) -> None:
    async def play() -> None:
        async with viewer(server) as guest:
            ready = await guest.start()
            await guest.until(0.4)
            last = guest.media[-1].sequence
            await guest.send(type="report", buffered_s=0.2, played_s=0.2, last=last)
            await guest.until(0.8)
            async with viewer(server) as other:
                for wrong in ({"resume": "x"}, {"resume": ready.resume, "last": 4_000_000}):
                    await other.send(type="start", **wrong)
                    assert (await other.failure()).code in ("unknown_token", "bad_input")
                await other.send(type="start", resume=ready.resume, last=last - 1)
                assert "not there any more" in (await other.failure()).message

    run(play())


def test_who_closes_is_not_waited_for_and_who_is_lost_only_a_while(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        async with viewer(server) as guest:
            await guest.start()
        await gone(server, 1)
        monkeypatch.setattr(live_room, "RESUME_S", 0.4)
        async with viewer(server) as guest:
            await guest.start()
            await guest.until(0.2)
            guest.socket.transport.abort()
        await asyncio.sleep(0.2)
        assert server.house.admission.active == 1
        await gone(server, 2)

    run(play())


async def gone(server: LiveServer, within_s: float) -> None:
    """Wait until no session is left."""
    async with asyncio.timeout(within_s + 2):
        while server.house.admission.active:
            await asyncio.sleep(0.02)


# --- slow clients


def test_quality_falls_step_by_step_and_comes_back() -> None:
    quality = Quality()
    seen = []
    for _ in range(5):
        quality.judge(0.6, 0)
        seen.append(quality.step)
    assert seen == [*LADDER[1:], LADDER[3], LADDER[3]]
    assert [(step.crf, step.divisor) for step in LADDER] == [(23, 1), (28, 1), (33, 1), (33, 2)]
    for _ in range(15):
        quality.judge(0.0, 0)
    assert quality.step == LADDER[0]


def test_at_half_the_rate_a_picture_stands_for_two() -> None:
    quality = Quality()
    for _ in LADDER:
        quality.judge(1, 0)
    coder = FragmentCoder((64, 64), quality)
    made: list[Media] = []
    for index in range(20):
        rgb = np.full((64, 64, 3), 10 * index, np.uint8)
        made += coder.take(Packet(index, rgb, np.zeros(640, np.float32), 0, False))
    coder.close()
    times, levels, _, _ = decoded([MediaMessage(m.kind, 0, 0, m.time, m.payload) for m in made])
    assert times == pytest.approx([index / 25 for index in range(20)])
    assert levels == pytest.approx([20 * (index // 2) for index in range(20)], abs=8)
    assert (sum(m.frames for m in made), sum(m.left_out for m in made)) == (10, 10)


@pytest.mark.parametrize(
    ("report", "depth"),
    [
        ({"buffered_s": 1, "played_s": 2}, 0),  # of 10 s that were sent
        ({"buffered_s": 0, "played_s": 10}, 0),
        ({"buffered_s": 0.3, "played_s": 9.7, "dropped": 4}, 0),
        ({"buffered_s": 0.3, "played_s": 9.7}, 2**21),
    ],
)
def test_a_player_in_trouble_gets_less(report: dict[str, Any], depth: int) -> None:
    quality = Quality()
    quality.heard(Report(type="report", buffered_s=0.3, played_s=9.7), 10)
    quality.judge(0, 0)
    assert quality.step == LADDER[0]
    quality.heard(Report(type="report", **report), 10)
    quality.judge(0, depth)
    assert quality.step == LADDER[1]
    quality.forget()
    quality.judge(0, 0)
    assert quality.step == LADDER[1]


def test_a_slow_player_gets_poorer_pictures_and_whole_sound(server: LiveServer) -> None:
    """Reports of a player that is far behind: the quality falls, then every second picture is left out."""

    async def play(media: str) -> Viewer:
        async with viewer(server) as guest:
            await guest.start(media=media)
            while not (guest.words and isinstance(w := guest.words[-1], Stats) and w.rate_divisor == 2):
                if isinstance(await guest.take(), Stats):
                    await guest.send(type="report", buffered_s=0.1, played_s=0.1)
            await guest.until(guest.media[-1].time + 1)
        return guest

    async def both() -> None:
        guest, other = await asyncio.gather(play("fmp4"), play("frames"))
        assert [m.kind for m in guest.media].count(Kind.HEADER) >= 3
        times, _, _, sound = guest.played()
        assert times == pytest.approx([index / 25 for index in range(len(times))])
        assert len(sound) / 16_000 == pytest.approx(times[-1], abs=0.3 + 0.07 * 3)
        late = [m.time for m in other.media if m.kind is Kind.FRAME and m.time > other.media[-1].time - 0.8]
        assert np.diff(late) == pytest.approx(0.08)
        sounds = [m.time for m in other.media if m.kind is Kind.SOUND]
        assert np.diff(sounds) == pytest.approx(0.04)

    run(both())


def test_who_reads_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_line, "STUCK_S", 0.5)
    engine = MarkedEngine()
    engine.side, engine.noise = 512, True
    with live_server(tmp_path, engine, ("streaming",)) as server:

        async def play() -> None:
            async with viewer(server, max_queue=1) as deaf:
                await deaf.start(media="frames")
                deaf.socket.transport.pause_reading()
                async with asyncio.timeout(30):
                    while server.house.admission.active:
                        await asyncio.sleep(0.05)
                deaf.socket.transport.abort()

        run(play())


def test_who_confirms_is_waited_for_and_then_dropped(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has said what it has, nothing that it lacks is forgotten."""
    monkeypatch.setattr(live_room, "MOST_KEPT", 20_000)
    monkeypatch.setattr(live_room, "STUCK_S", 0.5)

    async def play() -> None:
        async with viewer(server) as guest:
            await guest.start(media="frames")
            for _ in range(200):
                got = await guest.take()
                if isinstance(got, MediaMessage) and got.sequence % 5 == 0:
                    await guest.send(type="report", buffered_s=0.2, played_s=got.time, last=got.sequence)
            assert (await guest.word(Bye)).reason == "slow"
            assert sequences(guest) == list(range(1, len(guest.media) + 1))

    run(play())


def test_the_ring_is_bounded() -> None:
    ring = Ring(100)
    for number in range(1, 30):
        ring.add(Kept(0, bytes([number]) * 30))
        assert ring.bytes <= 100 and ring.get(ring.newest).data[0] == number == ring.newest
    assert ring.oldest == 27 and ring.get(28).data[0] == 28
    ring.confirm(28)
    assert (ring.oldest, ring.bytes) == (29, 30)
    ring.confirm(29)
    assert (ring.oldest, ring.newest, ring.bytes) == (30, 29, 0)
    ring.add(Kept(0, bytes(500)))
    assert ring.get(30).data == bytes(500)


# --- sound as it comes


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("size", [1, 999, 4096])
def test_pcm_of_any_rate_in_pieces_of_any_size(rate: int, size: int) -> None:
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 4) / rate)
    data, ear = s16(sound), PcmEar(rate)
    pieces = [ear.hear(data[at : at + size]) for at in range(0, len(data), size)]
    heard = np.concatenate([*pieces, ear.rest()])
    assert heard.dtype == np.float32 and len(heard) == pytest.approx(4000, abs=1)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / 16_000)
    np.testing.assert_allclose(heard[200:-200], expected[200:-200], atol=2e-3)
    assert not len(ear.rest())


def opus_packets(sound: np.ndarray) -> list[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "flt"
    encoder.time_base = Fraction(1, 48_000)
    encoder.open()
    packets = []
    for at in range(0, len(sound) - 959, 960):
        frame = av.AudioFrame.from_ndarray(sound[None, at : at + 960].astype(np.float32), "flt", "mono")
        frame.sample_rate, frame.pts = 48_000, at
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


def test_opus_packets_are_heard(server: LiveServer) -> None:
    packets = opus_packets(0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000))
    ear = OpusEar()
    heard = np.concatenate([ear.hear(packet) for packet in packets] + [ear.rest()])
    assert len(heard) / 16_000 == pytest.approx(0.98, abs=0.05)
    assert loudest(heard) == pytest.approx(440, abs=5)
    assert np.abs(heard[4000:]).max() == pytest.approx(0.5, abs=0.05)

    async def play() -> None:
        async with viewer(server) as guest:
            await guest.start(audio_in={"codec": "opus"})
            await guest.socket.send(b"\xff" * 100)
            assert (await guest.failure()).code == "bad_audio"
            for packet in packets:
                await guest.socket.send(packet)
            await guest.send(type="end")
            on, off = await guest.word(Speaking), await guest.word(Speaking)
            assert off.time - on.time == pytest.approx(0.98, abs=0.06)

    run(play())


# --- manners


def test_rude_messages_are_answered_and_nothing_breaks(server: LiveServer) -> None:
    async def play() -> None:
        async with viewer(server, client="..%2F..%2Fetc%2Fpasswd%0A") as guest:
            for early in (
                b"sound",
                '{"type": "interrupt"}',
                '{"type": "stop"}',
                '{"type": "say", "audio": "x"}',
            ):
                await guest.socket.send(early)
                assert "no session yet" in (await guest.failure()).message
            for wrong in (
                {"source": "sample", "options": {"nose": 3}},
                {"source": "sample", "options": {"emo": "green"}},
                {"source": "sample", "preset": "warp"},
                {"source": "/etc/passwd"},
                {"avatar_token": "none"},
                {"source": "sample", "avatar_token": "both"},
                {},
            ):
                await guest.send(type="start", **wrong)
                await guest.failure()
            await guest.start()
            rude = ["", "null", "[1", '{"type": 7}', '{"type": "start", "source": "sample"}', b"x" * 70_000]
            for message in rude:
                await guest.socket.send(message)
                await guest.failure()
            await guest.send(type="ping", t=4.25)
            assert (await guest.word(Pong)).t == 4.25
            await guest.until(0.8)
            await guest.send(type="stop")
            assert (await guest.word(Bye)).reason == "stopped"
        assert [w for w in guest.words if isinstance(w, Failure)][-1].code == "too_long"

    run(play())
    assert server.house.admission.active == 0


def test_silent_guests_are_seen_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_v2, "HELLO_S", 0.3)
    with live_server(tmp_path, FakeEngine(), ("streaming",), session_idle_s=0.6) as server:

        async def play() -> None:
            async with viewer(server) as mute:
                assert "No start" in (await mute.failure()).message
            async with viewer(server) as idle:
                await idle.start()
                await push(idle, s16(tone(500, 1.0)), 32_000)
                await idle.send(type="end")
                off = await idle.word(Speaking, lambda word: not word.on)
                assert (await idle.word(Bye)).reason == "idle"
                assert idle.media[-1].time > off.time, "not while it speaks"

        run(play())


def test_an_engine_that_breaks_ends_its_session_alone(tmp_path: Path) -> None:
    with live_server(tmp_path, FakeEngine(fail_at=20), ("streaming",)) as server:

        async def play() -> None:
            async with viewer(server) as guest:
                await guest.start()
                assert (await guest.word(Bye)).reason == "failed"
            async with viewer(server) as guest:
                await guest.start()

        run(play())


def test_a_wrong_key_does_not_come_in(tmp_path: Path) -> None:
    with live_server(tmp_path, FakeEngine(), ("streaming",), api_keys="a-secret") as server:

        async def play() -> None:
            with pytest.raises(Exception, match="401"):
                async with viewer(server):
                    pass
            async with viewer(server, query="?key=a-secret") as guest:
                await guest.start()

        run(play())


def test_the_server_stops_in_mid_stream(tmp_path: Path) -> None:
    threads = threading.active_count()

    async def play() -> None:
        with live_server(tmp_path, FakeEngine(), ("streaming",)) as server:
            guest_of = viewer(server)
            guest = await guest_of.__aenter__()
            await guest.start()
            await guest.until(0.4)
        with pytest.raises(Exception, match=r"1012|1001|no close frame"):
            while True:
                await guest.take()
        await guest_of.__aexit__(None, None, None)

    run(play())
    assert threading.active_count() == threads


def test_fifty_visits_leave_nothing(tmp_path: Path) -> None:
    """Connections that end at any moment: no thread, task, file or place is left."""
    before = threading.active_count()
    with live_server(tmp_path, FakeEngine(), ("streaming",), rate_per_minute=999) as server:

        async def visit(number: int) -> None:
            async with viewer(server) as guest:
                if number % 5:
                    await guest.send(type="start", source="sample")
                if number % 5 > 1:
                    await guest.word(Ready)
                if number % 5 > 2:
                    await guest.socket.send(bytes(2000))
                    await guest.until(0.2)
                if number % 5 > 3:
                    await guest.send(type="stop")

        async def play() -> None:
            await visit(3)
            await gone(server, 5)
            files = sorted(tmp_path.rglob("*"))
            for number in range(50):
                await visit(number)
            await gone(server, 5)
            left = [path for path in sorted(tmp_path.rglob("*")) if path not in files]
            assert not [path for path in left if "uploads" in path.parts or path.suffix == ".tmp"]
            assert not [thread for thread in threading.enumerate() if "visavis" in thread.name]

        run(play())
        gc.collect()
        assert not server.house.admission.active
    assert threading.active_count() == before


# --- the real engine, and the documentation


def documented_client() -> str:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```python\n(.*?)```", text, re.S)
    return str(found)


def test_the_documented_client_saves_a_video(tmp_path: Path) -> None:
    """The client of docs/protocol.md, as it stands there, against the lite engine: it speaks, in time."""
    script = documented_client()
    assert len(script.splitlines()) <= 45
    (tmp_path / "client.py").write_text(script)
    with live_server(tmp_path / "home", parts=("streaming",)) as server:
        done = subprocess.run(
            [sys.executable, "client.py", server.address, str(ROOT / "assets" / "speech.wav"), "live.mp4"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "live.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        pictures = [frame for packet in container.demux(video) for frame in packet.decode()]
        times = [float(frame.time) for frame in pictures]
    with av.open(str(tmp_path / "live.mp4")) as container:
        audio = container.streams.audio[0]
        sound = np.concatenate([f.to_ndarray()[0] for p in container.demux(audio) for f in p.decode()])
    assert np.diff(times) == pytest.approx(0.04) and times[-1] > 8.0
    assert pictures[0].width == pictures[0].height == 512
    spoken = np.flatnonzero(np.abs(sound) > 0.02)
    assert (spoken[-1] - spoken[0]) / 16_000 == pytest.approx(8.0, abs=0.6)
    first, last = (frame.to_ndarray(format="gray").astype(int) for frame in (pictures[0], pictures[100]))
    assert np.abs(first - last).max() > 40, "the face moves"
