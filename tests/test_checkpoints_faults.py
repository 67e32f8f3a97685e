"""Whatever breaks while checkpoints are fetched: one clear error, nothing half-written, and it heals."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from filelock import FileLock
from huggingface_hub import constants, file_download

from core.checkpoints.check import Progress
from core.checkpoints.hub import Hub
from core.checkpoints.provide import download, ensure, locate
from core.errors import (
    Cancelled,
    CorruptCheckpoint,
    EngineUnavailable,
    MissingCheckpoint,
    StoreFailed,
)
from core.settings import Settings
from tests.fake_hub import FIRST, SECOND, FakeHub
from tests.signals import heeded
from tests.test_checkpoints import ONNX, VARIANTS, WARP, assert_right, at, hub, lay, settings

__all__ = ["hub", "settings"]  # fixtures
ROOT = Path(__file__).parent.parent


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library tries again without a pause."""
    quick = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
    monkeypatch.setattr(file_download, "time", quick)


def assert_nothing_half(folder: Path) -> None:
    left = [path for path in folder.rglob("*") if path.suffix in (".incomplete", ".tmp")]
    assert left == []


def test_a_download_cut_in_the_middle_goes_on(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    hub.cut[WARP] = 1
    heard: list[Progress] = []
    assert_right(ensure(ONNX, settings, heard.append, at(hub)), hub.commits[FIRST])
    assert hub.resumed == [WARP]
    assert heard[-1].done == heard[-1].total


def test_a_download_that_ends_in_the_middle_is_taken_up_by_the_next_run(
    hub: FakeHub, settings: Settings, tmp_path: Path, at_once: None
) -> None:
    hub.cut[WARP] = 1000
    with pytest.raises(
        EngineUnavailable, match=r"The hub cannot be reached for ditto_onnx/warp_network.onnx"
    ):
        ensure(ONNX, settings, hub=at(hub))
    assert_nothing_half(tmp_path)
    before = set(hub.fetched())
    hub.cut.clear()
    hub.requests.clear()
    assert_right(ensure(ONNX, settings, hub=at(hub)), hub.commits[FIRST])
    assert WARP in hub.fetched()
    assert before & set(hub.fetched()) == {WARP}, "what was fetched is not fetched again"


@pytest.mark.parametrize("where", ["cache", "folder"])
def test_a_wrong_content_is_fetched_again(
    where: str, hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    hub.wrong[WARP] = 1
    to = tmp_path / "there" if where == "folder" else None
    assert_right(download(ONNX, settings, to=to, hub=at(hub)), hub.commits[FIRST])
    assert hub.fetched().count(WARP) == 2


@pytest.mark.parametrize("where", ["cache", "folder"])
def test_a_content_that_stays_wrong_is_never_used(
    where: str, hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    hub.wrong[WARP] = 2
    to = tmp_path / "there" if where == "folder" else None
    with pytest.raises(CorruptCheckpoint, match=r"warp_network.onnx has the hash .{64}, expected .{64}"):
        download(ONNX, settings, to=to, hub=at(hub))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if path.read_bytes() == bytes(len(hub.commits[FIRST][WARP]))]
    assert_right(download(ONNX, settings, to=to, hub=at(hub)), hub.commits[FIRST])


@pytest.mark.parametrize("where", ["cache", "cache without links", "folder"])
def test_a_file_damaged_later_is_healed(
    where: str, hub: FakeHub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", where == "cache without links")
    if where == "folder":
        settings = settings.model_copy(update={"models": tmp_path / "there"})
    made = ensure(ONNX, settings, hub=at(hub))
    for damage in (b"", b"short", bytes(len(hub.commits[FIRST][WARP]))):
        made.files["warp_network"].write_bytes(damage)
        assert made.files["warp_network"].is_symlink() == (where == "cache")
        assert_right(ensure(ONNX, settings, hub=at(hub)), hub.commits[FIRST])


def test_a_content_of_another_length_than_promised(hub: FakeHub, settings: Settings, tmp_path: Path) -> None:
    hub.short.add(WARP)
    with pytest.raises(EngineUnavailable, match=rf"The download of {WARP} .* broke off"):
        ensure(ONNX, settings, hub=at(hub))
    assert_nothing_half(tmp_path)


def test_a_file_that_cannot_be_read(hub: FakeHub, settings: Settings, tmp_path: Path) -> None:
    made = download(ONNX, settings, to=tmp_path / "there", hub=at(hub))
    made.files["warp_network"].unlink()
    made.files["warp_network"].mkdir()
    with pytest.raises(CorruptCheckpoint, match=r"cannot be read: Is a directory.*ditto-onnx"):
        ensure(ONNX, settings.model_copy(update={"models": tmp_path / "there", "download": "ask"}))


def test_a_mistake_of_the_listener_is_not_taken_for_the_hubs(hub: FakeHub, settings: Settings) -> None:
    def listen(progress: Progress) -> None:
        if progress.done:
            raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        ensure(ONNX, settings, listen, at(hub))


def test_a_file_that_the_hub_does_not_have(hub: FakeHub, settings: Settings) -> None:
    del hub.commits[FIRST][WARP]
    with pytest.raises(MissingCheckpoint, match=f"The hub has no {WARP} in commit {FIRST}"):
        ensure(ONNX, settings, hub=at(hub))
    assert hub.fetched() == []


def test_a_file_that_the_hub_lists_but_does_not_give(hub: FakeHub, settings: Settings) -> None:
    tree = hub.tree(FIRST)
    hub.tree = lambda commit: tree  # type: ignore[method-assign]
    del hub.commits[FIRST][WARP]
    with pytest.raises(MissingCheckpoint, match=f"The hub has no {WARP} in commit"):
        ensure(ONNX, settings, hub=at(hub))


def test_a_hub_that_is_away(
    hub: FakeHub, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = Hub("http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(EngineUnavailable, match=r"The hub cannot be reached.*VISAVIS_MODELS"):
        ensure(ONNX, settings, hub=away)
    made = ensure(ONNX, settings, hub=at(hub))
    assert ensure(ONNX, settings, hub=away).files == made.files
    with pytest.raises(EngineUnavailable, match="The hub cannot be reached"):
        ensure(VARIANTS["ditto-pytorch"], settings, hub=away)
    with pytest.raises(EngineUnavailable, match="The hub cannot be reached"):
        ensure(ONNX, settings.model_copy(update={"models": tmp_path / "empty"}), hub=away)
    assert caplog.text == "", "one error says it all"
    assert time.monotonic() - started < 20, "an absent hub is told without long retries"


@pytest.mark.parametrize(
    ("status", "said"),
    [(500, "answers 500"), (401, "not open to this account"), (403, "not open to this account")],
)
def test_a_hub_that_answers_with_an_error(status: int, said: str, hub: FakeHub, settings: Settings) -> None:
    hub.status = status
    with pytest.raises(EngineUnavailable, match=said):
        ensure(ONNX, settings, hub=at(hub))


def test_something_that_is_no_hub(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.branches["main"] = "none"
    hub.commits["none"] = {}
    with pytest.raises(EngineUnavailable, match="names no commit"):
        ensure(ONNX, settings, hub=at(hub))
    hub.branches["main"] = FIRST
    monkeypatch.setattr(hub, "tree", lambda commit: [{"type": "file"}])
    with pytest.raises(EngineUnavailable, match=r"is not the hub.*HF_ENDPOINT"):
        ensure(ONNX, settings, hub=at(hub))


def test_a_disk_too_small_is_told_before_the_first_byte(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 1_000_000))
    with pytest.raises(StoreFailed, match=r"67 MB are needed in .*, 1 MB are free. Free disk space"):
        ensure(ONNX, settings, hub=at(hub))
    assert hub.fetched() == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_fails_in_the_middle(
    number: int,
    hub: FakeHub,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    get = file_download.http_get

    def failing(url: str, temp_file: Any, **rest: Any) -> None:
        if WARP in url:
            temp_file.write(b"some")
            raise OSError(number, os.strerror(number))
        get(url, temp_file, **rest)

    monkeypatch.setattr(file_download, "http_get", failing)
    with pytest.raises(StoreFailed, match=f"warp_network.*{os.strerror(number)}.*another folder"):
        ensure(ONNX, settings, hub=at(hub))
    assert_nothing_half(tmp_path)
    monkeypatch.setattr(file_download, "http_get", get)
    assert_right(ensure(ONNX, settings, hub=at(hub)), hub.commits[FIRST])


def test_a_record_that_cannot_be_written(
    hub: FakeHub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    made = ensure(ONNX, settings, hub=at(hub))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(StoreFailed, match=r"hub.json cannot be written: No space left"):
            download(VARIANTS["ditto-pytorch"], settings, hub=at(hub))
        made.files["warp_network"].touch()
        assert ensure(ONNX, settings, hub=at(hub)).files == made.files, "reading needs no disk space"
    assert_nothing_half(tmp_path)


def test_a_folder_that_cannot_be_made(hub: FakeHub, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreFailed, match=r"cannot be written.*--to"):
        download(ONNX, settings, to=tmp_path / "file" / "models", hub=at(hub))


@pytest.mark.parametrize("stage", ["download", "check"])
@pytest.mark.parametrize("where", ["cache", "folder"])
def test_a_cancel_leaves_nothing_half(
    stage: str, where: str, hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.path == WARP and progress.stage == stage and (progress.done or stage == "check"):
            raise Cancelled("The job was cancelled.")

    to = tmp_path / "there" if where == "folder" else None
    with pytest.raises(Cancelled):
        download(ONNX, settings, stop, to=to, hub=at(hub))
    assert_nothing_half(tmp_path)
    assert_right(download(ONNX, settings, to=to, hub=at(hub)), hub.commits[FIRST])


@pytest.mark.parametrize("where", ["cache", "folder"])
def test_a_download_broken_off_goes_on_with_its_commit(
    where: str, hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "download":
            raise Cancelled("The job was cancelled.")

    to = tmp_path / "there" if where == "folder" else None
    with pytest.raises(Cancelled):
        download(ONNX, settings, stop, to=to, hub=at(hub))
    hub.commits[SECOND] = {path: content + b"2" for path, content in hub.commits[FIRST].items()}
    hub.branches["main"] = SECOND
    assert download(ONNX, settings, to=to, hub=at(hub)).commit == FIRST


def start(hub: FakeHub, tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    """A download in a process of its own, into the same folders as the fixtures'."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "model_manager.py"), "download", "ditto-onnx", *more],
        cwd=tmp_path,
        env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(tmp_path / "hf"),
             "VISAVIS_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf_home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeded,
    )  # fmt: skip


def wait_for_half(hub: FakeHub, tmp_path: Path, process: subprocess.Popen[str]) -> None:
    """Until the process is in the middle of the file that the hub holds."""
    deadline = time.monotonic() + 60
    while WARP not in hub.fetched() or not list(tmp_path.rglob("*.incomplete")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("where", ["cache", "folder"])
def test_after_a_kill_the_next_run_is_good(
    where: str, hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    to = tmp_path / "there" if where == "folder" else None
    hub.hold[WARP] = threading.Event()
    with start(hub, tmp_path, *(["--to", str(to)] if to else [])) as process:
        try:
            wait_for_half(hub, tmp_path, process)
        finally:
            process.kill()
    assert list(tmp_path.rglob("*.incomplete")), "a kill leaves its unfinished file"
    hub.hold.pop(WARP).set()
    hub.requests.clear()
    assert_right(download(ONNX, settings, to=to, hub=at(hub)), hub.commits[FIRST])
    assert "ditto_cfg/v0.4_hubert_cfg_trt.pkl" not in hub.fetched(), "what was finished is kept"
    assert_nothing_half(tmp_path)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_told_in_one_line(which: signal.Signals, hub: FakeHub, tmp_path: Path) -> None:
    hub.hold[WARP] = threading.Event()
    with start(hub, tmp_path) as process:
        try:
            wait_for_half(hub, tmp_path, process)
            process.send_signal(which)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, stderr) == (130, "error: Stopped; nothing half-written is left.\n")
    assert_nothing_half(tmp_path)


def test_a_second_download_waits_for_the_first(hub: FakeHub, settings: Settings, tmp_path: Path) -> None:
    hub.hold[WARP] = threading.Event()
    heard: list[str] = []

    def hear(progress: Progress) -> None:
        heard.append(progress.stage)
        if progress.stage == "wait":
            hub.hold[WARP].set()

    with start(hub, tmp_path) as process:
        try:
            wait_for_half(hub, tmp_path, process)
            made = ensure(ONNX, settings, hear, at(hub))
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert "wait" in heard
    assert_right(made, hub.commits[FIRST])
    assert len(hub.fetched()) == len(set(hub.fetched())) == len(ONNX.assets)


def test_two_processes_at_once_fetch_every_file_once(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    with start(hub, tmp_path) as one, start(hub, tmp_path) as other:
        for process in (one, other):
            _, stderr = process.communicate(timeout=60)
            assert (process.returncode, stderr) == (0, "")
    assert not [line for line in hub.requests if "ditto-talkinghead" not in line], "nobody else is told"
    assert len(hub.fetched()) == len(set(hub.fetched())) == len(ONNX.assets)
    hub.requests.clear()
    assert_right(ensure(ONNX, settings, hub=at(hub)), hub.commits[FIRST])
    assert hub.requests == []


def test_a_sweep_spares_what_another_program_is_fetching(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    ensure(ONNX, settings, hub=at(hub))
    place, _, _ = locate(ONNX, settings)
    blobs = next(tmp_path.glob("hf/models--*/blobs"))
    mine, theirs = blobs / "abc.00000000.incomplete", blobs / "def.00000000.incomplete"
    mine.touch()
    theirs.touch()
    with FileLock(place.lock_file.with_name("def.lock"), thread_local=False):
        download(ONNX, settings, hub=at(hub))
    assert theirs.exists() and not mine.exists()


def test_a_foreign_folder_is_completed_by_what_it_lacks(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    folder = lay(tmp_path / "mine")
    (folder / WARP).unlink()
    made = ensure(ONNX, settings.model_copy(update={"models": folder}), hub=at(hub))
    assert (made.folder, hub.fetched()) == (folder, [WARP])
    assert_right(made, hub.commits[FIRST])
