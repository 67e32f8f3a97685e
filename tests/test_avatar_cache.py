"""The avatar cache: what comes back, who may do what, what is made once, and what survives harm."""

import errno
import json
import os
import pickle
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from diskcache import Cache

from core.errors import BadPath, ComputeError, NoFace, NotYours, StoreFailed, TooLong, UnknownToken
from core.optimization import avatar_cache, avatar_files, avatar_format
from core.optimization.avatar_cache import AvatarCache
from core.optimization.store import CorruptRow, Index, TextDisk
from core.optimization.tokens import hashed
from core.types import RegisteredAvatar

ROOT = Path(__file__).parent.parent
KEY, OTHER = "ab" * 20, "cd" * 20
DAY = 86_400.0


def avatar(key: str = KEY, arrays: dict[str, np.ndarray] | None = None, **meta: Any) -> RegisteredAvatar:
    pixels = np.random.default_rng(int(key[:8], 16)).integers(0, 256, (40, 30, 3), np.uint8)
    return RegisteredAvatar(
        key, "fake", True, 7, (30, 40), {"rgb": pixels} if arrays is None else arrays, meta, ("one face",)
    )


def sized(key: str, size: int) -> RegisteredAvatar:
    return avatar(key, {"blob": np.frombuffer(os.urandom(size), np.uint8)})


class Maker:
    """Makes an avatar and counts how often."""

    def __init__(self, made: RegisteredAvatar | None = None) -> None:
        self.made, self.calls = made or avatar(), 0

    def __call__(self) -> RegisteredAvatar:
        self.calls += 1
        return self.made


def unused() -> RegisteredAvatar:
    raise AssertionError("made although it was there")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[AvatarCache]:
    with closing(AvatarCache(tmp_path / "avatars")) as opened:
        yield opened


def value(tmp_path: Path, key: str = KEY) -> Path:
    return tmp_path / "avatars" / "values" / f"{key}.safetensors"


def values(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "avatars" / "values").iterdir())


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def equal(a: RegisteredAvatar, b: RegisteredAvatar) -> bool:
    same = (a.key, a.engine, a.is_image, a.n_frames, a.size) == (
        b.key,
        b.engine,
        b.is_image,
        b.n_frames,
        b.size,
    )
    return (
        same
        and dict(a.meta) == dict(b.meta)
        and a.notes == b.notes
        and a.arrays.keys() == b.arrays.keys()
        and all(a.arrays[name].dtype == b.arrays[name].dtype for name in a.arrays)
        and all(a.arrays[name].shape == b.arrays[name].shape for name in a.arrays)
        and all(a.arrays[name].tobytes() == b.arrays[name].tobytes() for name in a.arrays)
    )


# --- what comes back ---


@pytest.mark.parametrize("seed", range(25))
def test_get_gives_what_was_registered_bit_for_bit(cache: AvatarCache, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = ["f8", "f4", "f2", "c8", "?", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"]
    arrays = {}
    for index in range(rng.integers(0, 6)):
        shape = tuple(rng.integers(0, 5, rng.integers(0, 4)))
        bits = rng.integers(0, 2, shape) if (code := rng.choice(codes)) == "?" else rng.normal(0, 50, shape)
        with np.errstate(invalid="ignore"):
            array = np.asarray(bits).astype(code)
        arrays[f"rig.{index} ü"] = array.T if rng.random() < 0.5 else array
    meta = {"open": bool(seed % 2), "deep": {"x": [1, 0.1 + 0.2, None, "日本"]}, "far": float("inf")}
    original = avatar(KEY, arrays, **meta)
    token, first = cache.register("ann", KEY, lambda: original)
    assert equal(first, original)
    assert equal(cache.get(token), original)


def test_odd_layouts_come_back_by_value(cache: AvatarCache) -> None:
    arrays = {"big": np.arange(6, dtype=">i4"), "strided": np.arange(20.0)[::3], "scalar": np.array(2.5)}
    token, _ = cache.register("ann", KEY, lambda: avatar(KEY, arrays))
    back = cache.get(token).arrays
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
    assert back["scalar"].shape == ()


def test_arrays_are_mapped_and_read_only(cache: AvatarCache) -> None:
    token, _ = cache.register("ann", KEY, lambda: sized(KEY, 32 << 20))

    def anonymous() -> int:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssAnon"))
        return int(line.split()[1]) // 1024

    before = anonymous()
    blob = cache.get(token).arrays["blob"]
    assert int(blob.sum()) > 0
    assert anonymous() - before < 8  # MiB, of 32
    with pytest.raises(ValueError, match="read-only"):
        blob[0] = 1


def test_any_safetensors_reader_opens_the_files(cache: AvatarCache, tmp_path: Path) -> None:
    arrays = {"a": np.arange(3, dtype=np.float16), "b": np.eye(2), "e": np.zeros((0, 2), np.uint8)}
    cache.register("ann", KEY, lambda: avatar(KEY, arrays))
    read = safetensors.numpy.load_file(value(tmp_path))
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


def test_what_cannot_be_stored_is_refused_and_nothing_stays(cache: AvatarCache, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'bad': object"):
        cache.register("ann", KEY, lambda: avatar(KEY, {"bad": np.array([object()])}))
    assert values(tmp_path) == []
    assert cache.list("ann") == []


# --- tokens, owners ---


def test_equal_registrations_share_work_and_token(cache: AvatarCache, tmp_path: Path) -> None:
    maker = Maker()
    first, _ = cache.register("ann", KEY, maker, label="me")
    again, back = cache.register("ann", KEY, maker)
    other, _ = cache.register("bob", KEY, maker)
    assert maker.calls == 1
    assert first == again != other
    assert equal(back, avatar())
    assert values(tmp_path) == [value(tmp_path).name]
    assert first.startswith("av_") and len(first) == 35


def test_list_is_the_owners_newest_first(cache: AvatarCache) -> None:
    t1, _ = cache.register(
        "ann", KEY, lambda: avatar(KEY), thumbnail=lambda made: b"\xff\xd8pic", label="one"
    )
    t2, _ = cache.register("ann", OTHER, lambda: avatar(OTHER), label="two")
    cache.register("bob", KEY, unused, label="bob's")
    listed = cache.list("ann")
    assert [(info.token, info.label) for info in listed] == [(t2, "two"), (t1, "one")]
    assert (listed[1].thumbnail, listed[0].thumbnail) == (b"\xff\xd8pic", b"")
    assert (listed[1].size, listed[1].n_frames) == ((30, 40), 7)
    assert time.time() - 5 < listed[0].created <= listed[0].last_used <= time.time()
    assert [info.label for info in cache.list("bob")] == ["bob's"]
    assert cache.list("eve") == []


def test_use_and_label_are_noted(cache: AvatarCache) -> None:
    token, _ = cache.register("ann", KEY, Maker(), label="old")
    before = cache.list("ann")[0]
    cache.get(token)
    cache.register("ann", KEY, unused, label="x" * 300)
    after = cache.list("ann")[0]
    assert after.last_used > before.last_used
    assert after.created == before.created
    assert after.label == "x" * 200


def test_half_characters_do_no_harm(cache: AvatarCache) -> None:
    token, _ = cache.register("an\ud800", KEY, Maker(), label="a\ud800b")
    assert cache.list("an\ud800")[0].label == "a?b"
    assert cache.get(token)


@pytest.mark.parametrize(
    "token", ["", "av_", "av_" + "a" * 32, "owner:x", "../../etc/passwd", "av_" + "é" * 32]
)
def test_unknown_tokens(cache: AvatarCache, token: str) -> None:
    with pytest.raises(UnknownToken, match="Register the portrait again"):
        cache.get(token)
    with pytest.raises(UnknownToken):
        cache.delete("ann", token)


def test_owners_cannot_touch_each_other(cache: AvatarCache) -> None:
    token, _ = cache.register("ann", KEY, Maker())
    with pytest.raises(NotYours) as refused:
        cache.delete("bob", token)
    assert "ann" not in str(refused.value)
    assert cache.clear("bob") == 0
    assert cache.get(token)
    cache.delete("ann", token)
    with pytest.raises(UnknownToken):
        cache.get(token)


def test_a_shared_value_goes_with_its_last_token(cache: AvatarCache, tmp_path: Path) -> None:
    ann, _ = cache.register("ann", KEY, Maker())
    bob, _ = cache.register("bob", KEY, unused)
    cache.delete("ann", ann)
    assert cache.get(bob)
    assert cache.clear("bob") == 1
    assert values(tmp_path) == []


def test_clear_counts_and_empties(cache: AvatarCache, tmp_path: Path) -> None:
    cache.register("ann", KEY, Maker())
    cache.register("ann", OTHER, Maker(avatar(OTHER)))
    assert cache.clear("ann") == 2
    assert cache.list("ann") == []
    assert cache.clear("ann") == 0
    assert values(tmp_path) == []


def test_owners_names_are_not_on_disk(cache: AvatarCache, tmp_path: Path) -> None:
    cache.register("secret-of-ann", KEY, Maker())
    cache.close()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"secret-of-ann" not in path.read_bytes()


def test_the_folder_is_private(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "avatars"
    root.mkdir(parents=True, mode=0o755)
    AvatarCache(root).close()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadPath, match="VISAVIS_HOME"):
        AvatarCache(tmp_path / "file" / "avatars")


@pytest.mark.parametrize("key", ["", "xyz", "AB" * 8, "../../../etc", "ab" * 8 + "\n", "a" * 129])
def test_keys_are_hex(cache: AvatarCache, key: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        cache.register("ann", key, Maker())


def test_an_avatar_under_a_wrong_key_is_refused(cache: AvatarCache, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="says its key"):
        cache.register("ann", KEY, lambda: avatar(OTHER))
    assert values(tmp_path) == []


def test_what_make_raises_arrives_and_nothing_is_kept(cache: AvatarCache, tmp_path: Path) -> None:
    def fails() -> RegisteredAvatar:
        raise NoFace("no face")

    with pytest.raises(NoFace):
        cache.register("ann", KEY, fails)
    assert cache.clear("ann") == 0
    token, _ = cache.register("ann", KEY, Maker())
    value(tmp_path).unlink()
    with pytest.raises(NoFace):
        cache.register("ann", KEY, fails)
    assert cache.register("ann", KEY, Maker())[0] == token  # a known token survives a failure


# --- room and time ---


def test_eviction_removes_no_more_than_it_must(tmp_path: Path) -> None:
    with closing(AvatarCache(tmp_path / "avatars", max_bytes=40_000_000)) as cache:
        tokens = [
            cache.register("ann", f"{index:040x}", lambda key=f"{index:040x}": sized(key, 4_000_000 - 1000))[
                0
            ]
            for index in range(20)
        ]
        assert len(values(tmp_path)) == 10
        assert [info.token for info in cache.list("ann")] == tokens[:9:-1]
        for gone in tokens[:10]:
            with pytest.raises(UnknownToken, match="made room"):
                cache.get(gone)


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    with closing(AvatarCache(tmp_path / "avatars", max_bytes=30_000)) as cache:
        keys = [f"{index:08x}" for index in range(4)]
        tokens = [cache.register("ann", key, lambda key=key: sized(key, 10_000))[0] for key in keys[:2]]
        cache.get(tokens[0])
        cache.register("ann", keys[2], lambda: sized(keys[2], 12_000))
        assert cache.get(tokens[0])
        with pytest.raises(UnknownToken):
            cache.get(tokens[1])


def test_larger_than_the_cache(tmp_path: Path) -> None:
    with closing(AvatarCache(tmp_path / "avatars", max_bytes=2_000)) as cache:
        token, _ = cache.register("ann", KEY, lambda: sized(KEY, 100))
        with pytest.raises(TooLong, match="VISAVIS_CACHE_GIB"):
            cache.register("ann", OTHER, lambda: sized(OTHER, 3_000))
        assert cache.get(token)
        assert len(cache.list("ann")) == 1


def test_expiry_counts_from_the_last_use(tmp_path: Path) -> None:
    with closing(AvatarCache(tmp_path / "avatars", ttl_s=0.6)) as cache:
        used, _ = cache.register("ann", KEY, Maker())
        left, _ = cache.register("ann", OTHER, Maker(avatar(OTHER)))
        for _ in range(4):
            time.sleep(0.25)
            assert cache.get(used)
        with pytest.raises(UnknownToken, match="expired"):
            cache.get(left)
        assert [info.token for info in cache.list("ann")] == [used]
        cache.register("ann", "ef" * 20, Maker(avatar("ef" * 20)))
        assert value(tmp_path, OTHER).name not in values(tmp_path)
        for _ in range(3):
            cache.get(used)
        with closing(sqlite3.connect(tmp_path / "avatars" / "index" / "cache.db")) as index:
            assert index.execute("SELECT 1 FROM Cache WHERE expire_time < ?", (time.time(),)).fetchall() == []


def test_no_expiry(tmp_path: Path) -> None:
    with closing(AvatarCache(tmp_path / "avatars", ttl_s=None)) as cache:
        token, _ = cache.register("ann", KEY, Maker())
        os.utime(value(tmp_path), (0, 0))
    with closing(AvatarCache(tmp_path / "avatars", ttl_s=None)) as cache:
        assert cache.get(token)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Shift the wall clock."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)


def test_clock_set_back_loses_nothing_and_keeps_nothing_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as clock:
        at(clock, 3650 * DAY)
        with closing(AvatarCache(tmp_path / "avatars")) as cache:
            token, _ = cache.register("ann", KEY, Maker())
            left, _ = cache.register("ann", OTHER, Maker(avatar(OTHER)))
            assert value(tmp_path).stat().st_mtime > time.time() - DAY
    with closing(AvatarCache(tmp_path / "avatars")) as cache:
        assert cache.get(token)
        assert abs(cache.list("ann")[1].last_used - time.time()) < 5
    with monkeypatch.context() as clock:
        at(clock, 31 * DAY)
        with closing(AvatarCache(tmp_path / "avatars")) as cache:
            for gone in (token, left):
                with pytest.raises(UnknownToken):
                    cache.get(gone)
        assert values(tmp_path) == []


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_hour_either_way_changes_nothing(
    cache: AvatarCache, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    token, _ = cache.register("ann", KEY, Maker())
    at(monkeypatch, hours * 3600)
    assert cache.get(token)
    assert cache.register("ann", KEY, unused)[0] == token


def test_clock_set_forward_expires(
    cache: AvatarCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = cache.register("ann", KEY, Maker())
    at(monkeypatch, 3650 * DAY)
    with pytest.raises(UnknownToken):
        cache.get(token)
    assert cache.register("ann", OTHER, Maker(avatar(OTHER)))
    assert values(tmp_path) == [value(tmp_path, OTHER).name]


# --- harm ---


@pytest.mark.parametrize(
    "harm", ["flip data", "flip header", "cut", "empty", "garbage", "other", "gone", "version"]
)
def test_a_broken_value_is_a_miss_and_heals(cache: AvatarCache, tmp_path: Path, harm: str) -> None:
    token, _ = cache.register("ann", KEY, Maker())
    bob, _ = cache.register("bob", KEY, unused)
    path = value(tmp_path)
    data = path.read_bytes()
    if harm == "flip data":
        flip(path, len(data) - 100)
    elif harm == "flip header":
        flip(path, data.index(b"one face"))
    elif harm == "other":
        cache.register("ann", OTHER, Maker(avatar(OTHER)))
        path.write_bytes(value(tmp_path, OTHER).read_bytes())
    elif harm == "gone":
        path.unlink()
    elif harm == "version":
        card = json.dumps({"version": 99})
        about = {"card": card, "crc32": avatar_format._checksum(card, {}, [])}
        header = json.dumps({"__metadata__": about}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "garbage": os.urandom(5000)}[harm])
    for each in (token, bob):
        with pytest.raises(UnknownToken):
            cache.get(each)
    assert token not in [info.token for info in cache.list("ann")]
    maker = Maker()
    assert cache.register("ann", KEY, maker)[0] == token
    assert maker.calls == 1
    assert equal(cache.get(token), avatar())
    assert equal(cache.get(bob), avatar())


def test_every_flipped_byte_is_noticed(cache: AvatarCache, tmp_path: Path) -> None:
    token, _ = cache.register("ann", KEY, lambda: avatar(KEY, {"a": np.arange(9, dtype=np.float32)}))
    whole = value(tmp_path).read_bytes()
    unharmed = 0
    for place in range(len(whole)):
        flip(value(tmp_path), place)
        try:
            unharmed += np.array_equal(cache.get(token).arrays["a"], np.arange(9))
        except UnknownToken:
            pass
        else:
            assert whole[place : place + 1] == b" " or place < 8
        value(tmp_path).write_bytes(whole)
    assert unharmed <= 16  # spaces of the header


class Trap:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_planted_pickle_is_removed_and_never_run(cache: AvatarCache, tmp_path: Path) -> None:
    token, _ = cache.register("ann", KEY, Maker())
    sprung, kept = tmp_path / "sprung", tmp_path / "kept"
    kept.write_text("mine")
    trap = pickle.dumps(Trap(sprung))
    database = tmp_path / "avatars" / "index" / "cache.db"
    (tmp_path / "avatars" / "index" / "trap.val").write_bytes(trap)
    groups = f"owner:{hashed('ann')}", f"value:{KEY}"
    plants = [  # mode, filename, value
        (4, None, trap),
        (4, "trap.val", None),
        (3, "../../kept", None),
        (2, "../../kept", None),
        (1, None, trap),
        (1, None, "no json"),
        (1, None, '{"owner": "x", "key": "../../kept", "label": "", "created": 0, "used": 0}'),
    ]
    for mode, filename, content in plants:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(
                "UPDATE Cache SET mode = ?, filename = ?, value = ? WHERE key IN (?, ?, ?)",
                (mode, filename, content, token, *groups),
            )
            connection.execute(
                "INSERT OR REPLACE INTO Cache (key, raw, mode, value) VALUES (?, 0, 4, ?)", (trap, trap)
            )
        with pytest.raises(UnknownToken):
            cache.get(token)
        assert cache.list("ann") == []
        assert cache.clear("ann") == 0
        with closing(sqlite3.connect(database)) as connection:
            assert not connection.execute("SELECT 1 FROM Cache WHERE key = ?", (token,)).fetchall()
        AvatarCache(tmp_path / "avatars").close()  # its sweep reads rows too
        token, _ = cache.register("ann", KEY, Maker())
        assert cache.get(token)
    assert not sprung.exists()
    assert kept.read_text() == "mine"


def test_the_trap_would_spring_in_a_plain_diskcache(tmp_path: Path) -> None:
    with closing(Cache(str(tmp_path / "plain"))) as plain:
        plain["x"] = Trap(tmp_path / "sprung")
        plain["x"]
    assert (tmp_path / "sprung").exists()


def test_the_disk_knows_text_alone(tmp_path: Path) -> None:
    disk = TextDisk(str(tmp_path))
    assert disk.get(*disk.put("key")) == "key"
    for key in (1, b"x", ("a",), None):
        with pytest.raises(TypeError):
            disk.put(key)
    for content in (1, b"x", ["a"], None):
        with pytest.raises(TypeError):
            disk.store(content, False)
    with pytest.raises(TypeError):
        disk.store("text", True)
    for bad in (("key", False), (b"key", True)):
        with pytest.raises(CorruptRow):
            disk.get(*bad)


def test_a_broken_index_starts_anew(tmp_path: Path) -> None:
    with closing(AvatarCache(tmp_path / "avatars")) as cache:
        token, _ = cache.register("ann", KEY, Maker())
    database = tmp_path / "avatars" / "index" / "cache.db"
    for content in (b"no database" * 1000, database.read_bytes()[:4096] + b"\xff" * 20_000):
        database.write_bytes(content)
        with closing(AvatarCache(tmp_path / "avatars")) as cache:
            with pytest.raises(UnknownToken):
                cache.get(token)
            assert values(tmp_path) == []  # no token names it any more
            assert cache.get(cache.register("ann", KEY, Maker())[0])


def test_an_index_that_cannot_be_opened_is_an_error_not_a_loss(tmp_path: Path) -> None:
    (tmp_path / "avatars" / "index" / "cache.db").mkdir(parents=True)
    with pytest.raises(StoreFailed, match="index"):
        AvatarCache(tmp_path / "avatars")


def test_a_commit_that_fails_does_not_block_the_next(tmp_path: Path) -> None:
    """SQLite may keep a transaction open whose commit failed; a broken reference makes it do so."""
    with closing(Index(tmp_path / "index")) as index:
        sql = index._cache._sql
        sql("PRAGMA foreign_keys = ON")
        sql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        sql("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(StoreFailed), index.transaction():
            index.write("a", "lost", None)
            sql("INSERT INTO child VALUES (1)")
        assert index.read("a") is None
        index.write("a", "kept", None)
        assert index.read("a") == "kept"


def test_an_index_that_stays_locked(cache: AvatarCache, tmp_path: Path) -> None:
    token, _ = cache.register("ann", KEY, Maker())
    cache._index._cache.close()
    cache._index._cache._timeout = 0.1
    with closing(sqlite3.connect(tmp_path / "avatars" / "index" / "cache.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed, match="locked"):
            cache.get(token)
        other.rollback()
    assert cache.get(token)


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_leaves_nothing_half_written(
    cache: AvatarCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(avatar_files.os, call, full)
        with pytest.raises(StoreFailed, match="No space left on device"):
            cache.register("ann", KEY, Maker())
    assert values(tmp_path) == []
    assert cache.clear("ann") == 0
    assert cache.register("ann", KEY, Maker())


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: stands for a full disk, for SQLite's files too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_writes_that_fail_at_any_length(cache: AvatarCache, tmp_path: Path) -> None:
    failed = 0
    for limit in range(0, 200_000, 7_001):
        try:
            with files_up_to(limit):
                token, _ = cache.register("ann", KEY, lambda: sized(KEY, 150_000))
            cache.delete("ann", token)
        except StoreFailed:
            failed += 1
        assert values(tmp_path) == []
        assert cache.list("ann") == []
    assert failed >= 20
    assert cache.get(cache.register("ann", KEY, lambda: sized(KEY, 150_000))[0])


def test_a_lock_that_cannot_be_made(cache: AvatarCache, tmp_path: Path) -> None:
    locks = tmp_path / "avatars" / "locks"
    (locks / "ab.lock").mkdir()
    with pytest.raises(StoreFailed, match="lock"):
        cache.register("ann", KEY, Maker())


# --- one maker, many askers ---


def test_threads_make_a_key_once(cache: AvatarCache) -> None:
    maker, tokens = Maker(), []

    def slow() -> RegisteredAvatar:
        time.sleep(0.2)
        return maker()

    def ask(owner: str) -> None:
        tokens.append(cache.register(owner, KEY, slow)[0])

    threads = [threading.Thread(target=ask, args=(owner,)) for owner in ("ann", "ann", "bob", "ann")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert maker.calls == 1
    assert len(tokens) == 4
    assert len(set(tokens)) == 2


def test_a_hanging_registration_is_not_waited_for_for_ever(
    cache: AvatarCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avatar_cache, "_PATIENCE_S", 0.1)
    inside, go = threading.Event(), threading.Event()

    def hangs() -> RegisteredAvatar:
        inside.set()
        go.wait(10)
        return avatar()

    thread = threading.Thread(target=cache.register, args=("ann", KEY, hangs))
    thread.start()
    inside.wait(10)
    try:
        with pytest.raises(ComputeError, match="still being registered"):
            cache.register("bob", KEY, Maker())
    finally:
        go.set()
        thread.join()
    assert cache.register("bob", KEY, unused)


def test_deleting_while_another_registers_keeps_the_value(cache: AvatarCache) -> None:
    ann, _ = cache.register("ann", KEY, Maker())
    entered: list[bool] = []
    real = cache._files.load

    def load(key: str) -> RegisteredAvatar | None:
        loaded = real(key)
        if not entered:
            entered.append(True)
            cache.delete("ann", ann)  # between bob's look and his token's being handed out
        return loaded

    cache._files.load = load  # type: ignore[method-assign]
    bob, _ = cache.register("bob", KEY, unused)
    assert cache.get(bob)


def test_a_token_deleted_while_it_is_registered_is_simply_gone(cache: AvatarCache) -> None:
    def make() -> RegisteredAvatar:
        cache.clear("ann")
        raise NoFace("no face")

    with pytest.raises(NoFace):
        cache.register("ann", KEY, make)
    assert cache.clear("ann") == 0


def start(code: str, *args: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


CHILD = """
import sys, time
from pathlib import Path
import numpy as np
from core.optimization.avatar_cache import AvatarCache
from core.types import RegisteredAvatar
cache = AvatarCache(Path(sys.argv[1]))
def make(key, size):
    return RegisteredAvatar(key, "fake", True, 1, (1, 1), {"blob": np.ones(size, np.uint8)})
"""
ASKER = (
    CHILD
    + """
def slow():
    with open(sys.argv[2], "a") as log: log.write("made\\n")
    time.sleep(0.3)
    return make("ab" * 20, 10)
print(cache.register(sys.argv[3], "ab" * 20, slow)[0])
"""
)


def test_processes_make_a_key_once_and_share_it(cache: AvatarCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    askers = [start(ASKER, tmp_path / "avatars", log, owner) for owner in ("ann", "ann", "bob")]
    tokens = [asker.communicate(timeout=60)[0].strip() for asker in askers]
    assert log.read_text() == "made\n"
    assert tokens[0] == tokens[1] != tokens[2]
    for token in tokens:
        assert cache.get(token).arrays["blob"].tolist() == [1] * 10


WRITER = (
    CHILD
    + """
print("ready", flush=True)
for index in range(int(sys.argv[2]), 10**6):
    key = f"{index:08x}"
    cache.register("ann", key, lambda: make(key, 400_000))
    if index % 3 == 0:
        cache.clear("ann")
"""
)


def test_killed_while_writing(tmp_path: Path) -> None:
    root = tmp_path / "avatars"
    rng = np.random.default_rng(0)
    for turn in range(6):
        with start(WRITER, root, turn * 1000 + 1) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.06))
            writer.send_signal(signal.SIGKILL)
        began = time.perf_counter()
        with closing(AvatarCache(root)) as cache:
            assert time.perf_counter() - began < 3
            listed = cache.list("ann")
            for info in listed:
                assert cache.get(info.token).arrays["blob"].nbytes == 400_000
            assert len(values(tmp_path)) == len(listed)  # no orphan, no half
            assert not list((root / "values").glob("*.tmp"))


def test_the_sweep_spares_what_a_live_process_writes(tmp_path: Path) -> None:
    root = tmp_path / "avatars"
    with closing(AvatarCache(root)) as cache:
        other = value(tmp_path, OTHER).with_suffix(".00.tmp")
        other.write_bytes(b"left by the dead")
        (root / "values" / "notes.txt").write_text("not ours")
        inside: list[bool] = []

        def make() -> RegisteredAvatar:
            mine = value(tmp_path).with_suffix(".11.tmp")
            mine.write_bytes(b"under way")
            AvatarCache(root).close()
            inside.extend((mine.exists(), other.exists()))
            mine.unlink()
            return avatar()

        cache.register("ann", KEY, make)
        assert inside == [True, False]
        assert (root / "values" / "notes.txt").exists()


def test_a_value_that_vanishes_during_the_trim(
    cache: AvatarCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.register("ann", KEY, Maker())
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([tmp_path / "gone.safetensors"]))
    cache._files.trim()
