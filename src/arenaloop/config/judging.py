"""Settings of models, judges and battles."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from arenaloop.config.base import Settings
from arenaloop.config.engines import EngineSettings
from arenaloop.types import Sampling

__all__ = [
    "AuditSettings",
    "BatchSettings",
    "BattleSettings",
    "BestOfNSettings",
    "HumanSettings",
    "JudgeSettings",
    "JudgeSpec",
    "JudgedSettings",
    "ModelSettings",
    "ModelSpec",
    "PriceList",
    "PriceSettings",
    "RunSettings",
    "SamplingSettings",
]


class SamplingSettings(Settings):
    """How a model decodes."""

    temperature: float = Field(0.0, ge=0)
    """0 = greedy"""
    top_p: float = Field(1.0, gt=0, le=1)
    """nucleus"""
    max_tokens: int = Field(512, ge=1)
    """new tokens per answer"""
    stop: tuple[str, ...] = ()
    """texts that end an answer"""

    def build(self) -> Sampling:
        """The same as the record that travels with requests."""
        return Sampling(self.temperature, self.top_p, self.max_tokens, self.stop)


class PriceSettings(Settings):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    """prompt tokens"""
    output: float = Field(ge=0)
    """completion tokens, reasoning included"""
    cached: float | None = Field(None, ge=0)
    """prompt tokens that the server took from its cache; null = as `input`"""
    batch: float = Field(0.5, gt=0, le=1)
    """share of these prices that a call through the Batch API costs"""
    units: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """US dollars for one of other things, by the name that replies count it by: {web_search_requests: 0.01}"""


class HumanSettings(Settings):
    """What one label of a person costs, for the comparison beside a run's own cost."""

    usd: float | None = Field(0.30, ge=0)
    """US dollars per label; AlpacaEval's crowd workers: 0.30. null = unknown"""
    seconds: float | None = Field(36.8, ge=0)
    """of work per label; AlpacaEval's crowd workers: 36.8. null = unknown"""


class PriceList(Settings):
    """A price file: what models cost on the day it was written. Prices go stale, so none are shipped."""

    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    """by SPEC (openai:gpt-4o) or by model id (gpt-4o)"""
    human: HumanSettings | None = None
    """what people's labels cost; null = AlpacaEval's published figures"""

    def of(self, spec: str) -> PriceSettings | None:
        """The price of the model that a SPEC names; None if the list has none: unknown is never free."""
        url, mark, model = spec.rpartition("#")
        model = model.partition("?")[0]
        known = (f"{url}{mark}{model}", f"{url.partition('?')[0]}{mark}{model}", model.removeprefix("openai:"))
        return next((price for name in known if (price := self.prices.get(name)) is not None), None)


class BestOfNSettings(Settings):
    """Answer with the best of several samples."""

    n: int = Field(16, ge=1)
    """samples of each answer"""
    reward: str
    """what chooses: reward:PATH, python:FILE.py:FUNCTION, http://HOST:PORT/PATH or sandbox:gold"""
    drop_truncated: bool = False
    """leave samples that were cut at `max_tokens` out of the choice"""


class ModelSettings(Settings):
    """A model by its SPEC, and how to talk to it. A bare SPEC text stands for ``{spec: TEXT}``."""

    spec: str
    """openai:MODEL, http://HOST:PORT/v1#MODEL, hf:ID_OR_PATH (a folder or a GGUF file), ray-vllm:MODEL, file:ANSWERS or
    sandbox:NAME"""
    name: str | None = None
    """what leaderboards call it; null = the last part of the SPEC"""
    sampling: SamplingSettings = SamplingSettings()
    """decoding"""
    system: str | None = None
    """system prompt put before conversations, and before their own (servers and local models)"""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """further fields of the request body (servers only)"""
    drop_params: tuple[str, ...] = ()
    """fields left out of the request body, for servers that refuse them, e.g. [temperature] (servers only)"""
    send_seed: bool = False
    """send each request's own seed; needed where sampling is to differ between samples on a seeded server"""
    samples_per_call: int = Field(1, ge=1)
    """samples that a request may ask for, where several of one prompt or several votes are wanted: the server's n
    (servers only)"""
    key_env: str | None = None
    """name of the environment variable that holds the key (servers only)"""
    headers: dict[str, str] = Field(default_factory=dict)
    """further headers of each request, each with the name of the variable that holds its value (servers only)"""
    reasoning_tags: tuple[tuple[str, str], ...] | None = None
    """pairs of what opens and closes reasoning, ["", "</think>"] where the chat template opens it; null = the known
    families'"""
    price: PriceSettings | None = None
    """null = unknown, and so is the cost of the run"""
    urls: tuple[str, ...] = ()
    """base URLs of further servers of the same model, which share its calls; the SPEC's own names it (servers only)"""
    concurrency: int | None = Field(None, ge=1)
    """calls in flight at once; null = the kind's default, of servers as many as they bear; the endpoint's, as rpm is"""
    rpm: float | None = Field(None, gt=0)
    """requests per minute; of models that share a server the lowest limit holds (servers only)"""
    tpm: float | None = Field(None, gt=0)
    """tokens per minute, prompts and answers together; likewise (servers only)"""
    timeout: float = Field(120.0, gt=0)
    """seconds per request (servers only)"""
    retries: int = Field(6, ge=0)
    """further tries after a passing fault (servers only)"""
    longest_wait: float = Field(600.0, gt=0)
    """seconds that the server may ask to wait (Retry-After), in all since its last answer; the run stops beyond them,
    resumably (servers only)"""
    revision: str | None = None
    """commit or branch (hub models only)"""
    chunk_size: int = Field(32, ge=1)
    """prompts per batch (local models only)"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """of the weights (local models only)"""
    device: str | None = None
    """a torch device (local models only); null = the first GPU, or the CPU"""
    threads: int | None = Field(None, ge=1)
    """torch threads while it answers (local models only); null = 1 for a tiny model on a CPU, else as they are"""
    options: dict[str, Any] = Field(default_factory=dict)
    """settings of the sandbox's players and judge, of synthetic annotators (noise, seat_bias, …), and of the engines of
    ray-vllm (gpu_memory_utilization, …)"""
    best_of_n: BestOfNSettings | None = None
    """answer with the best of n samples (contestants only; their temperature is 1 where none is set)"""

    @model_validator(mode="before")
    @classmethod
    def _samples_differ(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("best_of_n") is None:
            return values
        sampling = values.get("sampling", {})
        if isinstance(sampling, dict) and "temperature" not in sampling:
            return values | {"sampling": {"temperature": 1.0, **sampling}}
        return values

    @model_validator(mode="after")
    def _no_sample_again(self) -> Self:
        if self.best_of_n is not None and self.best_of_n.n > 1 and self.sampling.temperature == 0:
            raise ValueError("best_of_n needs a temperature above 0: at 0 all samples are the same")
        return self

    def with_concurrency(self, concurrency: int | None) -> Self:
        """The same under a run's own concurrency, where the model has none of its own."""
        if concurrency is None or self.concurrency is not None:
            return self
        return self.model_copy(update={"concurrency": concurrency})


def from_text(value: object) -> object:
    return {"spec": value} if isinstance(value, str) else value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class JudgeSettings(ModelSettings):
    """A judging model, its template and its patience."""

    sampling: SamplingSettings = SamplingSettings(temperature=0.0, max_tokens=512)
    """decoding of the judge: greedy, 512 tokens at most"""
    template: str = "pairwise"
    """the judge's template: pairwise, short, score_first, labels, fastchat, alpaca_eval, or the path of a file"""
    criteria: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    """what to judge by, a text or a list of them; none = the template's own"""
    parser: Literal["scores", "first_line", "labels", "label", "json"] | None = None
    """how a template file's answers are read; null = as its first comment says"""
    verdict: Literal["text", "json", "logprob"] = "text"
    """how the judge answers: text with a line of scores, one json object, or the logprob of its label"""
    deciding_label: Literal["first", "last"] = "first"
    """which label token decides where verdict is logprob; last = the judge explains first"""
    prefill: str = ""
    """how the judge's answer begins, as its own words: of hf: models, and of servers that go on from a last assistant
    message (vLLM: with extra_body {continue_final_message: true, add_generation_prompt: false})"""
    reference: bool = True
    """show the judge the reference answers of prompts that have some"""
    label_mass: float = Field(0.2, ge=0, le=1)
    """probability that both labels must have together where verdict is logprob; with less there is no verdict"""
    reask: int = Field(2, ge=0)
    """how often a verdict without an outcome is asked again, warmer"""
    spec: str = ""
    """as of a model, builtin:RULE, labels:FILE[#column=value], reward:DIR or synthetic:REWARD"""
    jury: tuple[JudgeSpec, ...] = ()
    """instead of a spec: two judges or more, each asked about every seating"""
    rule: Literal["majority", "mean", "weighted", "reliability"] = "majority"
    """how a jury's verdicts become one; reliability = battles by majority, ratings by a joint fit of all verdicts"""
    weights: dict[str, float] = Field(default_factory=dict)
    """what each member's vote weighs, by its name; of rule weighted (`arenaloop audit` measures them)"""

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if bool(self.spec) == bool(self.jury):
            raise ValueError("a judge has either a spec or a jury" if self.jury else "'spec' is missing")
        if not self.jury and (self.rule != "majority" or self.weights):
            raise ValueError("rule and weights are those of a jury")
        if any(member.jury for member in self.jury):
            raise ValueError("a jury sits in no jury")
        return self

    def with_concurrency(self, concurrency: int | None) -> Self:
        """Likewise; of a jury, each member."""
        members = tuple(member.with_concurrency(concurrency) for member in self.jury)
        return super().with_concurrency(concurrency).model_copy(update={"jury": members})


class BatchSettings(Settings):
    """Judging through an OpenAI-style Batch API, or through batch files that are carried by hand."""

    wait: bool = True
    """poll until the batches are done; false: stop (exit 4) once they are submitted, and collect on the next run"""
    rest: Literal["batch", "live"] = "batch"
    """how what batches left undecided is asked again: in further ones, or call by call"""
    folder: str | None = None
    """write batch files into this folder, and read results put beside them; nothing is submitted"""
    max_requests: int = Field(50_000, ge=1, le=50_000)
    """per file; 50,000 is OpenAI's limit"""
    max_bytes: int = Field(200_000_000, ge=1, le=200_000_000)
    """per file; 200 MB is OpenAI's limit"""
    first_pause: float = Field(10.0, gt=0)
    """seconds before a batch is looked at again; each further pause is half as long again"""
    longest_pause: float = Field(300.0, gt=0)
    """seconds that no pause exceeds"""
    longest_wait: float = Field(90_000.0, gt=0)
    """seconds without any batch that ended, after which the run stops, resumably (exit 4); servers promise 24 hours"""


ModelSpec = Annotated[ModelSettings, BeforeValidator(from_text)]
JudgeSpec = Annotated[JudgeSettings, BeforeValidator(from_text)]
JudgeSettings.model_rebuild()  # a jury's members are judges


class RunSettings(Settings):
    """What every run has: its seed, how much of it goes on at once, and what it may cost."""

    seed: int = 0
    """seed of everything that is drawn"""
    concurrency: int | None = Field(None, ge=1)
    """verdicts in progress at once, and calls in flight at servers whose models set none; null = what servers bear"""
    budget_usd: float | None = Field(None, gt=0)
    """US dollars that the run directory may cost in all; null = no limit"""
    budget_calls: int | None = Field(None, ge=1)
    """calls that may be sent in all; null = no limit"""


class JudgedSettings(RunSettings):
    """A run whose models battle: who decides, and how two seats become a battle."""

    judge: JudgeSpec
    """who decides"""
    merge: Literal["mean", "agree_or_tie", "two_battles"] = "mean"
    """how two seats become a battle"""
    one_seat_failed: Literal["drop_battle", "use_one"] = "drop_battle"
    """what becomes of a pair with one seat decided"""
    own_failure: Literal["loss", "drop"] = "loss"
    """what becomes of a battle left undecided by one contestant's own failure (it refused, erred, overflowed the
    judge): its loss, as else failing where it would lose makes a model come out first; drop = counted, and no battle"""
    seats: Literal["both", "seeded"] = "both"
    """ask about each pair from both seats, or at half the price from one that the seed draws"""
    allow_missing: bool = False
    """go on where a recorded model lacks answers"""


class BattleSettings(JudgedSettings, EngineSettings):
    """One battle run: who, on what, judged by whom."""

    models: tuple[ModelSpec, ...]
    """the contestants"""
    prompts: str
    """a prompt file, or sandbox:prompts?n=…"""
    limit: int | None = Field(None, ge=1)
    """the first prompts of the file only"""
    pairs: str = "all"
    """who meets whom: all, target:NAME, sample:N or optimal:N; N battles, or calls:N for what N judge calls pay for"""
    batch: BatchSettings | None = None
    """judge through batch files; null = call by call"""
    human: HumanSettings = HumanSettings()
    """what people's labels cost"""
    shard: str | None = None
    """I/N: ask the I-th of N parts of the plan alone, those prompts whose hash says so; null = all"""

    @model_validator(mode="after")
    def _batches_know_their_battles(self) -> Self:
        if self.batch is not None and self.pairs.startswith("optimal"):
            raise ValueError("pairs optimal:N are chosen by earlier verdicts; a batch asks for all verdicts at once")
        if self.shard is not None and self.pairs.startswith("optimal"):
            raise ValueError(
                "pairs optimal:N are chosen by earlier verdicts, and a shard knows its own alone: shards take all, "
                "target:NAME or sample:N"
            )
        return self

    @property
    def calls_per_battle(self) -> int:
        """Judge calls of one battle: of each judge, one from each seat."""
        return (2 if self.seats == "both" else 1) * max(1, len(self.judge.jury))


class AuditSettings(RunSettings):
    """Judges on labelled pairs."""

    judges: tuple[JudgeSpec, ...]
    """who is audited"""
    labels: str
    """a label file, FILE or FILE#column=value"""
    seeds: int | None = Field(None, ge=1)
    """votes of each judge on each pair; null = one, and with recorded labels all that are recorded"""
    limit: int | None = Field(None, ge=1)
    """the first pairs of the file only"""
    merge: Literal["mean", "agree_or_tie"] = "mean"
    """how two seats become a vote"""
    shard: str | None = None
    """I/N: ask the I-th of N parts of the plan alone, those prompts whose hash says so; null = all"""
    batch: BatchSettings | None = None
    """ask judges on servers through batch files; null = call by call"""
