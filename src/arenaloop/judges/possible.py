"""What cannot work is refused before the first call: a verdict mode, a prefill or labels that a model cannot give.

What a template can ask for is checked where the judge is made (`asking.TemplateJudge`). Here its model is looked at:
one in this process tells by its tokenizer and chat template; a server by what its settings say, and what nobody can
know of it beforehand is named (`doubts`) and found out by the first call (`probe`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from arenaloop.errors import ConfigError
from arenaloop.judges.asking import TemplateJudge
from arenaloop.models.billing import token_limit
from arenaloop.models.local import LocalModel
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.scripted import ScriptedModel

__all__ = ["doubts", "refuse_impossible"]

_WITHOUT_LOGPROBS = {"api.anthropic.com": "its OpenAI-compatible interface leaves them out"}
_WITHOUT_PREFILL = {"api.openai.com": "it answers anew after a last assistant message"}
_GOES_ON = ("continue_final_message", "prefix")
"""Fields of a body that have a server go on from a last assistant message: vLLM's, and those of some others."""
_OFF = (False, None, "none", "disabled", "off", 0)
_LAST = "set deciding_label: last"


def refuse_impossible(judge: TemplateJudge[Any]) -> None:
    """Refuse a judge none of whose answers could be read.

    Raises:
        ConfigError: says what its model cannot give, and what helps.
    """
    why = _impossible_prefill(judge)
    if judge.verdict == "json" and isinstance(judge.model, OpenAIModel):
        form = judge.model.extra_body.get("response_format")
        if isinstance(form, Mapping) and form.get("type") == "text":
            why = "verdict json: extra_body's response_format asks for a text"
    if why is None and judge.verdict == "logprob":
        why = _impossible_labels(judge)
    if why is not None:
        raise ConfigError(f"judge {judge.name}: {why}")


def doubts(judge: TemplateJudge[Any]) -> list[str]:
    """What only the first answers can tell, a line for each."""
    told: list[str] = []
    model = judge.model
    if isinstance(model, OpenAIModel):
        if judge.verdict == "logprob":
            told.append("whether its server gives log-probabilities is found out by one call, before all others")
            if any(len(label) > 1 for label in judge.parser.labels):
                told.append(
                    "a server whose tokens are single digits cannot always tell 1 from 10: such verdicts stay undecided"
                )
        if judge.prefill and not any(name in model.extra_body for name in _GOES_ON):
            told.append("prefill: its server has to go on from a last assistant message, which cannot be seen")
    elif isinstance(model, LocalModel) and _first_decides(judge) and model.may_reason(judge.prefill):
        told.append(
            "its chat template can have it reason before it answers: then no first token is a label; prefill an empty "
            f"block of reasoning, or {_LAST}"
        )
    return told


def _first_decides(judge: TemplateJudge[Any]) -> bool:
    return judge.verdict == "logprob" and judge.parser.deciding_label == "first"


def _impossible_prefill(judge: TemplateJudge[Any]) -> str | None:
    prefill, model = judge.prefill, judge.model
    if not prefill:
        return None
    if isinstance(model, ScriptedModel):
        return "prefill: a script does not go on from it"
    if isinstance(model, OpenAIModel) and (why := _WITHOUT_PREFILL.get(_host(model))) is not None:
        return f"prefill: its server does not go on from it ({why})"
    if judge.verdict == "json" and not prefill.lstrip().startswith(("{", "```")):
        return f"prefill {prefill!r}: with verdict json the whole answer is one JSON object, and this begins none"
    first, newline, _ = prefill.lstrip().partition("\n")
    if judge.verdict == "text" and judge.template.form == "first_line" and newline and first:
        return f"prefill {prefill!r}: the first line decides, and this ends it"
    return None


def _impossible_labels(judge: TemplateJudge[Any]) -> str | None:
    labels, model = judge.parser.labels, judge.model
    told = f"{', '.join(labels[:-1])} and {labels[-1]}"
    own = getattr(model, "extra_body", {}).get("stop", ())
    for stop in (*judge.sampling.stop, *((own,) if isinstance(own, str) else own or ())):
        if any(stop in label for label in labels):
            return f"stop {stop!r} ends its answer before a label ({told}) is there"
    if isinstance(model, LocalModel):
        return model.cannot_answer(labels, judge.prefill, reasons=judge.explain)
    return _impossible_at_server(judge, model, told) if isinstance(model, OpenAIModel) else None


def _impossible_at_server(judge: TemplateJudge[Any], model: OpenAIModel, told: str) -> str | None:
    extra, labels = model.extra_body, judge.parser.labels
    instead = "judge with --verdict json or text"
    if (why := _WITHOUT_LOGPROBS.get(_host(model))) is not None:
        return f"verdict logprob: its server gives no log-probabilities ({why}); {instead}"
    if not extra.get("logprobs", True):
        return "verdict logprob: extra_body switches logprobs off"
    most = extra.get("top_logprobs")
    if "top_logprobs" in extra and (not isinstance(most, int) or most < len(labels)):
        return f"verdict logprob: extra_body asks for top_logprobs {most}, and there are {len(labels)} labels ({told})"
    form = extra.get("response_format")
    if form is not None and not (isinstance(form, Mapping) and form.get("type") == "text"):
        return "verdict logprob: extra_body sets response_format, and a label alone is to be the answer"
    if (limit := token_limit(model, judge.sampling)) is not None and limit < 1:
        return f"extra_body allows an answer of {limit} tokens"
    if _first_decides(judge) and (setting := _reasons(model)) is not None:
        return (
            f"verdict logprob: its model reasons before it answers ({setting}), so that no first token is a label; "
            f"{_LAST}, or switch its reasoning off"
        )
    return None


def _host(model: OpenAIModel) -> str:
    return urlsplit(model.base_url).hostname or ""


def _reasons(model: OpenAIModel) -> str | None:
    """The setting that has a server's model reason; None where none does, or one switches it off.

    By the settings' names, as every server has its own: ``reasoning_effort``, ``enable_thinking``, ``think``.
    """
    kwargs = model.extra_body.get("chat_template_kwargs")
    settings = model.extra_body | (dict(kwargs) if isinstance(kwargs, Mapping) else {})
    named = {name: value for name, value in settings.items() if "think" in name.lower() or "reason" in name.lower()}
    if any(map(_is_off, named.values())):
        return None
    for name, value in named.items():
        return f"{name}: {value}"
    return "reasoning_tags" if model.reader.tags else None


def _is_off(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(
            value.get(name, True) in _OFF for name in ("enabled", "type", "effort", "max_tokens", "budget_tokens")
        )
    return value in _OFF if isinstance(value, (str, int, float, bool, type(None))) else False
