"""A face that goes on: one clock for frames and sound, idling without a jump, interruptions."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from core.errors import Busy
from core.live import LiveClock, LiveSession, Packet
from core.options import Crop, GenerationOptions
from core.types import AvatarSource
from tests.fakes import FakeEngine

LEAD = 0.2


class FastTime:
    """A clock that goes on only when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def clock(self) -> LiveClock:
        return LiveClock(lambda: self.now, self.sleep)


def live(time: FastTime, engine: FakeEngine | None = None, **given: float) -> LiveSession:
    engine = engine or FakeEngine()
    avatar = engine.register(AvatarSource(data=b"portrait"), Crop())
    return LiveSession(engine, avatar, GenerationOptions(), lead_s=LEAD, clock=time.clock, **given)


def tone(samples: int, level: float = 0.5) -> np.ndarray:
    return np.full(samples, level, np.float32)


def take(packets: Iterator[Packet], count: int) -> list[Packet]:
    return [next(packets) for _ in range(count)]


def test_packets_leave_in_real_time_with_something_in_hand() -> None:
    time = FastTime()
    session = live(time)
    with closing(session.packets()) as packets:
        for index in range(100):
            packet, due = next(packets), 100 + index / 25 - LEAD
            assert due - 1e-6 <= time.now <= max(due, 100) + 0.05
            assert session.late_s <= 0
        assert packet.index == 99 and not packet.speaking and not packet.sound.any()


def test_sound_and_silence_make_one_stream() -> None:
    """What was pushed comes back sample by sample; around it there is silence."""
    time = FastTime()
    session = live(time)
    with closing(session.packets()) as packets:
        before = take(packets, 10)
        for start in range(0, 3000, 300):
            session.push(tone(3000)[start : start + 300])
        session.finish()
        after = take(packets, 20)
    heard = np.concatenate([packet.sound for packet in before + after])
    assert np.flatnonzero(heard).size == 3000 and np.ptp(np.flatnonzero(heard)) == 2999
    assert [packet.speaking for packet in after].count(True) == 5
    assert [packet.index for packet in before + after] == list(range(30))


def test_a_frame_of_speech_waits_for_its_sound() -> None:
    time = FastTime()
    session = live(time)
    with closing(session.packets()) as packets:
        take(packets, 3)
        session.push(tone(300))
        assert not any(packet.sound.any() for packet in take(packets, 4)), "half a frame would be a click"
        session.push(tone(340))
        assert (next(p for p in packets if p.speaking).sound == 0.5).all()
        session.push(tone(100))  # and nothing more: it is said at last
        rest = next(packet for packet in take(packets, 12) if packet.speaking)
        assert np.count_nonzero(rest.sound) == 100


def test_sound_that_comes_unevenly_is_not_torn() -> None:
    """In pieces of 20 ms, now none and now three within a frame: one utterance, without a hole."""
    time = FastTime()
    session = live(time)
    with closing(session.packets()) as packets:
        take(packets, 3)
        spoken = []
        for count in (2, 2, 2, 0, 2, 4, 0, 3, 1, 2, 4, 2) * 4:
            for _ in range(count):
                session.push(tone(320))
            spoken.append(next(packets).speaking)
    begun = spoken.index(True)
    assert 2 <= begun <= 5 and all(spoken[begun:])


def test_an_interrupt_drops_what_waits_and_what_is_on_its_way() -> None:
    time = FastTime()
    session = live(time, FakeEngine(prefetch=3))
    with closing(session.packets()) as packets:
        session.push(tone(32_000))
        assert next(packet for packet in packets if packet.speaking).epoch == 0
        last = take(packets, 5)[-1]
        assert session.interrupt() == 1 == session.epoch and session.waiting_s == 0
        after = take(packets, 20)
        assert [packet.index for packet in after] == list(range(last.index + 1, last.index + 21))
        assert {packet.epoch for packet in after} == {1} and not any(packet.sound.any() for packet in after)
        session.push(tone(640, 0.25))
        assert next(packet for packet in packets if packet.speaking).sound[0] == 0.25


def test_after_an_interrupt_a_player_gets_its_lead_again() -> None:
    time = FastTime()
    session = live(time)
    with closing(session.packets()) as packets:
        take(packets, 50)
        began = time.now
        session.interrupt()
        take(packets, int(LEAD * 25))
        assert time.now - began < 0.05


def test_a_stall_is_not_made_up_for() -> None:
    time = FastTime()
    session = live(time)
    with closing(session.packets()) as packets:
        take(packets, 25)
        time.now += 30
        began = time.now
        take(packets, 60)
        assert time.now - began > 1.5


def test_too_much_sound_is_refused() -> None:
    session = live(FastTime(), most_s=1.0)
    session.push(tone(16_000))
    with pytest.raises(Busy, match="1 s of sound wait"):
        session.push(tone(1))


@pytest.mark.parametrize("prefetch", [0, 3])
def test_closing_ends_it(prefetch: int) -> None:
    threads = threading.active_count()
    engine = FakeEngine(prefetch)
    session = live(FastTime(), engine)
    packets = session.packets()
    take(packets, 3)
    session.close()
    assert len(list(packets)) <= 8
    assert engine.closed_streams == 1 and threading.active_count() == threads


@pytest.mark.parametrize("taken", range(6, 16))
def test_it_may_be_closed_while_it_waits(taken: int) -> None:
    """Some lengths count a frame more than they fill, in floating point: that one is left out."""
    time = FastTime()
    session = live(time)

    def sleep(seconds: float) -> None:
        time.now += seconds
        if session._left >= taken:
            session.close()

    session._clock = LiveClock(lambda: time.now, sleep)
    assert len(list(session.packets())) == taken


def test_an_epoch_knows_its_first_packet() -> None:
    session = live(FastTime(), FakeEngine(prefetch=3))
    with closing(session.packets()) as packets:
        last = take(packets, 9)[-1]
        assert session.epoch_from == 0
        session.interrupt()
        assert next(packets).index == session.epoch_from == last.index + 1


def test_an_error_of_the_engine_reaches_the_one_who_pulls() -> None:
    with closing(live(FastTime(), FakeEngine(fail_at=5)).packets()) as packets:
        take(packets, 5)
        with pytest.raises(RuntimeError, match="renderer broke"):
            take(packets, 5)


def test_half_an_hour_keeps_time_and_memory() -> None:
    time = FastTime()
    session = live(time)
    with closing(session.packets()) as packets:
        for packet in packets:
            if packet.index % 250 == 0:
                session.push(tone(64_000))
            assert packet.sound.shape == (640,)
            if packet.index == 25 * 60 * 30:
                break
    assert time.now - 100 == pytest.approx(30 * 60 - LEAD, abs=0.1)
    assert len(session._heard) < 20


def test_what_has_ended_keeps_no_avatar() -> None:
    """Its files are mapped into memory: they go with the stream, not when garbage is collected."""
    engine, time = FakeEngine(), FastTime()
    avatar = engine.register(AvatarSource(data=b"portrait"), Crop())
    kept = weakref.ref(avatar)
    session = LiveSession(engine, avatar, GenerationOptions(), lead_s=LEAD, clock=time.clock)
    del avatar
    with closing(session.packets()) as packets:
        take(packets, 3)
        assert kept() is not None
    assert kept() is None
    with pytest.raises(ValueError, match="once"):
        next(session.packets())
