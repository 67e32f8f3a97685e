"""Run the Dockerfile's CPU target without a container engine: every step, then its entry point. As root:

    python scripts/check_docker.py [--folder /var/tmp/visavis] [--bind /folder/that/pip/needs]

debootstrap makes a folder of the Debian release that the base image's name tells; with Debian's Python it
stands in for that image. Each RUN and COPY step is done in it by chroot, then CMD starts under the uid of
USER until HEALTHCHECK says that it answers, and is stopped as a container is. Takes some minutes, 3 GB and
the network; proxies and pip's settings (PIP_*) are passed on. Exit code 0: all went well.
"""

import argparse
import contextlib
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.dockerfile import Context, Step, target

MIRROR = "http://deb.debian.org/debian"
START_S, STOP_S = 120.0, 10.0  # the latter is what `docker stop` waits before it kills
PASSED_ON = re.compile(r"(?i:https?_proxy|no_proxy)|PIP_\w+")
ENTER = """set -e
root=$1 user=$2 place=$3; shift 3
for folder in $VISAVIS_BINDS; do mkdir -p "$root$folder"; mount --bind -o ro "$folder" "$root$folder"; done
mount -t proc proc "$root/proc"; mount -t devpts devpts "$root/dev/pts"; unset VISAVIS_BINDS
exec chroot --userspec="$user" "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$place" "$@"
"""  # the mounts belong to the new process alone, and end with it
_log = logging.getLogger("check_docker")


@dataclass
class Machine:
    """The folder that stands for the image, and what ENV, ARG, WORKDIR and USER have made of it."""

    root: Path
    binds: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    place: str = "/"
    user: str = "0:0"

    def command(self, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """(argument list, environment) that run `words` inside, with processes and mounts of their own."""
        passed = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        own = {"PATH": path, "DEBIAN_FRONTEND": "noninteractive", "VISAVIS_BINDS": " ".join(self.binds)}
        apart = ["unshare", "--mount", "--pid", "--fork"]
        return (
            [*apart, "/bin/sh", "-c", ENTER, "enter", str(self.root), self.user, self.place, *words],
            {**passed, **own, **self.environment},
        )

    def run(self, words: Sequence[str]) -> int:
        """Exit code of `words`, run inside."""
        line, environment = self.command(words)
        return subprocess.run(line, env=environment, stdout=sys.stderr, check=False).returncode  # noqa: S603

    def do(self, step: Step, context: Context) -> None:
        """One step. Raises ValueError where it fails."""
        if step.name == "ENV":
            known = {"PATH": "", **self.environment}
            self.environment.update(pair(word) for word in shlex.split(filled(step.text, known)))
        elif step.name == "ARG":
            self.environment.update([pair(step.text)])
        elif step.name == "WORKDIR":
            self.place = step.text
            self.inside(".").mkdir(parents=True, exist_ok=True)
        elif step.name == "USER":
            self.user = step.text
        elif step.name == "COPY":
            self.copy(step.text, context)
        elif step.name == "RUN" and (code := self.run(step.words())):
            raise ValueError(f"RUN ended with {code}: {step.text}")

    def inside(self, path: str) -> Path:
        return self.root / PurePosixPath(self.place, path).relative_to("/")

    def copy(self, text: str, context: Context) -> None:
        for source, paths in context.sources(text).items():
            if not paths:
                raise ValueError(f"COPY finds no {source}; is it missing, or named in .dockerignore?")
            for path in paths:
                to = self.inside(text.split()[-1]) / path
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(context.folder / path, to)


def filled(text: str, environment: Mapping[str, str]) -> str:
    """`text` with $NAME replaced where `environment` has it."""
    return re.sub(r"\$(\w+)", lambda name: environment.get(name[1], name[0]), text)


def pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def make_base(root: Path, image: str, mirror: str) -> None:
    """Debian with Python in `root`, for the image `python:3.11-slim-<release>`. Raises ValueError."""
    version, release = image.removeprefix("python:").split("-")[0], image.split("-")[-1]
    packages = "python3,python3-pip,ca-certificates"
    line = ["debootstrap", "--variant=minbase", f"--include={packages}", release, str(root), mirror]
    if subprocess.run(line, stdout=subprocess.DEVNULL, check=False).returncode:  # noqa: S603
        raise ValueError(f"debootstrap failed; see {root}/debootstrap/debootstrap.log")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")  # a container engine brings its own
    for name in ("python", "pip"):
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{name}3")
    python = root / "usr/lib" / f"python{version}"
    if not python.is_dir():
        raise ValueError(f"Debian {release} has no Python {version}, so it cannot stand in for {image}.")
    (python / "EXTERNALLY-MANAGED").unlink()  # the image's Python is not Debian's: pip may install into it


def start(machine: Machine, found: Sequence[Step]) -> float:
    """Start CMD, wait for HEALTHCHECK, stop it by SIGTERM -> seconds until it answered. Raises ValueError."""
    last = {step.name: step for step in found}
    health = Step("CMD", last["HEALTHCHECK"].text.partition("CMD ")[2]).words()
    if machine.run(health) == 0:
        raise ValueError("A server answers on these ports already. Stop it and run again.")
    line, environment = machine.command(last["CMD"].words())
    begin = time.monotonic()
    with subprocess.Popen(line, env=environment, stdout=sys.stderr) as server:  # noqa: S603
        try:
            while machine.run(health) != 0:
                if server.poll() is not None:
                    raise ValueError(f"CMD ended with {server.returncode} before it answered")
                if time.monotonic() - begin > START_S:
                    raise ValueError(f"HEALTHCHECK had no answer within {START_S:.0f} s")
                time.sleep(0.5)
            answered = time.monotonic() - begin
            end(server, signal.SIGTERM)
            if (code := server.wait(STOP_S)) not in (0, 128 + signal.SIGTERM):
                raise ValueError(f"CMD ended with {code} when it was stopped")
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"CMD did not end within {STOP_S:.0f} s of SIGTERM") from error
        finally:
            end(server, signal.SIGKILL)
    return answered


def end(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Signal process 1 inside; what else runs there ends with it. `unshare` itself only waits for it."""
    if server.poll() is None:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), how)


def check(folder: Path, mirror: str, binds: Sequence[str]) -> None:
    """All steps of the target cpu in the empty `folder`. Raises ValueError."""
    found = target((ROOT / "Dockerfile").read_text(), "cpu")
    machine, context = Machine(folder, binds), Context.of(ROOT)
    _log.info("%s", found[0].text)
    make_base(folder, found[0].text.split()[0], mirror)
    for step in found[1:]:
        begin = time.monotonic()
        machine.do(step, context)
        _log.info("%s %s: %.1f s", step.name, step.text, time.monotonic() - begin)
    _log.info("healthy %.1f s after the start, and stopped by SIGTERM", start(machine, found))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="new folder, kept afterwards (default: a temporary one)")
    parser.add_argument("--mirror", default=MIRROR, help="of Debian (default: %(default)s)")
    parser.add_argument("--bind", nargs="*", default=[], help="folders to show inside, read-only (packages)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="==> %(message)s")
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        _log.error("Needs root and debootstrap: apt-get install debootstrap")
        return 2
    with tempfile.TemporaryDirectory(prefix="visavis-docker-") as temporary:
        try:
            check(options.folder or Path(temporary), options.mirror, options.bind)
        except ValueError as error:
            _log.error("%s", error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
