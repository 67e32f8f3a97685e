"""Checkpoints are used as they are, fetched when they are missing, and never used unchecked."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from core.checkpoints.catalogue import REPOSITORY, VARIANTS, find_variant
from core.checkpoints.check import Progress
from core.checkpoints.hub import Hub
from core.checkpoints.provide import Checkpoints, download, ensure, locate, verify
from core.errors import BadOption, CorruptCheckpoint, EngineUnavailable, MissingCheckpoint
from core.networks import AUX_NETWORKS, MAIN_NETWORKS
from core.settings import Settings
from tests.fake_hub import FIRST, SECOND, FakeHub, published, serving

ONNX = find_variant("ditto-onnx")
WARP = "ditto_onnx/warp_network.onnx"
CONFIG = "ditto_cfg/v0.4_hubert_cfg_trt.pkl"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving(FakeHub()) as served:
        yield served


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Empty folders for everything; the Hugging Face cache is one of them."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    return Settings(home=tmp_path / "home")


def at(hub: FakeHub) -> Hub:
    return Hub(hub.endpoint)


def lay(folder: Path, paths: dict[str, bytes] | None = None) -> Path:
    """A folder as a clone of the repository would be."""
    for path, content in (published() if paths is None else paths).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def assert_right(made: Checkpoints, contents: dict[str, bytes]) -> None:
    paths = {asset.role: asset.path for asset in VARIANTS[made.variant].assets}
    for role, path in made.files.items():
        assert path.read_bytes() == contents[paths[role]], role


def test_every_variant_has_a_file_for_every_network() -> None:
    for variant in VARIANTS.values():
        roles = [asset.role for asset in variant.files("research")]
        assert len(roles) == len(set(roles))
        wanted = {network.name for network in (*MAIN_NETWORKS, *AUX_NETWORKS)}
        if variant.name == "ditto-pytorch":
            wanted = wanted - {"blaze_face", "face_mesh"} | {"face_landmarker"}
        assert wanted | {"config"} <= set(roles)


def test_the_commercial_profile_leaves_out_the_insightface_models() -> None:
    for variant in VARIANTS.values():
        left_out = set(variant.files("research")) - set(variant.files("commercial"))
        assert {asset.role for asset in left_out} == {"insightface_det", "landmark106"}
        assert all("non-commercial" in asset.licence for asset in left_out)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(BadOption, match=r"'ditto'.*ditto-onnx"):
        find_variant("ditto")


@pytest.mark.parametrize("name", list(VARIANTS))
def test_missing_files_are_fetched_once(name: str, hub: FakeHub, settings: Settings) -> None:
    variant = VARIANTS[name]
    heard: list[Progress] = []
    made = ensure(variant, settings, heard.append, at(hub))
    assert_right(made, hub.commits[FIRST])
    assert (made.commit, set(made.files)) == (FIRST, {asset.role for asset in variant.assets})
    assert sorted(hub.fetched()) == sorted(asset.path for asset in variant.assets)
    total = sum(len(hub.commits[FIRST][asset.path]) for asset in variant.assets)
    assert heard[-1][2:] == (total, total)
    done = [progress.done for progress in heard if progress.stage == "download"]
    assert done == sorted(done)
    hub.requests.clear()
    assert ensure(variant, settings, hub=at(hub)).files == made.files
    assert hub.requests == []


def test_the_commercial_profile_fetches_no_insightface_model(hub: FakeHub, settings: Settings) -> None:
    made = ensure(ONNX, settings.model_copy(update={"license_profile": "commercial"}), hub=at(hub))
    assert not {"insightface_det", "landmark106"} & set(made.files)
    assert not any("insightface" in path or "landmark106" in path for path in hub.fetched())


def test_a_folder_of_choice_travels_with_its_record(
    hub: FakeHub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = download(ONNX, settings, to=tmp_path / "there", hub=at(hub))
    assert made.files["warp_network"] == tmp_path / "there" / WARP
    shutil.copytree(tmp_path / "there", tmp_path / "elsewhere")  # the times of the files become others
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    moved = Settings(home=tmp_path / "other_home", models=tmp_path / "elsewhere")
    assert_right(ensure(ONNX, moved), hub.commits[FIRST])
    (tmp_path / "elsewhere" / WARP).write_bytes(b"x" * len(hub.commits[FIRST][WARP]))
    with pytest.raises(
        CorruptCheckpoint, match=r"warp_network.onnx has the hash .*, expected .*HF_HUB_OFFLINE"
    ):
        ensure(ONNX, moved)
    assert hub.requests == []


def test_the_recorded_commit_stays_until_another_is_asked_for(hub: FakeHub, settings: Settings) -> None:
    ensure(ONNX, settings, hub=at(hub))
    hub.commits[SECOND] = {**published(), WARP: b"a newer network"}
    hub.branches["main"] = SECOND
    assert ensure(ONNX, settings, hub=at(hub)).commit == FIRST
    assert download(VARIANTS["ditto-pytorch"], settings, hub=at(hub)).commit == FIRST
    made = download(ONNX, settings, revision="main", hub=at(hub))
    assert made.commit == SECOND
    assert made.files["warp_network"].read_bytes() == b"a newer network"
    assert download(ONNX, settings, revision=FIRST, hub=at(hub)).commit == FIRST
    assert ensure(ONNX, settings, hub=at(hub)).commit == FIRST


def test_a_revision_that_is_not_there_is_the_askers_mistake(hub: FakeHub, settings: Settings) -> None:
    with pytest.raises(BadOption, match="no revision 'nightly'"):
        download(ONNX, settings, revision="nightly", hub=at(hub))


def test_a_folder_beside_is_used_as_it_is(hub: FakeHub, settings: Settings, tmp_path: Path) -> None:
    lay(tmp_path / "checkpoints")
    before = sorted((tmp_path / "checkpoints").rglob("*"))
    made = ensure(ONNX, settings, hub=at(hub))
    assert made.files["config"] == Path("checkpoints") / CONFIG
    assert (made.commit, hub.fetched()) == (FIRST, [])
    assert sorted((tmp_path / "checkpoints").rglob("*")) == before, "nothing is written into it"
    hub.requests.clear()
    ensure(ONNX, settings, hub=at(hub))
    assert hub.requests == [], "the hub is asked once"


def test_a_folder_beside_that_is_not_whole_is_left_alone(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    lay(tmp_path / "checkpoints", {CONFIG: b"another"})
    made = ensure(ONNX, settings, hub=at(hub))
    assert tmp_path / "hf" in made.files["config"].parents
    assert (tmp_path / "checkpoints" / CONFIG).read_bytes() == b"another"


def test_what_nobody_needs_may_be_missing(settings: Settings, tmp_path: Path) -> None:
    pytorch = VARIANTS["ditto-pytorch"]
    needed = [asset.path for asset in pytorch.assets if asset.needed]
    lay(tmp_path / "checkpoints", {path: published()[path] for path in needed})
    offline = settings.model_copy(update={"download": "never"})
    assert "config_online" not in ensure(pytorch, offline).files
    assert {finding.state for finding in verify(pytorch, offline)} == {"unknown"}


def test_a_foreign_folder_is_used_unchecked_where_the_hub_is_away(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path / "checkpoints")
    with caplog.at_level(logging.WARNING):
        made = ensure(ONNX, settings, hub=Hub("http://127.0.0.1:9"))
    assert (made.commit, len(made.files)) == ("", len(ONNX.assets))
    assert "cannot be reached" in caplog.text


def test_a_foreign_folder_with_a_wrong_file_is_refused_and_left_alone(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    folder = lay(tmp_path / "mine")
    (folder / WARP).write_bytes(b"mine")
    (folder / CONFIG).unlink()
    with pytest.raises(CorruptCheckpoint, match=r"has 4 bytes, expected \d+.*model_manager.py download"):
        ensure(ONNX, settings.model_copy(update={"models": folder}), hub=at(hub))
    assert (folder / WARP).read_bytes() == b"mine"
    made = download(ONNX, settings, to=folder, hub=at(hub))
    assert_right(made, hub.commits[FIRST])
    assert sorted(hub.fetched()) == sorted([WARP, CONFIG])


def test_a_foreign_folder_may_be_brought_to_a_newer_commit(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    folder = lay(tmp_path / "checkpoints")
    ensure(ONNX, settings, hub=at(hub))
    hub.commits[SECOND] = {**published(), WARP: b"a newer network"}
    hub.branches["main"] = SECOND
    lay(folder, {WARP: b"a newer network"})
    assert ensure(ONNX, settings, hub=at(hub)).commit == SECOND


def test_the_pointer_of_a_clone_without_lfs_is_told(settings: Settings, tmp_path: Path) -> None:
    folder = lay(tmp_path / "checkpoints")
    (folder / WARP).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(CorruptCheckpoint, match=r"warp_network.onnx is the pointer .* git lfs pull"):
        ensure(ONNX, settings.model_copy(update={"download": "never"}))


def test_an_empty_file_is_not_used(settings: Settings, tmp_path: Path) -> None:
    (lay(tmp_path / "checkpoints") / WARP).write_bytes(b"")
    with pytest.raises(CorruptCheckpoint, match=r"warp_network.onnx is empty"):
        ensure(ONNX, settings.model_copy(update={"download": "never"}))


@pytest.mark.parametrize("switch", ["never", "offline"])
def test_offline_nothing_is_asked(
    switch: str, hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ensure(ONNX, settings, hub=at(hub))
    hub.requests.clear()
    if switch == "never":
        settings = settings.model_copy(update={"download": "never"})
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ensure(ONNX, settings, hub=at(hub)).files == made.files
    assert {finding.state for finding in verify(ONNX, settings, hub=at(hub))} == {"right"}
    with pytest.raises(MissingCheckpoint, match=r"is not in .* Unset (VISAVIS_DOWNLOAD|HF_HUB_OFFLINE)"):
        ensure(VARIANTS["ditto-pytorch"], settings, hub=at(hub))
    with pytest.raises(EngineUnavailable, match="may not be fetched"):
        download(ONNX, settings, hub=at(hub))
    assert hub.requests == []


def test_on_request_means_on_request(hub: FakeHub, settings: Settings) -> None:
    ask = settings.model_copy(update={"download": "ask"})
    with pytest.raises(MissingCheckpoint, match=r"model_manager.py download ditto-onnx"):
        ensure(ONNX, ask, hub=at(hub))
    assert hub.requests == []
    download(ONNX, ask, hub=at(hub))
    assert_right(ensure(ONNX, ask, hub=at(hub)), hub.commits[FIRST])


def test_what_another_program_fetched_is_used_without_a_request(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    download(ONNX, settings, hub=at(hub))
    (tmp_path / "home" / "models" / "hub.json").unlink()
    refs = tmp_path / "hf" / f"models--{REPOSITORY.replace('/', '--')}" / "refs"
    refs.mkdir()
    (refs / "main").write_text(FIRST)
    hub.requests.clear()
    made = ensure(ONNX, settings, hub=at(hub))
    assert (made.commit, hub.requests) == (FIRST, [])
    made.files["decoder"].resolve().write_bytes(b"flipped")
    with pytest.raises(CorruptCheckpoint, match=r"decoder.onnx has the hash"):
        ensure(ONNX, settings.model_copy(update={"download": "ask"}), hub=at(hub))
    assert_right(ensure(ONNX, settings, hub=at(hub)), hub.commits[FIRST])
    assert hub.fetched() == ["ditto_onnx/decoder.onnx"]


def test_verify_reads_every_byte_again(hub: FakeHub, settings: Settings) -> None:
    made = ensure(ONNX, settings, hub=at(hub))
    path = made.files["warp_network"].resolve()
    found = path.stat()
    path.write_bytes(bytes(found.st_size))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # a fault of the disk changes no time
    ensure(ONNX, settings, hub=at(hub))
    states = {finding.asset.path: finding.state for finding in verify(ONNX, settings, hub=at(hub))}
    assert {path for path, state in states.items() if state != "right"} == {WARP}
    assert_right(ensure(ONNX, settings, hub=at(hub)), hub.commits[FIRST])


def test_verify_asks_the_hub_for_what_it_does_not_know(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    (lay(tmp_path / "mine") / WARP).unlink()
    findings = verify(ONNX, settings, to=tmp_path / "mine", hub=at(hub))
    assert [each.asset.path for each in findings if each.state == "missing"] == [WARP]
    assert sum(each.state == "right" for each in findings) == len(ONNX.assets) - 1
    assert hub.fetched() == []


def test_a_record_that_cannot_be_read_is_made_anew(
    hub: FakeHub, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = ensure(ONNX, settings, hub=at(hub))
    hub.requests.clear()
    for text in ("{", '{"format": 9}', "[]"):
        (tmp_path / "home" / "models" / "hub.json").write_text(text)
        assert ensure(ONNX, settings, hub=at(hub)).files == made.files
        assert "cannot be read" in caplog.text
        caplog.clear()
    assert hub.fetched() == []


def test_a_look_around_changes_nothing(hub: FakeHub, settings: Settings, tmp_path: Path) -> None:
    place, record, paths = locate(ONNX, settings)
    assert (record.commit, len(paths)) == ("", len(ONNX.assets))
    assert not any(path.exists() for path in paths.values())
    assert not place.folder.exists() and not (tmp_path / "home").exists()
