"""Ditto's configuration: read without running anything, checked by name, kept value for value."""

import copyreg
import io
import logging
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from core.engines.ditto import config_file, unpickle
from core.engines.ditto.config import DittoConfig
from core.engines.ditto.config_file import backend_of, find_file, load, read_published, save
from core.engines.ditto.unpickle import read_pickle
from core.errors import CorruptCheckpoint, EngineUnavailable, MissingCheckpoint, StoreFailed

rng = np.random.default_rng(3)


def rows(n: int, width: int, kind: type = np.float32) -> np.ndarray:
    return rng.normal(0, 1, (n, width)).astype(kind)


def character(n: int = 2) -> dict[str, Any]:
    """A reference character as a registered source is kept upstream, pictures and all."""
    widths = {"scale": 1, "pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 63, "kp": 63}
    return {
        "x_s_info_lst": [{name: rows(1, width) for name, width in widths.items()} for _ in range(n)],
        "f_s_lst": [rows(1, 32)] * n,
        "M_c2o_lst": [np.eye(3)] * n,
        "eye_open_lst": [rows(1, 2) for _ in range(n)],
        "eye_ball_lst": [rows(1, 6) for _ in range(n)],
        "sc": rows(1, 63)[0],
        "is_image_flag": False,
        "img_rgb_lst": [np.zeros((4, 4, 3), np.uint8)] * n,
    }


def published() -> dict[str, Any]:
    """A tree with everything that the published online file is said to have."""
    aux = {"device": "cuda", "force_ori_type": True}
    base = {
        f"{name}_cfg": {"model_path": f"aux_models/{name}.onnx", **aux}
        for name in ("insightface_det", "landmark106", "landmark203", "hubert")
    }
    base |= {
        f"{name}_cfg": {"model_path": f"models/{name}.pth", "device": "cuda"}
        for name in ("appearance_extractor", "motion_extractor", "stitch_network", "warp_network", "decoder")
    }
    base["landmark478_cfg"] = {"task_path": "aux_models/face_landmarker.task", **aux}
    base["wavlm_cfg"] = {"model_path": "wavlm.onnx", "device": "cuda"}
    least = rows(4, 265)
    least[1] = least[0] + 1
    return {
        "base_cfg": base,
        "audio2motion_cfg": {
            "model_path": "models/lmdm_v0.4_hubert.pth", "device": "cuda", "motion_feat_dim": 265,
            "audio_feat_dim": 1103, "seq_frames": 80, "use_emo": True, "use_sc": True,
            "use_eye_open": True, "use_eye_ball": True, "w2f_type": "hubert",
        },
        "default_kwargs": {
            "overlap_v2": 70, "sampling_timesteps": np.int64(10), "fix_kp_cond": 1,
            "fix_kp_cond_dim": [0, 202], "smo_k_d": 3, "overall_ctrl_info": {"delta_pitch": 2},
            "emo": rows(600, 8, np.float64), "delta_eye_arr": rows(15, 63), "v_min_max_for_clip": least,
            "ch_info": character(), "online_mode": True, "crop_scale": np.float64(2.3), "drive_eye": None,
            "delta_eye_open_n": [60, 100], "use_d_keys": ("exp", "yaw"), "ctrl_info": {3: {"delta_yaw": 1}},
        },
    }  # fmt: skip


def written(path: Path, tree: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cfg.pkl"


def plain(config: DittoConfig) -> dict[str, Any]:
    """The configuration as a flat dict in which arrays are bytes, kinds and shapes."""

    def flat(tree: dict[Any, Any], path: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in tree.items():
            if isinstance(value, dict):
                out |= flat(value, f"{path}{name}.") or {f"{path}{name}": {}}
            elif isinstance(value, np.ndarray):
                out[f"{path}{name}"] = (value.dtype.str, value.shape, value.tobytes())
            else:
                out[f"{path}{name}"] = (type(value), value)
        return out

    return flat(config.model_dump(exclude_unset=True), "")


# --- what is read ---


def test_the_published_form_is_read(file: Path) -> None:
    tree = published()
    config = read_published(written(file, tree))
    given, kept = tree["default_kwargs"], config.default_kwargs
    assert (kept.overlap_v2, kept.sampling_timesteps, kept.fix_kp_cond_dim) == (70, 10, (0, 202))
    assert kept.overall_ctrl_info.delta_pitch == 2
    assert kept.use_d_keys == {"exp": 1.0, "yaw": 1.0}
    assert kept.ctrl_info[3].delta_yaw == 1
    assert kept.model_fields_set == given.keys()
    assert (kept.smo_k_s, kept.emo.dtype) == (13, np.float64)  # type: ignore[union-attr]
    for name in ("emo", "delta_eye_arr", "v_min_max_for_clip"):
        assert np.array_equal(getattr(kept, name), given[name])
        assert not getattr(kept, name).flags.writeable
    person, source = kept.ch_info, given["ch_info"]
    assert person is not None
    assert np.array_equal(person.exp, np.concatenate([info["exp"] for info in source["x_s_info_lst"]]))
    assert np.array_equal(person.eye_ball, np.concatenate(source["eye_ball_lst"]))
    assert np.array_equal(person.sc, source["sc"])
    assert config.audio2motion_cfg.audio_feat_dim == 1103


def test_models_are_told_by_their_role(file: Path) -> None:
    tree = published()
    config = read_published(written(file, tree))
    files = config.files()
    assert files["decoder"] == "models/decoder.pth"
    assert files["lmdm"] == "models/lmdm_v0.4_hubert.pth"
    assert files["face_landmarker"] == "aux_models/face_landmarker.task"
    assert len(files) == 11
    tree["base_cfg"]["landmark478_cfg"] = {
        "blaze_face_model_path": "b.engine", "face_mesh_model_path": "m.engine", "device": "cuda"
    }  # fmt: skip
    files = read_published(written(file, tree)).files()
    assert (files["blaze_face"], files["face_mesh"]) == ("b.engine", "m.engine")
    assert "face_landmarker" not in files


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_every_protocol_gives_the_same(file: Path, protocol: int) -> None:
    tree = {
        "a": np.asfortranarray(rows(3, 4)), "big": np.arange(3, dtype=">f8"), "none": np.zeros((0, 3)),
        "point": np.array(2.5), "s": np.float32(0.1), "b": np.bool_(True),
        "i": [1, -300, 70_000, 2**80, -(2**40)],
        "t": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "é": [None, True, False, 1e-300], 5: {},
    }  # fmt: skip
    shared = rows(2, 2)
    tree["twice"] = [shared, shared]
    back = read_pickle(written(file, tree, protocol))
    assert isinstance(back, dict)
    assert back.keys() == tree.keys()
    for name in ("a", "big", "none", "point"):
        assert back[name].dtype.kind == "f"
        assert np.array_equal(back[name], tree[name])
    assert (back["s"], back["b"], back["i"]) == (float(np.float32(0.1)), True, tree["i"])
    assert (back["t"], back["é"]) == (tree["t"], tree["é"])
    assert all(np.array_equal(each, shared) for each in back["twice"])


def test_both_spellings_of_numpy_are_read(file: Path) -> None:
    data = pickle.dumps({"a": rows(2, 3), "s": np.float64(1.5)}, 3).replace(b"numpy._core.", b"numpy.core.")
    for spelt in (data, data.replace(b"numpy.core.", b"numpy._core.")):
        file.write_bytes(spelt)
        back = read_pickle(file)
        assert isinstance(back, dict)
        assert (back["a"].shape, back["s"]) == ((2, 3), 1.5)


# --- what is refused: the pickle ---


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def text(word: str) -> bytes:
    return b"\x8c" + bytes([len(word)]) + word.encode()


class Persistent(pickle.Pickler):
    def persistent_id(self, value: object) -> str | None:
        return "os.system" if value == "planted" else None


def persistent(protocol: int) -> bytes:
    out = io.BytesIO()
    Persistent(out, protocol).dump(["planted"])
    return out.getvalue()


MARK_FILE = "touched"
TOUCH = f"touch {MARK_FILE}"
ARRAY = np.zeros(2)
ARRAY_STATE = ARRAY.__reduce__()
OBJECTS = np.dtype("O")
PLANTED = pickle.dumps(Reduced(os.system, (TOUCH,)))


def raw(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


HOSTILE: dict[str, tuple[bytes, str]] = {
    "reduce": (b"\x80\x04}" + text("base_cfg") + PLANTED[2:-1] + b"s.", r"posix\.system|os\.system"),
    "global": (b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(TOUCH)) + TOUCH.encode() + b"\x85R.",
               r"os\.system"),
    "stack global": (raw(text("os") + text("system") + b"\x93" + text(TOUCH) + b"\x85R"), r"os\.system"),
    "made name": (raw(text("builtins") + text("eval") + b"\x93" + text("1") + b"\x85R"), r"builtins\.eval"),
    "dotted name": (raw(text("numpy") + text("os.system") + b"\x93" + text(TOUCH) + b"\x85R"),
                    r"numpy\.os\.system"),
    "getattr": (pickle.dumps(Reduced(getattr, (1, "real"))), r"builtins\.getattr"),
    "inst": (b"(S'" + TOUCH.encode() + b"'\nios\nsystem\n.", "INST|STRING"),
    "inst alone": (b"\x80\x02(ios\nsystem\n.", "INST"),
    "obj": (b"\x80\x02(cnumpy\ndtype\nX\x02\x00\x00\x00f8o.", "OBJ"),
    "newobj": (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85\x81.", "NEWOBJ"),
    "newobj ex": (raw(b"cnumpy\ndtype\n)}\x92"), "NEWOBJ_EX"),
    "build on a dict": (raw(b"}}" + text("__setstate__") + text("x") + b"sb"), "changes a dict"),
    "build on a name": (raw(b"cnumpy\ndtype\n}b"), "changes a _Known"),
    "persistent id": (persistent(2), "BINPERSID"),
    "persistent id in text": (persistent(0), "PERSID|LIST"),
    "set": (pickle.dumps({1, 2}, 4), "EMPTY_SET"),
    "bytes": (pickle.dumps([b"x"], 4), "bytes"),
    "complex": (pickle.dumps(1j, 4), r"builtins\.complex"),
    "class": (pickle.dumps(Path, 4), r"pathlib"),
    "a bare known name": (raw(b"cnumpy\ndtype\n"), r"numpy\.dtype"),
    "call of ndarray": (raw(b"cnumpy\nndarray\n(K\x02\x85tR"), r"numpy\.ndarray"),
    "call of text": (raw(text("os.system") + text(TOUCH) + b"\x85R"), "calls a str"),
    "object array": (pickle.dumps(np.array([Reduced(os.system, (TOUCH,))], object), 4), "'O8'|system"),
    "object scalar": (
        pickle.dumps(Reduced(np.float64(1).__reduce__()[0], (OBJECTS, PLANTED))),
        "'O8'",
    ),
    "structured array": (pickle.dumps(np.zeros(2, [("a", "f4")]), 4), "'V4'"),
    "text array": (pickle.dumps(np.array(["ab"]), 4), "'U2'"),
    "dates": (pickle.dumps(np.array(["2020"], "M8[Y]"), 4), "'M8'"),
    "short content": (
        pickle.dumps(Reduced(*ARRAY_STATE[:2], (1, (3,), ARRAY.dtype, False, bytes(16))), 4), "do not fit"
    ),
    "negative shape": (
        pickle.dumps(Reduced(*ARRAY_STATE[:2], (1, (-1, -2), ARRAY.dtype, False, bytes(16))), 4), "not plain"
    ),
    "array of a list": (
        pickle.dumps(Reduced(*ARRAY_STATE[:2], (1, (2,), ARRAY.dtype, False, [1, 2])), 4), "wrong parts"
    ),
    "masked array": (pickle.dumps(np.ma.masked_array([1.0]), 4), r"numpy\.ma"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_nothing_runs(
    name: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, says = HOSTILE[name]
    file.write_bytes(data)
    with pytest.raises(CorruptCheckpoint, match=says):
        read_published(file)
    assert not (tmp_path / MARK_FILE).exists()


def test_extension_codes_are_refused_even_where_they_are_in_use(file: Path) -> None:
    copyreg.add_extension("os", "system", 0x7E)
    try:
        file.write_bytes(b"\x80\x02\x82\x7eX" + struct.pack("<I", len(TOUCH)) + TOUCH.encode() + b"\x85R.")
        with pytest.raises(CorruptCheckpoint, match="EXT1"):
            read_pickle(file)
    finally:
        copyreg.remove_extension("os", "system", 0x7E)


def test_bombs_are_refused_early(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laughs = b"\x80\x02]" + b"(" + b"K\x01" * 10 + b"e\x94"
    for level in range(12):  # each list holds the one before ten times
        laughs += b"](" + (b"h" + bytes([level])) * 10 + b"e\x94"
    file.write_bytes(laughs + b"].")
    with pytest.raises(CorruptCheckpoint):
        read_pickle(file)
    file.write_bytes(laughs[:-1] + b"\x94.")
    with pytest.raises(CorruptCheckpoint):
        read_pickle(file)
    itself: list[object] = []
    itself.append(itself)
    with pytest.raises(CorruptCheckpoint, match="nested"):
        read_pickle(written(file, itself))
    deep: list[object] = []
    for _ in range(20):
        deep = [deep]
    with pytest.raises(CorruptCheckpoint, match="nested"):
        read_pickle(written(file, deep))
    with pytest.raises(CorruptCheckpoint, match="too many"):
        read_pickle(written(file, [np.zeros(1_000_000, np.uint8)] * 40))
    wide = [1] * 1000
    wider = [wide] * 1000
    with pytest.raises(CorruptCheckpoint, match="too many"):
        read_pickle(written(file, [wider] * 100))
    monkeypatch.setattr(unpickle, "MAX_BYTES", 100)
    with pytest.raises(CorruptCheckpoint, match="larger"):
        read_pickle(written(file, list(range(100))))


@pytest.mark.parametrize(
    "data",
    [b"", b".", b"\x80\x04", b"\x80\x04.", b"\x80\x04NN.", b"\x80\x04h\x05.", b"\x80\x04t.", b"\x80\x04R.",
     b"\x80\x04}]Ns.", b"\x80\x04}Nb.", b"\x80\x04(N\x85.", b"PK\x03\x04", b"\xff" * 50,
     b"\x80\x04\x8d" + b"\xff" * 8,
     b"\x80\x04\x93.", b"\x80\x04NN\x93.", b"version https://git-lfs.github.com/spec/v1\n"],
)  # fmt: skip
def test_what_is_no_pickle_is_told(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(CorruptCheckpoint, match=r"cfg\.pkl"):
        read_pickle(file)


def test_every_cut_and_many_changes_end_in_our_error_or_a_value(file: Path) -> None:
    whole = pickle.dumps({"a": rows(2, 2), "s": np.float32(1), "l": [1, (2, "x")]}, 4)
    picked = np.random.default_rng(0)
    cases = [whole[:end] for end in range(len(whole))]
    for _ in range(1000):
        changed = bytearray(whole)
        changed[picked.integers(len(whole))] = picked.integers(256)
        cases.append(bytes(changed))
    read = 0
    for data in cases:
        file.write_bytes(data)
        try:
            read_pickle(file)
            read += 1
        except CorruptCheckpoint as error:
            assert "\n" not in str(error)
    assert 0 < read < len(cases) - len(whole)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for name in ("no.pkl", "."):
        with pytest.raises(MissingCheckpoint):
            read_published(tmp_path / name)


# --- what is refused: the settings ---


def put(tree: dict[str, Any], where: str, value: object) -> dict[str, Any]:
    *parents, last = where.split("/")
    place = tree
    for parent in parents:
        place = place[parent]
    place[last] = value
    return tree


WRONG: list[tuple[str, object, str]] = [
    ("base_cfg", None, r"base_cfg: Input should be a valid dict"),
    ("base_cfg/decoder_cfg", {"device": "cuda"}, r"base_cfg\.decoder_cfg\.model_path: Field required"),
    ("base_cfg/decoder_cfg/model_path", 3, r"decoder_cfg\.model_path: .*string"),
    ("base_cfg/landmark478_cfg", {"force_ori_type": True}, r"landmark478_cfg: names neither"),
    ("audio2motion_cfg/motion_feat_dim", 266, r"motion_feat_dim: .*265"),
    ("audio2motion_cfg/audio_feat_dim", 1102, r"audio2motion_cfg: audio_feat_dim is 1102"),
    ("audio2motion_cfg/use_emo", 1, r"use_emo: .*boolean"),
    ("default_kwargs/overlap_v2", 80, r"default_kwargs\.overlap_v2: .*79"),
    ("default_kwargs/overlap_v2", "70", r"overlap_v2: .*integer"),
    ("default_kwargs/overlap_v2", True, r"overlap_v2: .*integer"),
    ("default_kwargs/crop_scale", float("nan"), r"crop_scale: .*finite"),
    ("default_kwargs/fix_kp_cond_dim", [202, 0], r"fix_kp_cond_dim \(202, 0\)"),
    ("default_kwargs/fix_kp_cond_dim", [0, 202, 1], r"fix_kp_cond_dim"),
    ("default_kwargs/fix_kp_cond_dim", [0, 300], r"fix_kp_cond_dim"),
    ("default_kwargs/emo", rows(600, 7), r"emo.*shape \(600, 7\), not \(any, 8\)"),
    ("default_kwargs/emo", [9], r"emo.*9 is no emotion"),
    ("default_kwargs/delta_eye_arr", rows(0, 63), r"delta_eye_arr.*shape \(0, 63\)"),
    ("default_kwargs/delta_eye_arr", np.full((15, 63), np.inf), r"delta_eye_arr.*finite"),
    ("default_kwargs/delta_eye_arr", [["a"] * 63], r"delta_eye_arr.*finite numbers"),
    ("default_kwargs/v_min_max_for_clip", -np.abs(rows(4, 265)).cumsum(0), r"least value above"),
    ("default_kwargs/ch_info", [1], r"ch_info"),
    ("default_kwargs/ch_info/sc", rows(1, 62), r"ch_info\.sc: has the shape \(62,\)"),
    ("default_kwargs/ch_info/eye_open_lst", [rows(1, 2)], r"ch_info: .*number of frames"),
    ("default_kwargs/ch_info/x_s_info_lst", [], r"x_s_info_lst"),
    ("default_kwargs/ch_info/x_s_info_lst", [{"exp": rows(1, 63)}, {}], r"same names"),
    ("default_kwargs/ch_info/x_s_info_lst", [{"exp": rows(1, 63)}] * 2, r"ch_info\.scale: Field required"),
    ("default_kwargs/ctrl_info", {"x": {}}, r"ctrl_info"),
    ("default_kwargs/overall_ctrl_info", {"delta_pitch": 90}, r"overall_ctrl_info\.delta_pitch: .*30"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "says"), WRONG, ids=[case[2] for case in WRONG])
def test_wrong_settings_are_named(file: Path, where: str, value: object, says: str) -> None:
    with pytest.raises(CorruptCheckpoint, match=says) as refused:
        read_published(written(file, put(published(), where, value)))
    assert "cfg.pkl" in str(refused.value)


def test_other_sound_features_are_told(file: Path) -> None:
    tree = put(published(), "audio2motion_cfg/w2f_type", "WavLM")
    del tree["base_cfg"]["hubert_cfg"]
    with pytest.raises(EngineUnavailable, match=r"'WavLM'.*HuBERT"):
        read_published(written(file, tree))
    assert read_published(written(file, put(published(), "audio2motion_cfg/w2f_type", "HuBERT")))


@pytest.mark.parametrize(
    "where",
    ["more", "base_cfg/more", "audio2motion_cfg/more", "default_kwargs/more", "base_cfg/hubert_cfg/more",
     "default_kwargs/ch_info/more", "default_kwargs/overall_ctrl_info/more"],
)  # fmt: skip
def test_unknown_names_are_left_out_and_told(
    file: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    usual = read_published(written(file, published()))
    assert caplog.records == []
    strange = put(published(), where, {"deep": 1})
    with caplog.at_level(logging.WARNING):
        config = read_published(written(file, strange))
    assert "'more'" in caplog.text
    assert plain(config).keys() == plain(usual).keys()


# --- the safe copy ---


def test_the_safe_copy_is_exact(file: Path, tmp_path: Path) -> None:
    config = read_published(written(file, published()))
    copy = tmp_path / "cfg.safetensors"
    save(config, copy)
    assert plain(load(copy)) == plain(config)
    assert load(copy).default_kwargs.model_fields_set == config.default_kwargs.model_fields_set
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cfg.pkl", "cfg.safetensors"]
    bare = published()
    del bare["default_kwargs"]
    save(read_published(written(file, bare)), copy)  # over the first
    assert load(copy).default_kwargs.model_fields_set == set()


def test_a_safe_copy_appears_whole_or_not_at_all(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_published(written(file, published()))
    with pytest.raises(StoreFailed):
        save(config, tmp_path / "none" / "cfg.safetensors")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(config_file.os, "fsync", full)
    with pytest.raises(StoreFailed, match="No space left"):
        save(config, tmp_path / "cfg.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["cfg.pkl"]


def test_a_broken_safe_copy_is_told(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cfg.safetensors"
    with pytest.raises(MissingCheckpoint):
        load(copy)
    save(read_published(written(file, published())), copy)
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-100])
    with pytest.raises(CorruptCheckpoint, match="no whole safetensors"):
        load(copy)
    ours = {"format": config_file._FORMAT}
    for about in ({}, ours, ours | {"config": "["}, ours | {"config": "{}"}, ours | {"config": "[]"}):
        safetensors.numpy.save_file({"default_kwargs.emo": rows(2, 8)}, copy, about)
        with pytest.raises(CorruptCheckpoint):
            load(copy)


# --- where models lie ---


def test_the_working_directory_goes_before_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    for folder in (root, here):
        (folder / "models").mkdir(parents=True)
    monkeypatch.chdir(here)
    name = "models/decoder.pth"
    with pytest.raises(MissingCheckpoint, match=name):
        find_file(name, root)
    (root / name).touch()
    assert find_file(name, root) == root / name
    (here / name).mkdir()
    assert find_file(name, root) == root / name, "a folder is no model"
    (here / name).rmdir()
    (here / name).touch()
    assert find_file(name, root).resolve() == here / name
    assert find_file(str(here / name), root) == here / name
    for outside in ("../secret.pth", "/nowhere/x.pth", "", "a\0b"):
        with pytest.raises(MissingCheckpoint):
            find_file(outside, root)


def test_backends_are_told_by_suffix() -> None:
    suffixes = ("pth", "pt", "onnx", "engine", "trt", "task", "ONNX")
    backends = ["torch", "torch", "onnx", "tensorrt", "tensorrt", "mediapipe", "onnx"]
    assert [backend_of(f"a/b.{suffix}") for suffix in suffixes] == backends
    with pytest.raises(CorruptCheckpoint, match=r"b\.zip"):
        backend_of("a/b.zip")
