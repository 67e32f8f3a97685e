"""Many clips of one avatar: which files are meant, where each clip goes, and what became of it."""

import glob
import logging
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.contracts import Engine
from core.engines.registry import Running
from core.errors import BadPath, Cancelled, TalkerError, one_line
from core.media.audio import AudioLimits, open_audio
from core.media.mp4 import check_target
from core.option_table import parse_options
from core.options import GenerationOptions
from core.settings import Settings
from core.talker import ClipInfo, Progress, clip
from core.types import RegisteredAvatar

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """One clip to make: of which sound, to which file, and with which emotion ("": that of the options)."""

    sound: Path
    output: Path
    emotion: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a clip: its figures, or the error it ended with."""

    clip: Clip
    made: ClipInfo | None = None
    error: TalkerError | None = None

    def figures(self) -> dict[str, Any]:
        """The same for people and programs, JSON-ready."""
        if self.made is None:
            error = self.error or Cancelled("Stopped.")
            return {"output": str(self.clip.output), "error": error.code, "message": str(error)}
        made = self.made
        return {
            "output": str(made.output),
            "frames": made.frames,
            "duration_s": made.duration_s,
            "width": made.size[0],
            "height": made.size[1],
            "ffd_ms": round(made.ffd_ms, 1),
            "rtf": round(made.rtf, 4),
            "stages_ms": {name: round(value, 1) for name, value in made.stages_ms.items()},
            "notes": list(made.notes),
        }


def shared_figures(running: Running, settings: Settings, options: GenerationOptions) -> dict[str, Any]:
    """What all clips have in common, JSON-ready."""
    return {
        "resolution": options.output.resolution,
        **running.about(),
        "files": {role: str(path) for role, path in running.engine.loaded.items()},
        "license_profile": settings.license_profile,
        "seed": options.motion.seed,
    }


# --- which files are meant


def find_sounds(given: Iterable[str]) -> list[Path]:
    """Names of files, and glob patterns (`**` goes into subfolders) whose files follow in order of name ->
    every file once. What exists by its name is no pattern. Raises BadPath for a pattern without a file.
    """
    found: dict[str, Path] = {}
    for each in given:
        names = [each]
        if glob.has_magic(each) and not os.path.lexists(each):
            names = sorted(name for name in glob.iglob(each, recursive=True) if os.path.isfile(name))
            if not names:
                raise BadPath(f"No file matches '{each:.200}'.", "Check the pattern.")
        for name in names:
            found.setdefault(os.path.abspath(name), Path(name))
    return list(found.values())


def output_folder(output: str, several: bool) -> Path | None:
    """The folder that clips go to; None where `output` is the file of the only one. Raises BadPath."""
    path = Path(output)
    if output.endswith("/") or (output and os.path.isdir(output)) or (several and output and not path.suffix):
        return path
    if several:
        raise BadPath(f"Several clips need a folder, not '{path.name}'.", "End the output path with '/'.")
    return None


def order(given: Iterable[str], output: str, emotions: Sequence[str]) -> tuple[list[Clip], Path | None]:
    """The clips that are meant, and the folder they go to; None where `output` is the file of the only one.

    Raises BadPath.
    """
    sounds = find_sounds(given)
    folder = output_folder(output, len(sounds) * max(1, len(emotions)) > 1)
    return (plan(sounds, emotions, folder), folder) if folder else ([Clip(sounds[0], Path(output))], None)


def check_files(clips: Sequence[Clip], source: Path, limits: AudioLimits) -> None:
    """Tell what is wrong with sound and output before the portrait's work begins. Raises InputError.

    Of several clips each tells in its turn, except that none may replace what they are made from.
    """
    if len(clips) == 1:
        check_target(clips[0].output)
        open_audio(clips[0].sound, limits)
    check_inputs_stay((each.output for each in clips), (source, *(each.sound for each in clips)))


def plan(sounds: Sequence[Path], emotions: Sequence[str], folder: Path) -> list[Clip]:
    """A clip of each sound, or of each sound in each emotion: `<sound's name>[_<emotion>].mp4`.

    Sounds of one name are told apart by a number, also where files differ by more than capitals alone.
    """
    taken: set[str] = set()
    clips = []
    for sound in sounds:
        stem, number = sound.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{sound.stem}-{number}"
        taken.add(stem.casefold())
        for emotion in emotions or ("",):
            name = f"{stem}_{emotion}.mp4" if emotion else f"{stem}.mp4"
            clips.append(Clip(sound, folder / name, emotion))
    return clips


def check_inputs_stay(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise BadPath where an output would replace a file that something is made from."""
    kept = {_identity(path) for path in inputs} - {None}
    for output in outputs:
        if _identity(output) in kept:
            raise BadPath(
                f"The output '{output.name}' is a file that it is made from.", "Choose another name."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # there is nothing to be replaced
        return None
    return status.st_dev, status.st_ino


# --- the work


def options_by_emotion(
    clips: Iterable[Clip], given: Mapping[str, Any], preset: str, defaults: Mapping[str, Any]
) -> dict[str, GenerationOptions]:
    """The options of the clips, as `core.option_table.parse_options` has them. Raises BadOption."""
    chosen = {each.emotion: {"emo": each.emotion} if each.emotion else {} for each in clips}
    return {emotion: parse_options({**given, **own}, preset, defaults) for emotion, own in chosen.items()}


def make_clips(
    engine: Engine,
    avatar: RegisteredAvatar,
    clips: Iterable[Clip],
    options: Mapping[str, GenerationOptions],
    limits: AudioLimits,
) -> Generator[Progress | Outcome, None, None]:
    """Make clips one after the other: the progress of each, then its outcome. `options` go by emotion.

    An error ends its own clip alone; closing this drops the clip that is being made and keeps those before.
    """
    for each in clips:
        made, failed = None, None
        try:
            made = yield from clip(engine, avatar, each.sound, each.output, options[each.emotion], limits)
        except Cancelled:
            raise
        except TalkerError as error:
            failed = error
        except Exception as error:  # what nobody foresaw ends its own clip alone, too
            _log.exception("%s failed", each.output.name)
            failed = TalkerError(f"Something went wrong inside ({type(error).__name__}: {error}).")
        yield Outcome(each, made, failed)


def table(clips: Sequence[Mapping[str, Any]]) -> str:
    """Figures of clips in columns: file, frames, seconds, RTF, or the error."""
    names = [one_line(each["output"]) for each in clips]
    width = max(map(len, (*names, "file")))
    lines = [f"{'file':{width}}  frames  seconds    RTF"]
    for name, each in zip(names, clips, strict=True):
        said = f"error: {each['message']}" if "error" in each else ""
        said = said or f"{each['frames']:6}  {each['duration_s']:7.2f}  {each['rtf']:5.2f}"
        lines.append(f"{name:{width}}  {said}")
    return "\n".join(lines)
