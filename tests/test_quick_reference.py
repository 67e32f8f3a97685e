"""The snippets that users of Ditto work from, as docs/sdk.md has them, run one after the other."""

import re
from pathlib import Path
from typing import Any

import av
import pytest
import soundfile
from PIL import Image

from core.option_table import PRESETS, flat, parse_options
from tests.faces import astronaut_portrait
from tests.sdk import checkpoints
from tests.sounds import speech_like

ROOT = Path(__file__).resolve().parents[1]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sdk.md").read_text(), re.S)
SECONDS = 8.2  # frame 200 is among the controls


def pictures(path: Path) -> tuple[int, int]:
    """(frames, streams of sound) of a video."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0)), len(container.streams.audio)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of modules that librosa's readers import
def test_the_snippets_run_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = checkpoints(tmp_path / "checkpoints", monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audios").mkdir()
    for name, seconds in (("speech.wav", SECONDS), ("audios/a.wav", 0.3), ("audios/b.wav", 0.5)):
        soundfile.write(tmp_path / name, speech_like(seconds)[0], 16_000)
    portrait = Image.fromarray(astronaut_portrait())
    portrait.resize((160, 160)).save(tmp_path / "portrait.png")
    names: dict[str, Any] = {
        "cfg_pkl": made.cfg_pkl, "cfg_pkl_online": made.cfg_pkl, "data_root": made.data_root,
        "source_path": "portrait.png", "audio_path": "speech.wav", "output_path": "result.mp4",
    }  # fmt: skip
    frames, short = 205, {"a": 8, "b": 13}
    assert len(SNIPPETS) == 8
    for number, snippet in enumerate(SNIPPETS):
        exec(compile(snippet, f"docs/sdk.md, block {number}", "exec"), names)
        if number in (0, 1, 5):
            assert pictures(tmp_path / "result.mp4") == (frames, 1), "one second of sound, 25 frames"
            (tmp_path / "result.mp4").unlink()
        if number == 2:
            made_of = {path.stem: pictures(path)[0] for path in (tmp_path / "outputs").iterdir()}
            assert made_of == short
            names["audio_path"] = "audios/a.wav"
        if number == 3:
            assert all(pictures(tmp_path / f"output_emo_{emo}.mp4") == (8, 1) for emo in range(8))
            names |= {"audio_path": "speech.wav", "output_path": "result.mp4"}
        if number in (4, 6, 7):
            assert pictures(Path(names["SDK"].tmp_output_path)) == (frames, 0)
    left = {path.name for path in tmp_path.iterdir()} - {f"output_emo_{emo}.mp4" for emo in range(8)}
    assert left == {"checkpoints", "audios", "outputs", "speech.wav", "portrait.png", "result.mp4.tmp.mp4"}


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("default", {}),
        ("quality", {"sampling_timesteps": 100, "overlap_v2": 20, "smo_k_d": 5, "smo_k_s": 15,
                     "max_size": 1920}),
        ("balanced", {"sampling_timesteps": 50, "overlap_v2": 10, "smo_k_d": 3, "smo_k_s": 13,
                      "max_size": 1920}),
        ("fast", {"sampling_timesteps": 25, "overlap_v2": 5, "smo_k_d": 1, "smo_k_s": 1, "max_size": 512}),
        ("realtime", {"online_mode": True, "sampling_timesteps": 30, "overlap_v2": 70, "smo_k_d": 1}),
        ("chat", {"sampling_timesteps": 10, "max_size": 512, "template_n_frames": 3}),
    ],
)  # fmt: skip
def test_presets_are_those_of_the_reference(preset: str, values: dict[str, object]) -> None:
    assert PRESETS[preset] == values
    made = flat(parse_options({}, preset))
    assert {name: made[name] for name in values} == values
    others = set(made) - set(values)
    assert {name: made[name] for name in others} == {name: flat(parse_options({}))[name] for name in others}
