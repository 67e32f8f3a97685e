"""The job store: states, stopping, who sees what, and that no file outlives its job."""

import errno
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import Busy, Cancelled, NoFace, StoreFailed, UnknownJob
from core.optimization.jobs import Job, JobStore, State

ROOT = Path(__file__).parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with closing(JobStore(tmp_path / "results")) as opened:
        yield opened


def finish(job: Job, content: bytes = b"mp4") -> Path:
    with job.running() as run:
        (job.folder / "clip.mp4").write_bytes(content)
        run.done(job.folder / "clip.mp4")
    return job.folder / "clip.mp4"


def test_a_job_from_start_to_end(store: JobStore) -> None:
    job = store.create("ann")
    assert job.status.state == "queued"
    assert job.folder.is_dir()
    with job.running() as run:
        assert job.status.state == "running"
        run.progress(0.25, "render", 3.0)
        status = job.status
        assert (status.fraction, status.stage, status.eta_s) == (0.25, "render", 3.0)
        run.progress(7.0, "mux")
        assert (job.status.fraction, job.status.eta_s) == (1.0, None)
        (job.folder / "clip.mp4").write_bytes(b"mp4")
        run.done(job.folder / "clip.mp4")
    assert status.fraction == 0.25  # a status is of its moment
    assert job.status.state is State.DONE
    assert job.status.result == job.folder / "clip.mp4"
    assert job.status.error is None
    assert job.status.result.read_bytes() == b"mp4"


def test_an_error_is_recorded_and_goes_on(store: JobStore) -> None:
    job = store.create("ann")
    with pytest.raises(NoFace), job.running():
        (job.folder / "half.mp4").write_bytes(b"")
        raise NoFace("No face.", "Use another portrait.")
    assert job.status.state is State.FAILED
    assert job.status.error == ("no_face", "No face. Use another portrait.")
    assert not job.folder.exists()


def test_a_bug_is_recorded_without_its_words(store: JobStore) -> None:
    job = store.create("ann")
    with pytest.raises(ZeroDivisionError), job.running():
        _ = 1 // 0
    assert job.status.state is State.FAILED
    assert job.status.error == ("error", "The work broke off unexpectedly.")
    unfinished = store.create("ann")
    with unfinished.running():
        pass
    assert unfinished.status.state is State.FAILED


@pytest.mark.parametrize("stop", [Cancelled("Stopped."), GeneratorExit(), KeyboardInterrupt()])
def test_what_stops_the_work_cancels(store: JobStore, stop: BaseException) -> None:
    job = store.create("ann")
    with pytest.raises(type(stop)), job.running():
        raise stop
    assert job.status.state is State.CANCELLED
    assert job.status.error is not None
    assert job.status.error[0] == "cancelled"
    assert not job.folder.exists()


def test_closing_a_generator_cancels_its_job(store: JobStore) -> None:
    job = store.create("ann")

    def work() -> Iterator[int]:
        with job.running():
            yield 1

    steps = work()
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert job.status.state is State.CANCELLED


@pytest.mark.parametrize("at_the_end", [False, True])
def test_cancel_stops_a_running_job(store: JobStore, at_the_end: bool) -> None:
    job = store.create("ann")
    running, ended = threading.Event(), []

    def work() -> None:
        try:
            with job.running() as run:
                (job.folder / "clip.mp4").write_bytes(b"mp4")
                running.set()
                while not run.cancelled or not at_the_end:
                    if not at_the_end:
                        run.progress(0.5, "render")
                    time.sleep(0.005)
                run.done(job.folder / "clip.mp4")
        except Cancelled as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    running.wait(10)
    assert not job.cancelled
    store.get("ann", job.id).cancel()
    thread.join(10)
    assert ended
    assert job.status.state is State.CANCELLED
    assert not job.folder.exists()


def test_cancel_before_the_start(store: JobStore) -> None:
    job = store.create("ann")
    job.cancel()
    assert job.status.state is State.CANCELLED
    with pytest.raises(Cancelled), job.running():
        raise AssertionError("it ran")


def test_cancel_after_the_end_changes_nothing(store: JobStore) -> None:
    job = store.create("ann")
    result = finish(job)
    job.cancel()
    assert not job.cancelled
    assert job.status.state is State.DONE
    assert result.exists()


def test_a_job_runs_once(store: JobStore) -> None:
    job = store.create("ann")
    finish(job)
    with pytest.raises(ValueError, match="once"), job.running():
        pass
    assert job.status.state is State.DONE


@pytest.mark.parametrize("name", ["../clip.mp4", "missing.mp4", "."])
def test_a_result_is_a_file_in_the_folder(store: JobStore, tmp_path: Path, name: str) -> None:
    job = store.create("ann")
    (job.folder.parent / "clip.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="folder"), job.running() as run:
        run.done(job.folder / name)
    assert job.status.state is State.FAILED


def test_owners_see_their_own(store: JobStore) -> None:
    first, second, bobs = store.create("ann"), store.create("ann"), store.create("bob")
    assert store.list("ann") == [second, first]
    assert store.get("ann", first.id) is first
    for owner, job_id in (("bob", first.id), ("ann", "nonsense"), ("ann", bobs.id)):
        with pytest.raises(UnknownJob, match="no such job"):
            store.get(owner, job_id)


def test_clear_takes_what_is_finished_and_the_owners(store: JobStore) -> None:
    finished, open_job, bobs = store.create("ann"), store.create("ann"), store.create("bob")
    finish(finished)
    finish(bobs)
    assert store.clear("ann") == 1
    assert store.list("ann") == [open_job]
    assert not finished.folder.exists()
    assert bobs.status.result is not None
    assert bobs.status.result.exists()
    assert store.clear("ann") == 0


def test_finished_and_forgotten_jobs_expire_running_ones_do_not(tmp_path: Path) -> None:
    with closing(JobStore(tmp_path / "results", ttl_s=0.2)) as store:
        finished, waiting, running = (store.create("ann") for _ in range(3))
        with running.running():
            finish(finished)
            time.sleep(0.3)
            assert store.list("ann") == [running]
            assert not finished.folder.exists()
            with pytest.raises(Cancelled), waiting.running():
                pass
            assert running.folder.exists()
            finish_later = store.create("ann")
            assert store.get("ann", finish_later.id) is finish_later


def test_expiry_ignores_the_wall_clock(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    job = store.create("ann")
    result = finish(job)
    for moment in (0.0, time.time() + 3600, 4e9):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        assert store.get("ann", job.id) is job
    assert result.exists()


def test_too_many_jobs(tmp_path: Path) -> None:
    with closing(JobStore(tmp_path / "results", max_jobs=3)) as store:
        bobs, anns = store.create("bob"), store.create("ann")
        finish(bobs)
        finish(anns)
        waiting = store.create("ann")
        assert len(store.list("ann")) == 2
        newer = store.create("ann")  # ann's own finished job goes, bob's older one stays
        assert store.list("ann") == [newer, waiting]
        assert store.list("bob") == [bobs]
        last = store.create("ann")
        assert store.list("bob") == []
        assert not bobs.folder.exists()
        with pytest.raises(Busy, match="3 jobs wait"):
            store.create("bob")
        last.cancel()
        assert store.create("bob")


def test_threads_share_the_store(tmp_path: Path) -> None:
    with closing(JobStore(tmp_path / "results", max_jobs=20)) as store:
        problems: list[Exception] = []

        def work(owner: str) -> None:
            try:
                for turn in range(40):
                    job = store.create(owner)
                    if turn % 3:
                        finish(job)
                    else:
                        job.cancel()
                    store.list(owner)
                    if turn % 10 == 9:
                        store.clear(owner)
            except Exception as error:  # reported below
                problems.append(error)

        threads = [threading.Thread(target=work, args=(f"owner {index}",)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert all(store.list(f"owner {index}") == [] for index in range(6))
        folder = next(path for path in (tmp_path / "results").iterdir() if path.is_dir())
        assert list(folder.iterdir()) == []


def test_close_stops_and_removes(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "results")
    finish(store.create("ann"))
    waiting, running = store.create("ann"), store.create("ann")
    with pytest.raises(Cancelled), running.running() as run:
        store.close()
        run.done(running.folder / "clip.mp4")
    assert waiting.status.state is running.status.state is State.CANCELLED
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["start.lock"]


def test_a_full_disk(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **others: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        with pytest.raises(StoreFailed, match="No space left"):
            store.create("ann")
    assert store.list("ann") == []
    assert store.create("ann")


def test_folders_are_private(store: JobStore, tmp_path: Path) -> None:
    folder = store.create("ann").folder
    for each in (folder, folder.parent, tmp_path / "results"):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700


VICTIM = """
import sys
from pathlib import Path
from core.optimization.jobs import JobStore
store = JobStore(Path(sys.argv[1]))
print(store._folder.name, flush=True)
while True:
    job = store.create("ann")
    with job.running() as run:
        (job.folder / "clip.mp4").write_bytes(bytes(10**5))
        run.done(job.folder / "clip.mp4")
"""


def test_the_next_start_removes_what_the_dead_left_and_spares_the_living(tmp_path: Path) -> None:
    root = tmp_path / "results"
    with closing(JobStore(root)) as living:
        kept = finish(living.create("ann"))
        command = [sys.executable, "-c", VICTIM, str(root)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            folder = root / victim.stdout.readline().strip()
            JobStore(root).close()
            assert folder.exists()  # it lives
            time.sleep(0.05)
            victim.send_signal(signal.SIGKILL)
        assert folder.exists()
        JobStore(root).close()
        assert not folder.exists()
        assert kept.exists()
        assert sorted(path.name for path in root.iterdir()) == sorted(
            [kept.parent.parent.name, kept.parent.parent.name + ".lock", "start.lock"]
        )


def test_results_are_bounded_by_their_bytes(tmp_path: Path) -> None:
    with closing(JobStore(tmp_path / "results", max_bytes=1000)) as store:
        theirs = finish(store.create("bob"), bytes(400))
        first, second = (finish(store.create("ann"), bytes(400)) for _ in range(2))
        assert all(path.exists() for path in (theirs, first, second))  # room is made for the next one
        waiting = store.create("ann")
        assert [path.exists() for path in (theirs, first, second)] == [True, False, True]
        assert len(store.list("ann")) == 2
        third = finish(waiting, bytes(500))
        store.create("bob")  # his own goes first
        assert [path.exists() for path in (theirs, second, third)] == [False, True, True]
        large = finish(store.create("ann"), bytes(5000))
        store.create("bob")
        assert not any(path.exists() for path in (second, third, large))
