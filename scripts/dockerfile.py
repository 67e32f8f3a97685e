"""What a Dockerfile says, and which files its build gets: as far as ours goes, without a container engine."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

INSTRUCTIONS = re.compile("FROM|ARG|ENV|WORKDIR|COPY|RUN|USER|EXPOSE|HEALTHCHECK|CMD")


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile: RUN and its like in capitals, and what stands behind it."""

    name: str
    text: str

    def words(self) -> list[str]:
        """The argument as a command line: its JSON form, or its shell form as a call of sh."""
        return json.loads(self.text) if self.text.startswith("[") else ["/bin/sh", "-c", self.text]


def steps(dockerfile: str) -> list[Step]:
    """All instructions, in order, without comments and with their lines joined. Raises ValueError."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, text = line.strip().partition(" ")
        if not INSTRUCTIONS.fullmatch(name) or not text:
            raise ValueError(f"not an instruction of a Dockerfile: {line}")
        found.append(Step(name, text.strip()))
    return found


def target(dockerfile: str, name: str) -> list[Step]:
    """The steps of the stage `FROM ... AS name`. Raises ValueError where there is none."""
    found: list[Step] = []
    for step in steps(dockerfile):
        if step.name == "FROM" and found:
            break
        if found or (step.name == "FROM" and step.text.split()[1:] == ["AS", name]):
            found.append(step)
    if not found:
        raise ValueError(f"the Dockerfile has no target {name}")
    return found


def _expression(pattern: str) -> str:
    """A pattern of .dockerignore as a regular expression: `**` crosses slashes, `*` and `?` do not."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))


@dataclass(frozen=True)
class Context:
    """The files that a build gets from `folder`, by the rules of its .dockerignore."""

    folder: Path
    rules: Sequence[tuple[bool, re.Pattern[str]]]  # whether it takes back in; the last that matches decides

    @classmethod
    def of(cls, folder: Path) -> "Context":
        lines = [line.strip() for line in (folder / ".dockerignore").read_text().splitlines()]
        kept = [line for line in lines if line and not line.startswith("#")]
        return cls(folder, [(p.startswith("!"), re.compile(_expression(p.strip("!/")))) for p in kept])

    def has(self, path: PurePosixPath) -> bool:
        """Whether `path` (relative) is sent: a rule for a folder holds for all in it."""
        names = [str(part) for part in (path, *path.parents) if part.name]
        matching = [back for back, rule in self.rules if any(rule.fullmatch(name) for name in names)]
        return not matching or matching[-1]

    def files(self) -> Iterator[Path]:
        """Every file sent, relative to the folder; folders that are left out are not entered."""
        for place, folders, names in os.walk(self.folder):
            at = PurePosixPath(Path(place).relative_to(self.folder))
            folders[:] = [name for name in folders if self.has(at / name)]
            yield from (Path(at / name) for name in names if self.has(at / name))

    def sources(self, text: str) -> dict[str, list[Path]]:
        """Each source of a COPY -> the files it names."""
        sent = list(self.files())
        return {
            source: [path for path in sent if source == "." or source in (str(path), *map(str, path.parents))]
            or [path for path in sent if re.fullmatch(_expression(source), str(path))]
            for source in text.split()[:-1]
        }
