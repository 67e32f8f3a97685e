#!/usr/bin/env python
"""Ditto's checkpoints: what there is, what is here, and what this machine can run.

python model_manager.py list | where | doctor [--report FILE.zip]
python model_manager.py download [VARIANT] [--revision R] [--to FOLDER]
python model_manager.py verify [VARIANT] [--to FOLDER]
"""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tqdm import tqdm

from core.checkpoints.catalogue import REPOSITORY, VARIANTS, Variant, find_variant
from core.checkpoints.check import Progress, Report
from core.checkpoints.hub import Hub
from core.checkpoints.machine import Check, checks, choose_variant, probe
from core.checkpoints.provide import STATES, download, locate, may_ask, verify
from core.checkpoints.record import HubFile
from core.errors import BadOption, Cancelled, EngineUnavailable, TalkerError
from core.settings import Settings, load_settings

_WITHOUT_GPU = "ditto-onnx"  # what is fetched on request where nothing better runs


class _Parser(argparse.ArgumentParser):
    """A wrong command line is answered with one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise BadOption(f"{message[:1].upper()}{message[1:]}.", "See --help.")


def parser() -> argparse.ArgumentParser:
    made = _Parser(description="Ditto's checkpoints: list, fetch, check.", allow_abbrev=False)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    texts = {
        "list": "variants with their files, licences and sizes",
        "download": "fetch a variant, or what of it is missing or wrong",
        "verify": "compare every byte with what the hub says",
        "where": "where each variant lies, and what is missing of it",
        "doctor": "what this machine can run, and why not more",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--json", action="store_true", help="print one JSON object as the last line")
        if name != "doctor":
            command.add_argument("--profile", choices=("research", "commercial"), default=None,
                                 help="licence profile (default: VISAVIS_LICENSE_PROFILE)")  # fmt: skip
        if name in ("download", "verify"):
            command.add_argument("variant", nargs="?", default=None, metavar="VARIANT",
                                 help=f"{' | '.join(VARIANTS)} (default: what fits here)")  # fmt: skip
        if name in ("download", "verify", "where"):
            command.add_argument("--to", type=Path, default=None, metavar="FOLDER",
                                 help="default: VISAVIS_MODELS, else the Hugging Face cache")  # fmt: skip
        if name == "doctor":
            command.add_argument("--report", type=Path, default=None, metavar="FILE",
                                 help="run every check there is into this zip file")  # fmt: skip
        if name == "download":
            command.add_argument(
                "--revision", default="", help="a branch, tag or commit (default: the recorded)"
            )
    return made


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Do what the command line asks -> what `--json` prints. Raises TalkerError."""
    settings = load_settings()
    if getattr(given, "profile", None):
        settings = settings.model_copy(update={"license_profile": given.profile})
    if given.command == "list":
        return _list(settings)
    if given.command == "where":
        return _where(settings, given.to)
    if given.command == "doctor":
        found = _doctor(settings)
        return found | (_report(given.report, settings) if given.report else {})
    variant = _variant(given.variant, settings)
    if given.command == "verify":
        return _verify(variant, settings, given.to)
    with _bar() as report:
        made = download(variant, settings, report, revision=given.revision, to=given.to)
    print(f"{made.variant} is complete in {made.folder} (commit {made.commit}).")
    return {
        "variant": made.variant,
        "commit": made.commit,
        "folder": str(made.folder),
        "files": {role: str(path) for role, path in made.files.items()},
    }


def _variant(name: str | None, settings: Settings) -> Variant:
    if name:
        return find_variant(name)
    choice = choose_variant(probe(settings.device))
    print(f"{choice.variant or _WITHOUT_GPU}: {choice.reason}")
    return VARIANTS[choice.variant or _WITHOUT_GPU]


def _list(settings: Settings) -> dict[str, Any]:
    known = _hub_files(settings)
    print(f"{REPOSITORY}, licence profile {settings.license_profile}")
    listed = {}
    for variant in VARIANTS.values():
        rows = [
            {
                "role": asset.role,
                "path": asset.path,
                "licence": asset.licence,
                "bytes": known[asset.path].size if asset.path in known else None,
            }
            for asset in variant.files(settings.license_profile)
        ]
        sizes = [row["bytes"] for row in rows]
        total = None if None in sizes else sum(size for size in sizes if isinstance(size, int))
        print(f"\n{variant.name}: {variant.about}; {len(rows)} files, {_mb(total)}")
        for row in rows:
            print(f"  {row['role']:<21} {row['path']:<58} {_mb(row['bytes']):>13}  {row['licence']}")
        listed[variant.name] = {"about": variant.about, "bytes": total, "files": rows}
    return {"repository": REPOSITORY, "variants": listed}


def _hub_files(settings: Settings) -> dict[str, HubFile]:
    """What the hub said of the files when they were recorded, or says now; empty where it is away."""
    for variant in VARIANTS.values():
        _, record, _ = locate(variant, settings)
        if record.files:
            return record.files
    if not may_ask(settings):
        return {}
    try:
        hub = Hub()
        return hub.files(hub.commit("main"))
    except EngineUnavailable as error:
        print(f"note: sizes are unknown: {error}", file=sys.stderr)
        return {}


def _where(settings: Settings, to: Path | None) -> dict[str, Any]:
    found = {}
    for variant in VARIANTS.values():
        place, record, paths = locate(variant, settings, to)
        missing = [asset.path for asset, path in paths.items() if asset.needed and not path.is_file()]
        here = {asset.role: str(path) for asset, path in paths.items() if path.is_file()}
        state = f"{len(missing)} of {len(paths)} files are missing" if missing else "complete"
        print(f"{variant.name}: {place.folder}, commit {record.commit or 'unknown'}, {state}")
        found[variant.name] = {
            "folder": str(place.folder), "commit": record.commit, "files": here, "missing": missing
        }  # fmt: skip
    return {"variants": found}


def _verify(variant: Variant, settings: Settings, to: Path | None) -> dict[str, Any]:
    with _bar() as report:
        findings = verify(variant, settings, report, to=to)
    for finding in findings:
        print(f"{finding.state:<8} {finding.asset.path}")
    count = {state: [each for each in findings if each.state == state] for state in STATES}
    remedy = f"Run: python model_manager.py download {variant.name}" + (f" --to {to}" if to else "")
    if bad := count["wrong"] + count["missing"]:
        first = bad[0].error
        assert first is not None
        raise type(first)(
            f"{len(bad)} of {len(findings)} files are wrong or missing: {first.message}", remedy
        )
    if unknown := count["unknown"]:
        raise EngineUnavailable(
            f"Nobody here knows the hashes of {len(unknown)} files.", "Verify again with the hub in reach."
        )
    return {"variant": variant.name, "files": {each.asset.path: each.state for each in findings}}


def _doctor(settings: Settings) -> dict[str, Any]:
    machine = probe(settings.device)
    lines = checks(machine)
    for variant in VARIANTS.values():
        place, _, paths = locate(variant, settings)
        missing = sum(asset.needed and not path.is_file() for asset, path in paths.items())
        found = f"{missing or 'no'} files are missing in {place.folder}"
        remedy = f"python model_manager.py download {variant.name}" if missing else ""
        lines.append(Check(variant.name, not missing, found, remedy))
    for line in lines:
        state, then = "ok" if line.good else "no", f" -> {line.remedy}" if line.remedy else ""
        print(f"{state}  {line.name}: {line.found}{then}")
    choice = choose_variant(machine)
    print(f"auto means {choice.variant or 'lite'}: {choice.reason}")
    return {
        "variant": choice.variant,
        "reason": choice.reason,
        "checks": [line._asdict() for line in lines],
    }


def _report(path: Path, settings: Settings) -> dict[str, Any]:
    from core.doctor import write_report

    report = write_report(path, settings, lambda text: print(f"    {text}", flush=True))
    print(f"{path} has all that was found, with clips: send it with your question.")
    return {"report": str(path), "engines": report["engines"], "parity": report["parity"]}


def _mb(size: object) -> str:
    if not isinstance(size, int):
        return "size unknown"
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


@contextmanager
def _bar() -> Iterator[Report]:
    """A progress bar on a terminal; silence elsewhere."""
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:

        def report(progress: Progress) -> None:
            bar.total = progress.total or None
            bar.set_description_str(f"{progress.stage} {progress.path.rpartition('/')[2]}", refresh=False)
            bar.update(progress.done - bar.n)

        yield report


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run the command line -> exit code."""
    argv = sys.argv[1:] if argv is None else argv
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        try:
            result = run(parser().parse_args(argv))
        except KeyboardInterrupt:
            raise Cancelled("Stopped; nothing half-written is left.") from None
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        if "--json" in argv:
            print(json.dumps({"error": error.code, "message": str(error)}))
        return error.exit_code
    if "--json" in argv:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
