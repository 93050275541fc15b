"""What a recipe will ask, compute and pay, part by part, before the first call.

Calls are those of `calls.estimate`: what the arena file lacks, priced as the models are. Hours are calls by their
seconds and how many go on at once, and for what is computed here tokens by parameters: about 2 floating-point
operations a parameter and token in a forward pass and 4 in a backward one (Kaplan et al. 2020, section 2.1), at the
speed that was measured here or is stated (`machine`). What nobody has told is unknown, never nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from arenaloop.calls.answers import Answers, Contestant
from arenaloop.calls.costs import HumanLabel, human_equivalent, times
from arenaloop.calls.estimate import CHARACTERS_PER_TOKEN, estimate
from arenaloop.calls.estimated import Estimate, RoleEstimate
from arenaloop.calls.recorded import materials_to_be
from arenaloop.calls.speeds import PROBE, measured, stored_speed
from arenaloop.calls.units import Planned
from arenaloop.config import MachineSettings, OptimSettings, RecipeSettings
from arenaloop.models.limits import AdaptiveLimit
from arenaloop.models.size import Size
from arenaloop.models.speed import Speed
from arenaloop.recipes.work import Work
from arenaloop.store import Store
from arenaloop.store.counts import models as model_counts
from arenaloop.types import Prompt, Request

__all__ = [
    "Costs",
    "Machine",
    "Part",
    "ToCome",
    "answering",
    "asked_parts",
    "length_of",
    "machine_of",
    "samples_part",
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
        notes: what was assumed.
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
    notes: tuple[str, ...] = ()


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


@dataclass
class Machine:
    """How fast things go.

    Attributes:
        stated: by the settings.
        size: of the target; None where neither weights nor name tell.
        sampling: the speed of a model of that size here, where it was measured.
        training: seconds of each token that SFT learned from here, where that was measured.
        per_token: characters to a token.
        answer_seconds: by model, the mean of its stored calls.
    """

    stated: MachineSettings
    size: Size | None
    sampling: Speed | None = None
    training: float | None = None
    per_token: float = CHARACTERS_PER_TOKEN
    answer_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> float | None:
        """Of the target."""
        return self.stated.parameters or (None if self.size is None else float(self.size.parameters))

    def samples(self, tokens_in: float, tokens_out: float) -> float | None:
        """Seconds of answers that are sampled here."""
        if self.sampling is not None:
            return self.sampling._replace(loading=0.0).seconds(tokens_in, tokens_out)
        if self.parameters is None or self.stated.sampling_tflops is None:
            return None
        return 2 * self.parameters * (tokens_in + tokens_out) / (1e12 * self.stated.sampling_tflops)

    def learns(self, work: Work, settings: OptimSettings) -> float | None:
        """Seconds of passes forward and backward; adapters need no gradients of the weights that stay."""
        backward = (2 if settings.lora is not None else 4) + (2 if settings.gradient_checkpointing else 0)
        operations = 2 * work.read + (2 + backward) * work.learned  # for each parameter
        if self.training is not None:
            return operations / 6 * self.training
        if self.parameters is None or self.stated.training_tflops is None:
            return None
        return self.parameters * operations / (1e12 * self.stated.training_tflops)

    def calls(self, role: RoleEstimate, model: Any) -> tuple[float | None, str]:
        """Seconds of a role's calls to a server, and what was assumed; those of this process's scripts take none."""
        limits = getattr(model, "limits", None)
        if limits is None or not role.calls:
            return 0.0, ""
        each = self.answer_seconds.get(role.name, self.stated.call_seconds)
        if each is None:
            return None, "how long a server's call takes is unknown: machine.call_seconds says it"
        at_once = limits.concurrency or AdaptiveLimit().limit
        told = f"{each:.2g} s a call, {at_once} at once{'' if limits.concurrency else ' to begin with'}"
        seconds = role.calls * each / at_once
        for most, count in ((limits.rpm, role.calls), (limits.tpm, role.tokens_in + role.tokens_out)):
            seconds = max(seconds, 60 * count / most if most else 0.0)
        return seconds, told

    def told(self) -> Iterator[str]:
        """On what its hours stand."""
        if self.parameters is None:
            yield "how many parameters the target has is unknown: machine.parameters says it"
        elif self.stated.parameters is not None or self.size is None:
            yield f"the target has {_count(self.parameters)} parameters (machine.parameters)"
        else:
            yield f"the target has {_count(self.parameters)} parameters ({self.size.told})"
        if self.sampling is not None:
            yield f"sampling here: measured, {self.sampling.words()}"
        else:
            yield _assumed("sampling", self.stated.sampling_tflops)
        if self.training is not None:
            yield f"training here: measured, {1 / self.training:,.0f} tokens/s of SFT"
        else:
            yield _assumed("training", self.stated.training_tflops)


def _assumed(what: str, tflops: float | None) -> str:
    if tflops is None:
        return f"how fast {what} is here is unknown: machine.{what}_tflops says it, or --measure"
    return f"{what} here: taken to do {tflops:g} · 10¹² operations a second (machine.{what}_tflops)"


@dataclass(frozen=True)
class Costs:
    """What a recipe will ask, compute and pay.

    Attributes:
        parts: in the order in which they are done.
        human: what one label of a person costs.
        notes: what was assumed of all of it.
    """

    parts: Sequence[Part]
    human: HumanLabel
    notes: Sequence[str] = ()

    def total(self, column: str, parts: Sequence[Part] | None = None) -> Any:
        """One column summed; None where a part does not know it."""
        values = [getattr(part, column) for part in (self.parts if parts is None else parts)]
        return None if None in values else sum(values)

    def people(self) -> dict[str, Any]:
        """The same labels and verdicts by people: what they cost, and how many times what they cost here."""
        judged = [part for part in self.parts if part.labels]
        labels, usd, seconds = (self.total(column, judged) for column in ("labels", "usd", "seconds"))
        told = human_equivalent(labels, usd, seconds, self.human).to_json()
        return {
            **told,
            "usd_per_1000": None if not labels or usd is None else 1000 * usd / labels,
            "usd_per_1000_by_people": None if self.human.usd is None else 1000 * self.human.usd,
        }

    def to_json(self) -> dict[str, Any]:
        """As one mapping; unknown is null."""
        columns = ("calls", "tokens_in", "tokens_out", "usd", "usd_most", "seconds")
        return {
            "parts": [asdict(part) for part in self.parts],
            "total": {column: self.total(column) for column in columns},
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

    def rows(self) -> Iterator[list[str]]:
        """Of the table: a part's words, calls, tokens in and out, dollars, hours; then all of them."""
        for part in self.parts:
            yield [f"{part.stage}: {part.what}", *self._figures([part])]
        yield ["in all", *self._figures(self.parts)]

    def _figures(self, parts: Sequence[Part]) -> list[str]:
        calls, *tokens, usd, seconds = (
            self.total(column, parts) for column in ("calls", "tokens_in", "tokens_out", "usd", "seconds")
        )
        counts = [_unknown(value, _count) for value in (calls, *tokens)]
        money = "–" if all(part.here for part in parts) else _unknown(usd, lambda value: f"{value:,.2f}")
        return [*counts, money, _unknown(seconds, lambda value: f"{value / 3600:.2f}")]

    def lines(self) -> Iterator[str]:
        """What stands below the table: the bound, people's labels, and what was assumed."""
        usd, most = self.total("usd"), self.total("usd_most")
        if usd is None:
            yield "dollars: unknown; a price is missing (price in the model's YAML, or --prices FILE)"
        elif most is None or most > usd:
            yield "dollars: without a bound" if most is None else f"dollars: at most {most:,.2f}, re-asks counted"
        people = self.people()
        if people["labels"]:
            yield _people(people)
        yield from self._notes()


def _people(told: Mapping[str, Any]) -> str:
    usd, seconds = told["usd"], told["seconds"]
    costs = [*([] if usd is None else [f"${usd:,.2f}"]), *([] if seconds is None else [f"{seconds / 3600:,.0f} hours"])]
    line = f"{told['labels']:,} labels and verdicts by people: {' and '.join(costs) or 'price unknown'}"
    if told["cheaper"]:
        line += f", {times(told['cheaper'])} as much money"
        line += f" (1,000 of them: ${told['usd_per_1000_by_people']:,.0f}, here ${told['usd_per_1000']:,.2f})"
    elif told["usd_per_1000"] is None:
        line += "; here unknown"
    return line + "; AlpacaFarm has $300 against $6, 50×"


def _unknown(value: float | None, form: Any) -> str:
    return "unknown" if value is None else "–" if not value else form(value)


def _count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= (size if unit != "k" else 10_000):
            return f"{value / size:,.4g}{unit}"
    return f"{value:,.0f}"


# ---------------------------------------------------------------------- parts from estimates


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
            parts.append(_part(role, role.name if of else stage, told, machine, models.get(role.name)))
    if judges:
        each = [_part(role, stage, what, machine, models.get(role.name)) for role in judges]
        parts.append(_together(each, found.labels))
    return parts


def _part(role: RoleEstimate, stage: str, what: str, machine: Machine, model: Any) -> Part:
    seconds, told = machine.calls(role, model)
    if role.local:
        seconds = role.seconds if role.seconds is not None else machine.samples(role.tokens_in, role.tokens_out)
        told = ""
    local_notes = ("how long it takes here was not measured yet: its first chunk tells (or --measure)",)
    notes = tuple(note for note in (*role.notes, told) if note and note not in local_notes)
    columns = (role.calls, role.tokens_in, role.tokens_out, role.usd, role.usd_most)
    return Part(stage, what, role.local, *columns, seconds, notes=notes if role.calls or role.tokens_out else ())


def _together(parts: Sequence[Part], labels: int) -> Part:
    """Judges of one stage as one part; servers' times are added, as most often they are one server."""
    summed = Costs(parts, HumanLabel())
    columns = ("calls", "tokens_in", "tokens_out", "usd", "usd_most", "seconds")
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
    return replace(_together([_part(role, stage, "samples", machine, None) for role in found.roles], 0))


def trained_parts(stage: str, work: Work, settings: OptimSettings, machine: Machine) -> list[Part]:
    """A training's samples of its own, where it draws any, and its passes."""
    parts = []
    if work.answers:
        seconds = machine.samples(work.tokens_in, work.tokens_out)
        sampled = (work.answers, round(work.tokens_in), round(work.tokens_out))
        parts.append(Part(stage, "samples", True, *sampled, 0.0, 0.0, seconds))
    seen = round(work.read + work.learned)
    parts.append(Part(stage, "training", True, 0, seen, 0, 0.0, 0.0, machine.learns(work, settings)))
    return parts


def length_of(conversations: Iterable[Iterable[Any]], machine: Machine) -> float:
    """The tokens of a conversation on the mean, its turns being `held_out.Turn` or messages; 0 of none."""
    lengths = [sum(len(_content(turn)) for turn in turns) for turns in conversations]
    return sum(lengths) / len(lengths) / machine.per_token if lengths else 0.0


def _content(turn: Any) -> str:
    return str(turn["content"] if isinstance(turn, Mapping) else turn.text)


# ---------------------------------------------------------------------- how fast things go here


def machine_of(
    settings: RecipeSettings,
    size: Size | None,
    store: Store | None,
    first: Contestant,
    start: Contestant | None,
    prompts: Sequence[Prompt],
) -> Machine:
    """How fast things go: by what is stored, by a few answers of the start's where it is given, or as is stated.

    Args:
        settings: the recipe's.
        size: of the target.
        store: the arena file, as far as there is one.
        first: the first trained model, whose speed may be stored.
        start: the model that training starts from, which is then loaded and timed.
        prompts: for these answers.
    """
    machine = Machine(settings.machine, size)
    if store is not None:
        machine.sampling = stored_speed(store, first.asked)
        machine.answer_seconds = {
            row.name: row.mean_seconds for row in model_counts(store, ()) if row.mean_seconds is not None
        }
    if start is not None and machine.sampling is None:
        requests = [Request(tuple(prompt.conversation(())), start.sampling) for prompt in prompts[:PROBE]]
        machine.sampling = measured(start.asked, requests)
        characters = sum(len(message["content"]) for request in requests for message in request.messages)
        if machine.sampling is not None and machine.sampling.read:
            machine.per_token = characters / machine.sampling.read
    return machine
