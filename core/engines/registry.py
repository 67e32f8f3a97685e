"""Which engines there are, which one `auto` means on this machine, and how one is started."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.contracts import Engine
from core.errors import AssetError, BadOption, ComputeError
from core.settings import Settings

if TYPE_CHECKING:  # it brings the hub's library along, which lite does without
    from core.checkpoints.check import Report

AUTO, LITE, DITTO = "auto", "lite", "ditto"
_HOW = "Ask for it with --engine ditto or VISAVIS_ENGINE=ditto."
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """An engine at work and why it is this one.

    `variant` names Ditto's checkpoints, None where they were not chosen by us. `warnings` tell what went
    wrong on the way here. `wanted` is the engine that `auto` has put off, because it must be fetched first.
    """

    engine: Engine
    reason: str
    variant: str | None = None
    device: str = "cpu"
    precision: str = "fp32"
    warnings: tuple[str, ...] = ()
    wanted: str = ""

    def about(self) -> dict[str, Any]:
        """The same for people and programs, JSON-ready."""
        return {
            "engine": self.engine.name,
            "engine_reason": self.reason,
            "variant": self.variant,
            "device": self.device,
            "precision": self.precision,
        }


def _lite(settings: Settings, report: "Report | None") -> Running:
    from core.engines.lite.engine import LiteEngine

    return Running(LiteEngine(settings), "asked for")


def _ditto(settings: Settings, report: "Report | None") -> Running:
    from core.checkpoints.check import silent
    from core.engines.ditto import start

    choice = start.choose(settings)
    engine = start.start(settings, choice, report or silent)
    return Running(engine, choice.reason, choice.variant, choice.device, engine.precision)


ENGINES: dict[str, Callable[[Settings, "Report | None"], Running]] = {LITE: _lite, DITTO: _ditto}


def start_engine(
    name: str, settings: Settings, report: "Report | None" = None, *, later: bool = False
) -> Running:
    """An engine by name, or with `auto` the best one for this machine; `report` hears of downloads.

    `auto` means Ditto on a fit GPU, and lite where there is none or Ditto fails. With `later` it begins
    with lite where Ditto must be fetched first. Raises BadOption for an unknown name, AssetError where
    something that the engine needs is missing, and what `checkpoints.provide.ensure` raises.
    """
    if name == AUTO:
        return _best(settings, report, later)
    if name not in ENGINES:
        raise BadOption(f"Unknown engine '{name}'.", f"Choose one of {AUTO}, {', '.join(ENGINES)}.")
    return ENGINES[name](settings, report)


def start_published(settings: Settings, cfg_pkl: Path, data_root: Path) -> Running:
    """Ditto with the models that a published configuration names. Raises AssetError."""
    from core.engines.ditto import start

    engine, choice = start.start_published(settings, cfg_pkl, data_root)
    return Running(engine, choice.reason, choice.variant, choice.device, engine.precision)


def _best(settings: Settings, report: "Report | None", later: bool) -> Running:
    from core.checkpoints.machine import choose_here

    choice = choose_here(settings.device)
    if choice.variant is None:
        return replace(ENGINES[LITE](settings, None), reason=f"{choice.reason} {_HOW}")
    if later and settings.download == "auto" and _must_fetch(settings):
        reason = "until Ditto is fetched, with the first video"
        return replace(ENGINES[LITE](settings, None), reason=reason, wanted=DITTO)
    try:
        return ENGINES[DITTO](settings, report)
    except (AssetError, ComputeError) as error:
        _log.warning("Ditto cannot be used, lite takes its place: %s", error)
        warning = f"Ditto cannot be used, lite takes its place: {error}"
        return replace(
            ENGINES[LITE](settings, None), reason=f"in Ditto's place: {error.message}", warnings=(warning,)
        )


def _must_fetch(settings: Settings) -> bool:
    from core.checkpoints.catalogue import VARIANTS
    from core.checkpoints.provide import may_ask
    from core.engines.ditto import start

    variant = start.choose(settings).variant
    return may_ask(settings) and variant is not None and not start.is_whole(VARIANTS[variant], settings)
