"""What a recipe will ask, compute and pay, part by part, before the first call.

Calls are those of `calls.estimate`: what the arena file lacks, priced as the models are. Hours are calls by their
seconds and how many go on at once, and for what is computed here tokens by parameters: about 2 floating-point
operations a parameter and token in a forward pass and 4 in a backward one (Kaplan et al. 2020, section 2.1), at the
speed that was measured here or is stated (`machine`). What nobody has told is unknown, never nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from arenaloop.calls.answers import Answers, Contestant
from arenaloop.calls.budget import dollars
from arenaloop.calls.costs import HumanLabel, human_equivalent, times
from arenaloop.calls.estimate import estimate
from arenaloop.calls.estimated import Estimate, RoleEstimate
from arenaloop.calls.recorded import materials_to_be
from arenaloop.calls.units import Planned
from arenaloop.config import GPUSettings, OptimSettings, TargetSettings
from arenaloop.recipes.machine import Machine, count
from arenaloop.recipes.memory import Memory
from arenaloop.recipes.work import Work
from arenaloop.store import Store
from arenaloop.types import Prompt, Request

__all__ = [
    "Costs",
    "Part",
    "ToCome",
    "answering",
    "asked_parts",
    "done",
    "policy_to_be",
    "samples_part",
    "spent_in",
    "trained_parts",
]


@dataclass(frozen=True)
class Part:
    """One kind of work of a stage.

    Attributes:
        what: ``"training"``, ``"answers"``, ``"samples"``, ``"labels"``, ``"verdicts"`` or ``"scores by …"``.
        here: whether it is computed in this process.
        calls: calls, or answers that are sampled here; training has none.
        tokens_in: read; of a training, those that it sees in all passes, samples of its own apart. `tokens_out`:
            written. None where that is unknown.
        usd: US dollars, and at most; None where a price is unknown.
        seconds: of wall time; None where that is unknown.
        labels: of people, that stand against it.
        stored: how many answers or verdicts are there and not asked again.
        notes: what was assumed.
        memory: of the GPU, at its peak; None where it is unknown, or nothing is computed here.
    """

    stage: str
    what: str
    here: bool
    calls: int
    tokens_in: int | None
    tokens_out: int | None
    usd: float | None
    usd_most: float | None
    seconds: float | None
    labels: int = 0
    stored: int = 0
    notes: tuple[str, ...] = ()
    memory: Memory | None = None


@dataclass(frozen=True)
class ToCome:
    """A model whose weights are not there yet, in the place that it will have in a plan."""

    name: str
    concurrency: int
    fingerprint: str = "to come"

    async def complete(self, request: Request) -> Any:
        """Nobody is asked in a plan."""
        raise NotImplementedError

    def complete_many(self, requests: Sequence[Request]) -> Any:
        """See `complete`."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing is open."""

    def plan(self, requests: Sequence[Request]) -> list[list[Request]]:
        """One chunk."""
        return [list(requests)]


@dataclass(frozen=True)
class Costs:
    """What a recipe will ask, compute and pay.

    Attributes:
        parts: in the order in which they are done.
        human: what one label of a person costs.
        notes: what was assumed of all of it.
        spent: US dollars that the run directory has cost so far; None where a price is unknown.
        device: the GPU, where it is known.
    """

    parts: Sequence[Part]
    human: HumanLabel
    notes: Sequence[str] = ()
    spent: float | None = 0.0
    device: GPUSettings | None = None

    def calls_left(self) -> dict[str, int]:
        """Verdicts and labels that are to be asked, by stage, as far as there are any."""
        left: dict[str, int] = {}
        for part in self.parts:
            if part.labels and part.calls:
                left[part.stage] = left.get(part.stage, 0) + part.calls
        return left

    def total(self, column: str, parts: Sequence[Part] | None = None) -> Any:
        """One column summed; None where a part does not know it."""
        values = [getattr(part, column) for part in (self.parts if parts is None else parts)]
        return None if None in values else sum(values)

    def people(self) -> dict[str, Any]:
        """The same labels and verdicts by people, and how many times what they cost here; also of each kind alone.

        Of a kind of which some are stored, nobody has told what those have cost.
        """
        judged = [part for part in self.parts if part.labels]
        kinds = dict.fromkeys(part.what for part in judged)
        by_kind = {kind: self._people([part for part in judged if part.what == kind], 0.0) for kind in kinds}
        return {**self._people(judged, self.spent), "by_kind": by_kind}

    def _people(self, judged: Sequence[Part], spent: float | None) -> dict[str, Any]:
        labels, usd, seconds = (self.total(column, judged) for column in ("labels", "usd", "seconds"))
        if any(part.stored for part in judged):
            seconds, usd = None, usd + spent if usd is not None and spent else None
        told = human_equivalent(labels, usd, seconds, self.human).to_json()
        return {**told, "usd_per_1000": None if not labels or usd is None else 1000 * usd / labels}

    def to_json(self) -> dict[str, Any]:
        """As one mapping; unknown is null."""
        columns = ("calls", "tokens_in", "tokens_out", "usd", "usd_most", "seconds")
        return {
            "parts": [asdict(part) for part in self.parts],
            "total": {column: self.total(column) for column in columns},
            "memory": None if (most := self.largest()) is None or most.memory is None else most.memory.total,
            "human": self.people(),
            "notes": self._notes(),
        }

    def _notes(self) -> list[str]:
        """All that was assumed, each with the parts that it is about."""
        about: dict[str, list[str]] = {}
        for part in self.parts:
            for note in part.notes:
                about.setdefault(note, []).append(f"{part.stage}: {part.what}")
        told = [
            f"{note} ({', '.join(parts) if len(parts) < 3 else f'{len(parts)} parts'})" for note, parts in about.items()
        ]
        return [*self.notes, *told]

    def largest(self) -> Part | None:
        """The part that takes the most memory; None where that of none is known."""
        known = [part for part in self.parts if part.memory is not None]
        return max(known, key=lambda part: part.memory.total if part.memory else 0.0, default=None)

    @property
    def columns(self) -> list[str]:
        """Of the table; memory only where it is known of a part."""
        return ["", "calls", "tokens in", "out", "dollars", "hours", *(["GB"] if self.largest() else [])]

    def rows(self) -> Iterator[list[str]]:
        """Of the table: a part's words, calls, tokens in and out, dollars, hours, memory; then all of them."""
        for part in self.parts:
            yield [f"{part.stage}: {part.what}", *self._figures([part])]
        yield ["in all", *self._figures(self.parts)]

    def _figures(self, parts: Sequence[Part]) -> list[str]:
        calls, *tokens, usd, seconds = (
            self.total(column, parts) for column in ("calls", "tokens_in", "tokens_out", "usd", "seconds")
        )
        counts = [_unknown(value, count) for value in (calls, *tokens)]
        money = "–" if all(part.here for part in parts) else _unknown(usd, lambda value: f"{value:,.2f}")
        told = [*counts, money, _unknown(seconds, _hours)]
        if self.largest() is None:
            return told
        most = max((part.memory.total for part in parts if part.memory is not None), default=0.0)
        return [*told, "–" if not most else f"{most / 1e9:.0f}" if most >= 1e9 else "< 1"]

    def lines(self) -> Iterator[str]:
        """What stands below the table: the bound, people's labels, and what was assumed."""
        usd, most = self.total("usd"), self.total("usd_most")
        if usd is None:
            yield "dollars: unknown; a price is missing (price in the model's YAML, or --prices FILE)"
        elif most is None or most > usd:
            yield "dollars: without a bound" if most is None else f"dollars: at most {most:,.2f}, re-asks counted"
        if (part := self.largest()) is not None and part.memory is not None and part.memory.total >= 1e9:
            yield f"GPU memory, at most ({part.stage}: {part.what}): {part.memory.words()}"
            if self.device is not None and part.memory.total > 0.95e9 * self.device.memory:
                yield (
                    f"that is more than one {self.device.name} has ({self.device.memory:g} GB): lora, load_in, dtype, "
                    "gradient_checkpointing, micro_tokens and max_length lower it"
                )
        people = self.people()
        if people["labels"]:
            yield from _beside_people(people, self.human)
        yield from self._notes()


def _beside_people(told: Mapping[str, Any], human: HumanLabel) -> Iterator[str]:
    """People's labels in all, and 1,000 of each kind beside what they cost here."""
    usd, seconds = told["usd"], told["seconds"]
    costs = [*([] if usd is None else [f"${usd:,.2f}"]), *([] if seconds is None else [f"{seconds / 3600:,.0f} hours"])]
    known = [f"{times(ratio)} {key}" for key in ("cheaper", "faster") if (ratio := told[key])]
    more = f"; here {' and '.join(known)}" if known else ""
    yield f"{told['labels']:,} labels and verdicts by people: {' and '.join(costs) or 'price unknown'}{more}"
    for kind, one in told["by_kind"].items():
        if one["usd_per_1000"] is None:
            continue
        here = f"${dollars(one['usd_per_1000'])}"
        times_as = f", {times(one['cheaper'])}" if one["cheaper"] else ""
        theirs = "unknown" if human.usd is None else f"${1000 * human.usd:,.0f}"
        yield f"  1,000 {kind}: {theirs} by people, {here} here{times_as} (AlpacaFarm: $300, $6, 50×)"


def spent_in(store: Store | None) -> float | None:
    """What a run directory has cost so far."""
    return 0.0 if store is None else store.usage().usd


def _unknown(value: float | None, form: Any) -> str:
    return "unknown" if value is None else "–" if not value else form(value)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f}" if seconds >= 36 else "< 0.01"


# ---------------------------------------------------------------------- parts from estimates


def done(part: Part) -> Part:
    """A part of which nothing is left to do."""
    priced = replace(part, usd=0.0, usd_most=0.0, notes=())
    return replace(priced, calls=0, tokens_in=0, tokens_out=0, seconds=0.0, memory=None)


def policy_to_be(
    name: str, target: TargetSettings, checkpoint: Path | None, made: Callable[[str, Path], Contestant]
) -> Contestant:
    """The contestant of a stage's checkpoint; as long as its weights are not there, who stands for it."""
    if checkpoint is not None:
        return made(name, checkpoint)
    return Contestant(name, ToCome(name, target.chunk_size), target.sampling.build())


def answering(
    contestants: Sequence[Contestant],
    prompts: Sequence[Prompt],
    store: Store | None,
    recorded: Mapping[str, Mapping[str, str]],
    seed: int,
) -> Estimate:
    """What answers to prompts will ask, no battle among them."""
    answers = Answers(store, contestants, recorded, seed=seed)
    by_id = {prompt.id: prompt for prompt in prompts}

    def planned(ids: Sequence[str]) -> Iterator[Planned]:
        for material in materials_to_be(store, contestants, [by_id[one] for one in ids], recorded):
            for one in contestants:
                yield from answers.planned(one.name, material)

    return estimate(planned, list(by_id), contestants, store, each=len(contestants), seed=seed)


def asked_parts(
    found: Estimate, stage: str, machine: Machine, models: Mapping[str, Any], what: str, own: Sequence[str] = ()
) -> list[Part]:
    """The roles of an estimate as parts: of each contestant its answers, those of `own` under its own name as a stage.

    Args:
        found: the estimate; its labels stand against its judges.
        stage: whose parts they are.
        machine: how fast things go.
        models: who is asked, by name.
        what: what the judges give; their roles are one part.
        own: contestants that are stages.
    """
    parts = []
    judges = [role for role in found.roles if role.role == "judge"]
    for role in found.roles:
        if role.role != "judge":
            of = role.name in own
            told = "answers" if of else f"answers of {role.name}"
            part = _part(role, role.name if of else stage, told, machine, models.get(role.name))
            parts.append(replace(part, memory=_answers_in(role, machine)) if of else part)
    if judges:
        each = [_part(role, stage, what, machine, models.get(role.name)) for role in judges]
        parts.append(_together(each, found.labels))
    elif found.labels:  # rules decide, or what is recorded
        parts.append(Part(stage, what, True, 0, 0, 0, 0.0, 0.0, 0.0, found.labels))
    return parts


def _part(role: RoleEstimate, stage: str, what: str, machine: Machine, model: Any) -> Part:
    seconds, told = machine.calls(role, model)
    if role.local:
        seconds, told = role.seconds, ""
        if seconds is None:
            seconds = machine.samples(role.tokens_in, role.tokens_out, role.calls)
    notes = tuple(_shorter(note) for note in (*role.notes, told) if note and not note.startswith(_UNTIMED))
    columns = (role.calls, role.tokens_in, role.tokens_out, role.usd, role.usd_most)
    notes = notes if role.calls or role.tokens_out else ()
    return Part(stage, what, role.local, *columns, seconds, stored=role.stored, notes=notes)


def _answers_in(role: RoleEstimate, machine: Machine) -> Memory | None:
    """Of answers twice as long as they are on the mean; None where nothing is asked."""
    return machine.answers_in((role.tokens_in + 2 * role.tokens_out) / role.calls) if role.calls else None


_UNTIMED = "how long it takes here was not measured yet"
_HALVES = "answers are taken to be half of the"


def _shorter(note: str) -> str:
    """Of annotators that may write more or less, one line."""
    return f"{_HALVES} tokens that they may have" if note.startswith(_HALVES) else note


def _together(parts: Sequence[Part], labels: int) -> Part:
    """Judges of one stage as one part; servers' times are added, as most often they are one server."""
    summed = Costs(parts, HumanLabel())
    columns = ("calls", "tokens_in", "tokens_out", "usd", "usd_most", "seconds", "stored")
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return replace(
        parts[0],
        **{column: summed.total(column) for column in columns},
        here=all(part.here for part in parts),
        labels=labels,
        notes=notes,
    )


def samples_part(stage: str, found: Estimate, machine: Machine) -> Part:
    """Several samples of one model here, which are a role each."""
    part = _together([_part(role, stage, "samples", machine, None) for role in found.roles], 0)
    return replace(part, memory=_answers_in(found.roles[0], machine))


def trained_parts(stage: str, work: Work, settings: OptimSettings, machine: Machine) -> list[Part]:
    """A training's samples of its own, where it draws any, and its passes."""
    parts = []
    if work.answers:
        seconds = machine.samples(work.tokens_in, work.tokens_out, work.answers)
        sampled = (work.answers, round(work.tokens_in), round(work.tokens_out))
        parts.append(Part(stage, "samples", True, *sampled, 0.0, 0.0, seconds))
    seen, seconds = round(work.read + work.learned), machine.learns(work, settings)
    parts.append(Part(stage, "training", True, 0, seen, 0, 0.0, 0.0, seconds, memory=machine.learns_in(settings)))
    return parts
