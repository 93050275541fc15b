"""A chat model that is asked by filling a template: what judges of two texts and judges of one share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Generic

from arenaloop.errors import ConfigError
from arenaloop.judges.filling import Layout, Material
from arenaloop.judges.label_logprobs import LABEL_MASS, DecidingLabel
from arenaloop.judges.parsers import Parser, Read, VerdictMode, parser_for
from arenaloop.judges.probe import Probe
from arenaloop.judges.templates import JudgeTemplate, fill, load_template
from arenaloop.models.base import Model
from arenaloop.types import Completion, Judgement, Prompt, Request, Sampling, Status, content_hash

__all__ = ["ScoringJudge", "TemplateJudge"]

_REASK_TEMPERATURE = 0.7
"""A garbage answer is asked again at least this warm: at temperature 0 it would only repeat itself."""
_LABEL_TOKENS = 8
"""New tokens where the first label decides: the label, and what a model may put before it (a blank, markdown)."""
_FIRST_FORMAT = 1
"""Part of every fingerprint since the first version; not the parser's version, so that stored texts can be read again
by a later parser under the keys that they have."""


def _wants_label(template: JudgeTemplate, verdict: VerdictMode) -> str:
    """Of a pattern with two labels, what mode ``logprob`` would read."""
    pattern = template.verdict_pattern
    labels = None if pattern is None or verdict != "logprob" else pattern.seat_labels
    if labels is None:
        return ""
    return f" (whose answer is {labels[0]} or {labels[1]} alone, which its verdict_pattern does not take)"


class TemplateJudge(Generic[Read]):
    """A judging model, its template, and the parser of its answers.

    Args:
        model: the judging model.
        template: a template of the judge's layout, or the name of a shipped one; None is `shipped`.
        verdict: how the answer is given and read: ``text``, ``json`` (the request carries a schema) or ``logprob`` (it
            asks for log-probabilities).
        sampling: the judge's decoding; None is `decoding`.
        name: what reports call it; the model's name by default.
        deciding_label: in mode ``logprob``, whether the first or the last label token decides; with ``first`` the
            answer is cut after a few tokens, with ``last`` the judge is asked to explain before.
        label_mass: probability that the labels must have together, of judges that read it.
        reference: whether it is shown the reference answers of prompts that have some.
        prefill: how the judge's answer begins, for models and servers that go on from it; part of what is read.

    Raises:
        ConfigError: a template of another layout, or one whose words cannot ask for this mode.
    """

    layout: ClassVar[Layout]
    kind: ClassVar[str]
    """what the fingerprint begins with"""
    shipped: ClassVar[str]
    decoding: ClassVar[Sampling]

    def __init__(
        self,
        model: Model,
        template: str | JudgeTemplate | None = None,
        verdict: VerdictMode = "text",
        sampling: Sampling | None = None,
        name: str | None = None,
        *,
        deciding_label: DecidingLabel = "first",
        label_mass: float = LABEL_MASS,
        prefill: str = "",
        reference: bool = True,
    ) -> None:
        template, sampling = template or self.shipped, sampling or self.decoding
        if isinstance(template, str):
            template = load_template(template, layout=self.layout)
        if template.layout != self.layout:
            raise ConfigError(f"{template.origin}: is a template of layout {template.layout}, not {self.layout}")
        if verdict not in template.modes:
            raise ConfigError(
                f"{template.origin}: does not use mode to ask for {verdict}: its words are those of mode text; "
                f"it serves verdict {' and '.join(template.modes)}, not {verdict}{_wants_label(template, verdict)}"
            )
        first = verdict == "logprob" and deciding_label == "first"
        if first:
            sampling = replace(sampling, max_tokens=min(sampling.max_tokens, _LABEL_TOKENS))
        self.model = model
        self.name = name or model.name
        self.probe = Probe(self.name)
        self.prefill = prefill
        self.reference = reference and template.reference_hash is not None
        self.sampling = sampling
        self.concurrency = model.concurrency
        self.template = template
        self.template_hash = template.hash
        self.verdict: VerdictMode = verdict
        self.parser: Parser[Read] = parser_for(
            template.form, verdict, deciding_label, label_mass, template.verdict_pattern
        )
        self.scale = self.parser.scale
        self.explain = deciding_label == "last"
        # what else is asked than in mode text; nothing there, so that its keys are those of the first version
        labels = (deciding_label,) if verdict == "logprob" or self.layout != "answer" else ()
        mode: tuple[object, ...] = () if verdict == "text" else (verdict, self.parser.schema, *labels)
        if verdict == "logprob" and label_mass != LABEL_MASS:  # a setting of later: its default is part of no key
            mode = (*mode, label_mass)
        if prefill:
            mode = (*mode, "prefill", prefill)
        self.fingerprint = content_hash(
            self.kind, model.fingerprint, self.template_hash, sampling.key(), _FIRST_FORMAT, *mode
        )

    def _references(self, prompt: Prompt) -> tuple[str, ...]:
        """The reference answers that it is shown."""
        return prompt.references if self.reference and prompt.tags else ()

    def _asked_as(self, prompt: Prompt) -> str:
        """The fingerprint as it is part of a key: where the judge is shown a reference answer, with that."""
        if not (references := self._references(prompt)):
            return self.fingerprint
        return f"{self.fingerprint}\n{content_hash('reference', self.template.reference_hash, list(references))}"

    def _request(self, material: Material, key: str, *, secret: str, seed: int, sample: int) -> Request:
        """What is asked about a material; samples after the first are asked warmer.

        Raises:
            ConfigError: a user's template fails on this material.
        """
        sampling = self.sampling
        if sample:
            sampling = replace(sampling, temperature=max(sampling.temperature, _REASK_TEMPERATURE))
        text = fill(self.template, material, secret=secret, mode=self.verdict, explain=self.explain)
        return Request(
            messages=({"role": "user", "content": text},),
            sampling=sampling,
            sample=sample,
            seed=seed,
            key=key,
            top_logprobs=self.parser.top_logprobs,
            schema=self.parser.schema,
            labels=self.parser.labels if any(len(label) > 1 for label in self.parser.labels) else (),
            prefill=self.prefill,
        )

    def _whole(self, completion: Completion) -> Completion:
        """An answer with its prefill, where the server has not repeated it.

        Not where the first label decides: it is the first after the prefill, whatever that holds.
        """
        alone = self.verdict == "logprob" and not self.explain
        if alone or not self.prefill or not completion.text or completion.text.startswith(self.prefill):
            return completion
        return replace(completion, text=self.prefill + completion.text)

    @property
    def notes(self) -> tuple[str, ...]:
        """What only the first answers can tell (`possible.doubts`)."""
        from arenaloop.judges.possible import doubts

        return tuple(doubts(self))

    async def _complete(self, request: Request) -> Completion:
        """Ask the model; where log-probabilities are needed, one call goes alone until one has brought some."""
        if self.verdict != "logprob":
            return await self.model.complete(request)
        return await self.probe.ask(lambda: self.model.complete(request))

    def _read(self, completion: Completion) -> tuple[Read | None, Status]:
        """What an answer gives, and how the call ended: `OK` exactly where it gives something."""
        found = self.parser.read(completion)
        if found is not None:
            return found, Status.OK  # also of a label that was read before the answer was cut
        return None, Status.UNPARSED if completion.status is Status.OK else completion.status

    def _cost(self, completion: Completion, status: Status) -> dict[str, Any]:
        """What a call has cost, with the reason where its log-probabilities decide nothing."""
        cost = completion.cost()
        if self.verdict != "logprob":
            return cost
        if (error := self.probe.read(completion)) is not None:
            cost["error"] = error
        elif status is Status.UNPARSED or (status is Status.TRUNCATED and not self.explain):
            cost["error"] = self.parser.why_not(completion)  # a label that was cut after it is read all the same
        return cost

    async def aclose(self) -> None:
        """Close the judging model."""
        await self.model.aclose()


class ScoringJudge(TemplateJudge[float]):
    """A model that gives one score: to a response, or to a prompt by itself."""

    def _judgement(
        self, key: str, prompt: Prompt, response_hash: str, completion: Completion, sample: int
    ) -> Judgement:
        """The judgement that an answer holds, as the parser of form and mode reads it."""
        completion = self._whole(completion)
        score, status = self._read(completion)
        return Judgement(
            key=key,
            prompt_id=prompt.id,
            response_hash=response_hash,
            judge=self.name,
            status=status,
            raw=self.parser.raw(completion),
            score=score,
            sample=sample,
            judge_hash=self.fingerprint,
            template_hash=self.template_hash,
            parser=self.parser.name,
            **self._cost(completion, status),
        )
