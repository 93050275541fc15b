"""SPEC → judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arenaloop.config import JudgeSettings
from arenaloop.errors import ConfigError
from arenaloop.specs.models import model, refuse_servers_settings, shown
from arenaloop.specs.panels import jury, without_model

if TYPE_CHECKING:
    from arenaloop.judges.base import Judge
    from arenaloop.judges.jury import Jury
    from arenaloop.judges.pairwise import PairwiseJudge
    from arenaloop.models.base import Model

__all__ = ["judge"]


def judge(settings: JudgeSettings) -> Judge | Jury:
    """A judging model with its template, a judge without a model, or a jury of them."""
    if settings.jury:
        return jury(settings, judge)
    return without_model(settings) or _judging_model(settings)


def _judging_model(settings: JudgeSettings) -> PairwiseJudge:
    from arenaloop.judges.pairwise import PairwiseJudge, load_template

    template = load_template(settings.template, settings.criteria, settings.parser)
    built = _sandbox_judge(settings) if settings.spec.partition(":")[0] == "sandbox" else model(settings)
    from arenaloop.models.recorded import RecordedModel

    if isinstance(built, RecordedModel):
        raise ConfigError(f"judge {settings.spec}: recorded answers cannot judge")
    return PairwiseJudge(
        built,
        template=template,
        verdict=settings.verdict,
        deciding_label=settings.deciding_label,
        sampling=settings.sampling.build(),
        name=settings.name or built.name,
    )


def _sandbox_judge(settings: JudgeSettings) -> Model:
    from arenaloop.models.scripted import ScriptedModel
    from arenaloop.sandbox.judge import SandboxJudge

    refuse_servers_settings(settings)
    if settings.spec != "sandbox:judge":
        raise ConfigError(f"judge {settings.spec!r}: the sandbox's judge is called sandbox:judge")
    try:
        script = SandboxJudge(**settings.options)
    except TypeError as error:
        raise ConfigError(f"judge {settings.spec}, options {shown(settings.options)}: {error}") from None
    return ScriptedModel(settings.name or "sandbox-judge", script.complete, version=settings.options)
