"""The studio that every door works with, around a fake engine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile

from core.engines import registry
from core.engines.registry import Running
from core.errors import InputError, NotYours, UnknownToken
from core.option_table import parse_options
from core.options import Crop
from core.settings import Settings
from core.studio import Studio, Talk
from core.types import AvatarSource, RegisteredAvatar
from tests.fakes import FakeEngine
from tests.sounds import speech_like

OPTIONS = parse_options({})
SOURCE = AvatarSource(data=b"somebody")


class SlowEngine(FakeEngine):
    """Reports ten steps of its registration."""

    def register(
        self, source: AvatarSource, crop: Crop, progress: Callable[[float], None] = lambda fraction: None
    ) -> RegisteredAvatar:
        for step in range(10):
            progress(step / 10)
        return super().register(source, crop, progress)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setitem(registry.ENGINES, "fake", lambda settings, report: Running(SlowEngine(), "asked for"))
    made = Studio(Settings(home=tmp_path / "home", engine="fake"))
    yield made
    made.close()


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech_like(0.6)[0], 16_000)
    return path


def finish(work) -> tuple[list[str], Talk]:
    stages = []
    while True:
        try:
            stages.append(next(work).stage)
        except StopIteration as stop:
            return stages, stop.value


def test_a_portrait_talks_and_its_token_talks_again(studio: Studio, wav: Path) -> None:
    stages, talk = finish(studio.talk("me", SOURCE, "", wav, OPTIONS))
    assert stages.count("register") >= 10
    assert talk.clip.frames == 15
    assert talk.clip.output.is_file()
    again = finish(studio.talk("someone else", None, talk.token, wav, OPTIONS))[1]
    assert again.token == talk.token, "whoever holds a token may use it"
    assert studio.engine.registrations == 1  # type: ignore[attr-defined]


def test_equal_portraits_are_registered_once(studio: Studio) -> None:
    first, second = (studio.preload("me", SOURCE, OPTIONS)[0] for _ in range(2))
    other, _ = studio.preload("you", SOURCE, OPTIONS)
    assert first == second != other
    assert studio.engine.registrations == 1  # type: ignore[attr-defined]


def test_owners_are_kept_apart(studio: Studio, wav: Path) -> None:
    mine = finish(studio.talk("me", SOURCE, "", wav, OPTIONS))[1]
    yours, _ = studio.preload("you", SOURCE, OPTIONS)
    assert [info.token for info in studio.gallery("me")] == [mine.token]
    with pytest.raises(NotYours):
        studio.forget("me", yours)
    assert studio.clear("you", "results") == {"results": 0, "avatars": 0}
    assert mine.clip.output.is_file()
    assert studio.clear("me", "all") == {"results": 1, "avatars": 1}
    assert not mine.clip.output.exists()
    assert [info.token for info in studio.gallery("you")] == [yours]


def test_cancelling_leaves_no_result(studio: Studio, wav: Path) -> None:
    for steps in (1, 3, 14):
        work = studio.talk("me", AvatarSource(data=bytes([steps])), "", wav, OPTIONS)
        for _ in range(steps):
            next(work)
        work.close()
    assert studio.clear("me", "results")["results"] == 0
    assert not list(studio.settings.home_dir.rglob("*.mp4"))
    assert not list(studio.settings.home_dir.rglob("*.part"))


def test_what_is_missing_is_said(studio: Studio, wav: Path) -> None:
    with pytest.raises(InputError, match="No portrait"):
        finish(studio.talk("me", None, "", wav, OPTIONS))
    with pytest.raises(UnknownToken):
        finish(studio.talk("me", None, "av_nonsense", wav, OPTIONS))
