"""SPEC → judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arenaloop.config import JudgeSettings
from arenaloop.errors import ConfigError, nearest
from arenaloop.specs.models import model, refuse_servers_settings, shown
from arenaloop.specs.panels import jury, without_model

if TYPE_CHECKING:
    from arenaloop.judges.base import Judge
    from arenaloop.judges.jury import Decider
    from arenaloop.judges.meta import MetaJudge
    from arenaloop.judges.pointwise import RubricJudge
    from arenaloop.judges.prompts import PromptJudge
    from arenaloop.models.base import Model

__all__ = ["judge", "judging_model", "meta", "pointwise", "prompt_judge", "template_file"]


def template_file(name: str) -> str:
    """Where a template of the small world is, ``sandbox:score`` or ``sandbox:winner``; other names stay as they are.

    Raises:
        ConfigError: the small world has no such template.
    """
    if not name.startswith("sandbox:"):
        return name
    from arenaloop.sandbox.roles import TEMPLATES

    if (role := name.removeprefix("sandbox:")) not in TEMPLATES:
        raise ConfigError(
            f"judge template {name!r}{nearest(role, list(TEMPLATES))}: the sandbox has {', '.join(TEMPLATES)}"
        )
    return TEMPLATES[role]


def judge(settings: JudgeSettings) -> Decider:
    """A judging model with its template, a judge without a model, or a jury of them.

    Raises:
        ConfigError: what cannot judge pairs, a template of another layout, say.
    """
    return jury(settings, _lone_judge) if settings.jury else _lone_judge(settings)


def pointwise(settings: JudgeSettings, on: Model | None = None) -> RubricJudge:
    """A judging model that scores one answer; its template is one of layout ``answer`` (rubric, where none is set).

    Args:
        settings: the judge's.
        on: the judging model, in the place of that which the SPEC names.

    Raises:
        ConfigError: a jury, a judge without a model, or a template of another layout.
    """
    from arenaloop.judges.possible import refuse_impossible
    from arenaloop.judges.templates import load_template

    if settings.jury or without_model(settings):
        raise ConfigError(f"judge {settings.spec or 'jury'}: scores no single answer; that takes one judging model")
    # saved settings hold every default, so that of battles stands for none
    unset = settings.template == JudgeSettings.model_fields["template"].default
    name = "rubric" if unset else template_file(settings.template)
    template = load_template(name, settings.criteria, settings.parser, layout="answer")
    kinds = _pointwise()
    built = kinds.get(name, kinds["rubric"])(**_asked(settings, on), template=template)
    refuse_impossible(built)
    return built


def prompt_judge(settings: JudgeSettings, template: str = "") -> PromptJudge:
    """A judging model that is shown a prompt alone; it rates its difficulty, unless a shipped `template` is named.

    Raises:
        ConfigError: a jury, a judge without a model, or a template of another layout.
    """
    from arenaloop.judges.possible import refuse_impossible
    from arenaloop.judges.prompts import PromptJudge
    from arenaloop.judges.templates import load_template

    if settings.jury or without_model(settings):
        raise ConfigError(f"judge {settings.spec or 'jury'}: rates no prompt; that takes one judging model")
    if settings.verdict == "logprob":
        raise ConfigError(f"judge {settings.spec}: rates prompts with verdict text or json, not logprob")
    own = settings.template not in ("", JudgeSettings.model_fields["template"].default)
    name = template or (settings.template if own else PromptJudge.shipped)
    asked = _asked(settings) | ({"verdict": "text"} if template else {})
    loaded = load_template(name, () if template else settings.criteria, None if template else settings.parser, "prompt")
    built = PromptJudge(**asked, template=loaded)
    refuse_impossible(built)
    return built


def meta(settings: JudgeSettings, on: Model | None = None) -> MetaJudge:
    """A judging model that compares judgements; its template is one of layout ``judgements`` (meta, where none is set).

    Args:
        settings, on: as of `pointwise`.

    Raises:
        ConfigError: a jury, a judge without a model, or a template of another layout.
    """
    from arenaloop.judges.meta import MetaJudge
    from arenaloop.judges.templates import load_template

    if settings.jury or without_model(settings):
        raise ConfigError(f"judge {settings.spec or 'jury'}: compares no judgements; that takes one judging model")
    unset = settings.template == JudgeSettings.model_fields["template"].default
    template = load_template("meta" if unset else template_file(settings.template), layout="judgements")
    return MetaJudge(on or judging_model(settings), template, "text", settings.sampling.build(), settings.name)


def _pointwise() -> dict[str, type[RubricJudge]]:
    """Who scores one answer, by the shipped template that each fills; a user's own file is the rubric judge's."""
    from arenaloop.judges.pointwise import RubricJudge

    return {
        "rubric": RubricJudge,
    }


def _lone_judge(settings: JudgeSettings) -> Judge:
    if (free := without_model(settings)) is not None:
        return free
    from arenaloop.judges.pairwise import PairwiseJudge
    from arenaloop.judges.possible import refuse_impossible
    from arenaloop.judges.templates import load_template

    template = load_template(settings.template, settings.criteria, settings.parser)
    built = PairwiseJudge(**_asked(settings), template=template)
    refuse_impossible(built)
    return built


def _asked(settings: JudgeSettings, on: Model | None = None) -> dict[str, Any]:
    """The arguments of a judge that fills a template, but for that."""
    names = ("verdict", "deciding_label", "label_mass", "name", "prefill", "reference")
    own = {name: getattr(settings, name) for name in names}
    return own | {"model": on or judging_model(settings), "sampling": settings.sampling.build()}


def judging_model(settings: JudgeSettings) -> Model:
    """The model behind a judge.

    Raises:
        ConfigError: recorded answers, or the best of several.
    """
    from arenaloop.models.recorded import RecordedModel

    if settings.best_of_n is not None:
        raise ConfigError(f"judge {settings.spec}: best_of_n is a contestant's, not a judge's")
    built = _sandbox_judge(settings) if settings.spec.partition(":")[0] == "sandbox" else model(settings)
    if isinstance(built, RecordedModel):
        raise ConfigError(f"judge {settings.spec}: recorded answers cannot judge")
    return built


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
