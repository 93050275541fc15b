"""What a user may set: pydantic models, read from YAML, `--set key=value` overrides and nothing else.

Every model forbids unknown keys and names the nearest valid one. Environment variables carry endpoints and keys, never
methods. The resolved settings are saved as ``config.yaml`` in every run directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.types import Sampling

__all__ = [
    "ArenaLearningSettings",
    "BattleSettings",
    "DPOSettings",
    "DataSettings",
    "JudgeSettings",
    "ModelSettings",
    "OptimSettings",
    "PriceSettings",
    "SFTSettings",
    "SamplingSettings",
    "Settings",
    "TargetSettings",
    "dump_yaml",
    "override",
    "read_yaml",
    "validate",
]

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, defaults checked, field docstrings kept as descriptions.

    No number of theirs may be infinite or not a number.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class OptimSettings(Settings):
    """What every trainer shares: the optimiser, its schedule, batching and checkpoints.

    The execution settings (the last group) never change what is computed, only its rounding, so they may differ between
    a training and its resumption.
    """

    epochs: float = Field(default=3.0, gt=0)
    """passes over the rows; a fraction stops within an epoch"""
    max_steps: int | None = Field(default=None, ge=1)
    """optimiser steps; overrides `epochs`"""
    batch_size: int = Field(default=128, ge=1)
    """rows (for DPO: pairs) per optimiser step"""
    max_length: int = Field(default=4096, ge=2)
    """tokens per row, prompt and answer together; a smaller context window of the model wins"""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon`: Muon for the hidden matrices, AdamW for embeddings, head, norms and biases, at one learning rate"""
    learning_rate: float = Field(default=5e-6, gt=0)
    """peak learning rate"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """how the learning rate falls to zero after the warm-up"""
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """share of all steps over which the learning rate rises linearly"""
    warmup_steps: int | None = Field(default=None, ge=0)
    """steps of warm-up; overrides `warmup_ratio`"""
    weight_decay: float = Field(default=0.0, ge=0)
    """decoupled weight decay, on matrices only"""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """decay of AdamW's first moment"""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """decay of AdamW's second moment"""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """gradients are scaled down to this norm over all parameters; 0 = off"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of the weights in training and of the saved checkpoint; `bfloat16` halves the memory and loses small updates"""

    bf16: bool | None = None
    """forward passes under bfloat16 autocast; null = on a GPU that has it"""
    device: str | None = None
    """a torch device; null = the first GPU, or the CPU"""
    threads: int | None = Field(default=None, ge=1)
    """torch threads during training; null = 1 for a tiny model on a CPU, else as they are"""
    micro_batch: int | None = Field(default=None, ge=1)
    """rows (pairs) per forward pass; null = as many as `micro_tokens` allow"""
    micro_tokens: int | None = Field(default=None, ge=1)
    """padded tokens per forward pass where `micro_batch` is null (at least one row); null = 16,384, on a CPU 1,024"""
    group_by_length: bool = True
    """forward passes take rows of like length from the optimiser batch: less padding, the same batch"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass: less memory, about a third more time"""
    log_every: int = Field(default=10, ge=1)
    """steps per line of `metrics.jsonl`"""
    checkpoint_every: int = Field(default=200, ge=0)
    """steps between the checkpoints that a resumed training starts from; 0 = none before the end"""

    EXECUTION: ClassVar[frozenset[str]] = frozenset(
        {"bf16", "device", "threads", "micro_batch", "micro_tokens", "group_by_length", "gradient_checkpointing"}
        | {"log_every", "checkpoint_every"}
    )

    def method(self) -> dict[str, object]:
        """The settings that decide what is computed: all but the execution settings."""
        return self.model_dump(mode="json", exclude=set(self.EXECUTION))


class SFTSettings(OptimSettings):
    """Supervised fine-tuning. Defaults: Arena Learning (Luo et al. 2024), section 4."""

    assistant_turns: Literal["last", "all"] = "last"
    """which assistant turns of `messages` carry the loss; of `prompt` and `completion`, those of the completion do"""


class DPOSettings(OptimSettings):
    """Direct preference optimisation. Defaults: Arena Learning (Luo et al. 2024), section 4; the batch size is ours."""

    epochs: float = Field(default=2.0, gt=0)
    """passes over the pairs; a fraction stops within an epoch"""
    batch_size: int = Field(default=64, ge=1)
    """pairs per optimiser step"""
    learning_rate: float = Field(default=5e-7, gt=0)
    """peak learning rate"""
    beta: float = Field(default=0.3, gt=0)
    """weight of the implicit KL penalty towards the reference"""
    nll_weight: float = Field(default=0.0, ge=0)
    """weight of the cross-entropy on the chosen answers, added to the loss; 0 = off"""


# ---------------------------------------------------------------------- models and judges


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


class ModelSettings(Settings):
    """A model by its SPEC, and how to talk to it. A bare SPEC text stands for ``{spec: TEXT}``."""

    spec: str
    """openai:MODEL, http://HOST:PORT/v1#MODEL, hf:ID_OR_PATH, file:ANSWERS or sandbox:NAME"""
    name: str | None = None
    """what leaderboards call it; null = the last part of the SPEC"""
    sampling: SamplingSettings = SamplingSettings()
    """decoding"""
    system: str | None = None
    """system prompt put before conversations that have none (servers only)"""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """further fields of the request body (servers only)"""
    drop_params: tuple[str, ...] = ()
    """fields left out of the request body, for servers that refuse them, e.g. [temperature] (servers only)"""
    send_seed: bool = False
    """send each request's own seed; needed where sampling is to differ between samples on a seeded server"""
    key_env: str | None = None
    """name of the environment variable that holds the key (servers only)"""
    price: PriceSettings | None = None
    """null = unknown, and so is the cost of the run"""
    concurrency: int | None = Field(None, ge=1)
    """calls in flight at once; null = the kind's default"""
    timeout: float = Field(120.0, gt=0)
    """seconds per request (servers only)"""
    retries: int = Field(6, ge=0)
    """further tries after a passing fault (servers only)"""
    revision: str | None = None
    """commit or branch (hub models only)"""
    chunk_size: int = Field(32, ge=1)
    """prompts per batch (local models only)"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """of the weights (local models only)"""
    device: str | None = None
    """a torch device (local models only); null = the first GPU, or the CPU"""
    options: dict[str, Any] = Field(default_factory=dict)
    """settings of the sandbox's players and judge (noise, seat_bias, …)"""


def _from_text(value: object) -> object:
    return {"spec": value} if isinstance(value, str) else value


class JudgeSettings(ModelSettings):
    """A judging model, its template and its patience."""

    sampling: SamplingSettings = SamplingSettings(temperature=0.0, max_tokens=512)
    """decoding of the judge; METHODS: temperature 0, 512 tokens"""
    template: str = "pairwise"
    """a shipped template"""
    reask: int = Field(2, ge=0)
    """how often a verdict without an outcome is asked again, warmer, as a new sample"""


ModelSpec = Annotated[ModelSettings, BeforeValidator(_from_text)]
JudgeSpec = Annotated[JudgeSettings, BeforeValidator(_from_text)]


class BattleSettings(Settings):
    """One battle run: who, on what, judged by whom."""

    models: tuple[ModelSpec, ...]
    """the contestants"""
    prompts: str
    """a prompt file, or sandbox:prompts?n=…"""
    judge: JudgeSpec
    """who decides"""
    pairs: str = "all"
    """all, target:NAME or sample:N"""
    merge: Literal["mean", "agree_or_tie"] = "mean"
    """how two seats become a battle"""
    allow_missing: bool = False
    """go on where a recorded model lacks answers"""
    concurrency: int | None = Field(None, ge=1)
    """seatings in progress at once; null = what the endpoints allow"""
    seed: int = 0
    """seed of everything that is drawn"""


# ---------------------------------------------------------------------- recipes


class TargetSettings(Settings):
    """The model being improved."""

    model: str
    """where training starts: hf:ID_OR_PATH, or sandbox:target for a fresh tiny model"""
    revision: str | None = None
    """commit or branch of a hub model"""
    sampling: SamplingSettings = SamplingSettings(max_tokens=1024)
    """decoding in battles"""
    chunk_size: int = Field(32, ge=1)
    """prompts per batch"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """of the weights while answering"""
    device: str | None = None
    """a torch device; null = the first GPU, or the CPU"""
    options: dict[str, Any] = Field(default_factory=dict)
    """width, layers, … of a sandbox target"""


class DataSettings(Settings):
    """What is trained on and tested on."""

    demonstrations: str
    """D0: conversations that SFT-I0 learns from (JSONL with `messages`), or sandbox:demonstrations?n=…"""
    prompts: str
    """the pool that is cut into slices, one per later stage, or sandbox:prompts?n=…&split=train"""
    test: str
    """held-out prompts on which every stage is rated"""
    validation: str | None = None
    """held-out prompts that decide which stage of a round was best; null = the round's last stage is taken as best"""
    max_prompts_per_slice: int | None = Field(None, ge=1)
    """null = the pool divided evenly"""


class ArenaLearningSettings(Settings):
    """Arena Learning (Luo et al. 2024, arXiv 2407.10627): the flywheel of battles and training."""

    recipe: Literal["arena_learning"]
    """which recipe this file is for"""
    name: str = "arena_learning"
    """names the default run directory"""
    seed: int = 0
    """seed of everything that is drawn"""
    rounds: int = Field(3, ge=0)
    """rounds after SFT-I0"""
    stages: tuple[Literal["sft", "dpo"], ...] = ("sft", "dpo")
    """stages of a round, in order, each with battles on its own slice of prompts"""
    target: TargetSettings
    """the model being improved"""
    opponents: tuple[ModelSpec, ...] = Field(min_length=1)
    """those it learns from"""
    judge: JudgeSpec
    """who decides, in training and on the test set alike"""
    data: DataSettings
    """prompts and demonstrations"""
    battle_mode: Literal["all_pairs", "target_vs_each"] = "all_pairs"
    """the paper lets all contestants meet"""
    merge: Literal["mean", "agree_or_tie"] = "mean"
    """how two seats become a battle"""
    k_sft: tuple[float, ...] = Field((3.0, 1.0, 1.0), min_length=1)
    """SFT keeps prompts that the target lost by at least this, by round (the last value serves all later rounds)"""
    k_dpo: tuple[float, ...] = Field((2.0, 2.0, 2.0), min_length=1)
    """DPO keeps pairs at least this far apart, by round"""
    rejected: Literal["worst", "target"] = "worst"
    """whose answer a DPO pair rejects"""
    allow_truncated_chosen: bool = False
    """whether an answer that was cut off may be learned from"""
    allow_missing: bool = False
    """go on where a recorded opponent lacks answers"""
    sft_init: Literal["base", "previous_sft", "previous_best"] = "base"
    """where the SFT of each round starts"""
    sft_replay: float = Field(0.0, ge=0)
    """D0 rows mixed into each later SFT, as a share of its selected rows"""
    accumulate: bool = True
    """train on the rows of all rounds so far, as they were selected then; false = on this round's only"""
    anchor: tuple[str, float] | None = None
    """a contestant of the final leaderboard and the rating it is held at"""
    concurrency: int | None = Field(None, ge=1)
    """seatings in progress at once; null = what the endpoints allow"""
    sft_init_training: SFTSettings = SFTSettings()
    """training of SFT-I0"""
    sft: SFTSettings = SFTSettings()
    """training of later SFT stages"""
    dpo: DPOSettings = DPOSettings()
    """training of DPO stages"""

    @model_validator(mode="after")
    def _stages_make_sense(self) -> ArenaLearningSettings:
        if not self.stages or len(set(self.stages)) != len(self.stages):
            raise ValueError("stages: each of sft and dpo at most once, and at least one")
        return self


# ---------------------------------------------------------------------- files and overrides


class _Loader(yaml.SafeLoader):
    """YAML without dates: no setting is one, and a name may look like one."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _load_yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (ValueError, RecursionError) as error:  # a tagged value that is none, thousands of brackets
        raise yaml.YAMLError(str(error)) from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: the file is missing, is no YAML, or holds something else than a mapping.
    """
    path = Path(path)
    try:
        value = _load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{where}: {getattr(error, 'problem', None) or 'no YAML'}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a mapping of settings")
    return value


def override(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply ``key.path=value`` assignments (values are read as YAML); lists are indexed by number.

    Raises:
        ConfigError: an assignment without ``=``, or a path that leads through a plain value.
    """
    out: dict[str, Any] = yaml.safe_load(yaml.safe_dump(dict(values)))  # a deep copy of plain data
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {assignment}: expected key=value")
        try:
            value = _load_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment}: the value is no YAML") from error
        *parents, leaf = path.split(".")
        node: Any = out
        for part in parents:
            if isinstance(node, dict):
                if isinstance(node.get(part), str) and part not in ("data",):
                    node[part] = {"spec": node[part]}  # a bare SPEC grows into its mapping
                node = node.setdefault(part, {})
            elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
                if isinstance(node[int(part)], str):
                    node[int(part)] = {"spec": node[int(part)]}
                node = node[int(part)]
            else:
                raise ConfigError(f"--set {assignment}: there is no setting {part!r}")
        if isinstance(node, dict):
            node[leaf] = value
        elif isinstance(node, list) and leaf.isdigit() and int(leaf) < len(node):
            node[int(leaf)] = value
        else:
            raise ConfigError(f"--set {assignment}: there is no setting {leaf!r}")
    return out


def validate(kind: type[S], values: Mapping[str, Any], source: str) -> S:
    """Check a mapping against its settings class.

    Raises:
        ConfigError: one line that names the source, the key and, for an unknown key, the nearest valid one.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _fields_at(kind, first["loc"][:-1])
            message = f"unknown key {where!r}{nearest(str(first['loc'][-1]), known)}"
        elif first["type"] == "missing":
            message = f"{where!r} is missing"
        else:
            message = f"{where}: {first['msg']}" if where else str(first["msg"])
        raise ConfigError(f"{source}: {message}") from error


def _fields_at(kind: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The valid keys at a path of nested settings."""
    for part in path:
        if isinstance(part, int):
            continue
        field = kind.model_fields.get(str(part))
        inner = _settings_in(field.annotation) if field is not None else None
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _settings_in(argument)) is not None:
            return found
    return None


def dump_yaml(settings: Settings) -> str:
    """The resolved settings as YAML; keys are never part of settings, only names of environment variables."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
