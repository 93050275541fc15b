"""The table of real sizes: training, memory, sampling and reinforcement learning beside TRL, `generate` and vLLM.

    python benchmarks/training.py --device cuda     one GPU of 140 GB, about 8 minutes: what begins later is skipped
    python benchmarks/training.py --tiny            the same with models that a CPU trains, in about 2 minutes

Each figure is a ratio to what does the same in this run, on the same model and rows. Seconds are those of the
clock, with the GPU waited for (on a CPU the process's own). A share of the peak is model FLOP / (seconds x FLOP a
second of a large matrix product in this run); recomputation and what LoRA does not need are not counted.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from figures import Figure, Laps, pairs_of_words, table, train_by_trl
from training_scale import (
    SCALES,
    Scale,
    clear,
    data_of,
    held,
    lengths_of,
    matmul_peak,
    seconds,
    settings_of,
    trl_arguments,
)

from arenaloop.config import PPOSettings
from arenaloop.models.decoding import Continuation, decode
from arenaloop.train import methods
from arenaloop.train.session import Reward


class SkippedError(Exception):
    """Why a figure is not measured."""


# ---------------------------------------------------------------------- training on rows


def trained(scale: Scale, folder: Path, peak: float, method: str, large: bool) -> Iterator[Figure]:
    """Steps of ours against TRL's, and the share of the peak that ours reach."""
    shape = scale.large if large else scale.small
    start, data = shape.build(folder, scale.device), data_of(scale, method)
    ours, theirs = Laps(scale.clock), Laps(scale.clock)
    methods.training(method, start, data, folder / "out", settings_of(scale, method, large), seed=0, on_step=ours.ours)
    clear(scale)
    train_by_trl(method, start, data, folder / "trl", theirs.theirs(), **trl_arguments(scale, method, large))
    mine, other = ours.between(2, scale.steps), theirs.between(2, scale.steps)
    given, answered = lengths_of(data)
    tokens = (scale.large_rows if large else scale.rows) * (scale.steps - 2) * (given + answered)
    share = shape.flop(method, given + answered, answered / (given + answered), large) * tokens / mine / peak
    name = f"{method}, {'adapters on the large' if large else 'the small'} model"
    yield scale.least(f"{name}: ours / TRL, tokens a second", [other / mine], 1.0 if large else 1.1)
    yield Figure(f"{name}: tokens a second", [tokens / mine], form="{:,.0f}")
    title = f"{name}: share of the {'GPU' if scale.device == 'cuda' else 'CPU thread'}'s measured peak"
    yield scale.least(title, [share], 0.4 if large else 0.3)


# ---------------------------------------------------------------------- memory


def memory(scale: Scale, folder: Path) -> Iterator[Figure]:
    """Peak of a step beyond weights and optimiser, each in a process of its own."""
    scale.memory.build(folder, scale.device)
    found = {way: memory_of(scale, folder, way) for way in ("ours", "trl")}
    title = f"peak memory of SFT, {scale.memory.vocabulary:,} tokens in the vocabulary: ours"
    yield Figure(f"{title}, MB", [found["ours"]], form="{:,.0f}")
    yield scale.most(f"{title} / TRL", [found["ours"] / found["trl"]], 0.5)
    if scale.device != "cuda" or find_spec("liger_kernel") is None:
        raise SkippedError("TRL with Liger: it needs a GPU and liger_kernel")
    yield scale.most(f"{title} / TRL with Liger", [found["ours"] / memory_of(scale, folder, "liger")], 1.0)


def memory_of(scale: Scale, folder: Path, way: str) -> float:
    """MB that a process of its own reports."""
    command = [sys.executable, __file__, scale.device, str(folder), way]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(said.splitlines()[-1])


def memory_here(scale: Scale, folder: Path, way: str) -> None:
    """Print the peak of the steps after the second, in MB beyond what was held between them."""
    torch.set_num_threads(1)
    start, data = scale.memory.build(folder, scale.device), data_of(scale, "sft")
    before = peak = 0.0

    def step(number: int) -> None:
        nonlocal before, peak
        if number == 2:
            gc.collect()
            before = held(scale.device, forget=True)
        if number == scale.steps:
            peak = held(scale.device, most=True)

    settings = settings_of(scale, "sft", False)
    if way == "ours":
        methods.training("sft", start, data, folder / "m", settings, seed=0, on_step=lambda n, *_: step(n))
    else:
        asked = trl_arguments(scale, "sft", False)
        train_by_trl("sft", start, data, folder / "m", Laps().theirs(step), **asked, use_liger_kernel=way == "liger")
    print(peak - before)


# ---------------------------------------------------------------------- sampling


def sampling(scale: Scale, folder: Path) -> Iterator[Figure]:
    """Answers of mixed lengths by our decoding, `generate` and, where it is installed, vLLM."""
    count, least, most = scale.sampled
    start = scale.small.build(folder, scale.device)
    r = random.Random(0)
    prompts = [[r.randint(20, 80) for _ in range(r.randint(*scale.letters) // 3)] for _ in range(count)]
    limits = [r.randint(least, most) for _ in prompts]
    pairs = sampled(scale, start, prompts, limits)
    yield scale.least("sampling: ours / generate, answers a second", [b / a for a, b in pairs], 1.3)
    yield Figure("sampling: tokens a second", [sum(limits) / a for a, _ in pairs], form="{:,.0f}")
    if scale.device != "cuda" or find_spec("vllm") is None:
        raise SkippedError("sampling by vLLM: it needs a GPU and vllm")
    clear(scale)
    vllm = import_module("vllm")
    engine = vllm.LLM(model=str(start), dtype="bfloat16", gpu_memory_utilization=0.5)
    rules = [vllm.SamplingParams(temperature=1.0, max_tokens=n, ignore_eos=True, detokenize=False) for n in limits]
    work = partial(engine.generate, [{"prompt_token_ids": p} for p in prompts], rules, use_tqdm=False)
    theirs = [seconds(scale, work) for _ in range(3)][1:]
    yield Figure("sampling: ours / vLLM, answers a second", [b / a for (a, _), b in zip(pairs, theirs, strict=True)])


def sampled(scale: Scale, start: Path, prompts: list[list[int]], limits: list[int]) -> list[tuple[float, float]]:
    """Seconds of our decoding and of `generate`, which goes on to the highest limit, by turns after a first one."""
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if scale.device == "cuda" else torch.float32
    module: Any = AutoModelForCausalLM.from_pretrained(start, dtype=dtype).eval()
    module.to(scale.device)

    def own() -> None:
        todo = [Continuation(p, n, 1.0, seed=at) for at, (p, n) in enumerate(zip(prompts, limits, strict=True))]
        decode(module, todo, frozenset())

    def generate() -> None:
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=scale.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=scale.device)
        asked = {"do_sample": True, "max_new_tokens": max(limits), "eos_token_id": None, "pad_token_id": 0}
        with torch.no_grad():
            module.generate(input_ids=ids, attention_mask=mask, **asked)

    return [(seconds(scale, own), seconds(scale, generate)) for _ in range(3)][1:]


# ---------------------------------------------------------------------- reinforcement learning


def ppo(scale: Scale, folder: Path, large: bool) -> Iterator[Figure]:
    """PPO's answers a second; of the small model beside TRL's RLOO with equal answers and updates."""
    shape, count = (scale.large, scale.large_rollout) if large else (scale.small, scale.rollout)
    start = shape.build(folder, scale.device)
    prompts = [{"prompt": row["prompt"]} for row in pairs_of_words(count, *(n // 4 for n in scale.letters))]
    settings: PPOSettings = settings_of(
        scale, "ppo", large, iterations=scale.rollouts, rollout_batch=count, samples=4, step_batch=count // 2,
        max_new_tokens=scale.new, stop_distinct=0.0, stop_cut=1.0,
    )  # fmt: skip

    def score(asked: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
        return [float(len(answer) % 7) for answer in answers]

    laps, out = Laps(scale.clock), folder / f"ppo-{large}"
    methods.training("ppo", start, prompts, out, settings, seed=0, reward=Reward(score, "a"), on_step=laps.ours)
    told = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][1:]
    ends = sorted(laps.ends)
    mine = (laps.ends[ends[-1]] - laps.ends[ends[0]]) / (len(ends) - 1)
    name = f"ppo, {'adapters on the large' if large else 'the small'} model"
    yield scale.least(f"{name}: answers a second", [count / mine], 2 if large else 15)
    phases = ("sampling", "scoring", "crediting", "update")
    for phase in phases:
        shares = [line[f"seconds/{phase}"] / sum(line[f"seconds/{each}"] for each in phases) for line in told]
        yield Figure(f"{name}: share of {phase}", shares)
    if large:
        return
    clear(scale)
    theirs, spent = Laps(scale.clock), [0.0]
    steps_each, parts = 4, 8  # two steps of half the roll-out each, twice

    def prepare(trainer: Any) -> None:
        sample = trainer._generate_and_score_completions

        def timed(*arguments: Any, **named: Any) -> Any:
            begun = scale.clock()
            found = sample(*arguments, **named)
            spent[0] += (scale.clock() - begun) if trainer.state.global_step >= steps_each else 0.0
            return found

        trainer._generate_and_score_completions = timed

    train_by_trl(
        "rloo", start, prompts, folder / "rloo", theirs.theirs(), prepare=prepare,
        reward_funcs=lambda completions, **_: [float(len(each[0]["content"]) % 7) for each in completions],
        num_generations=4, max_completion_length=scale.new, num_iterations=2, max_steps=steps_each * scale.rollouts,
        per_device_train_batch_size=count // parts, gradient_accumulation_steps=parts // 2, steps_per_generation=parts,
        learning_rate=1e-6, logging_steps=1, use_cpu=scale.device == "cpu", bf16=scale.device == "cuda",
        model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"},
    )  # fmt: skip
    rounds = scale.rollouts - 1
    other = theirs.between(steps_each, steps_each * scale.rollouts) / rounds
    update = mean(line["seconds/update"] for line in told)
    yield Figure(f"{name}: answers a second, PPO of ours / RLOO of TRL", [other / mine])
    if scale.device == "cuda":  # on a CPU the phases have wall time, and this process's own is another
        ratio = (other - spent[0] / rounds) / update
        yield scale.least(f"{name}: time of updates, RLOO of TRL / PPO of ours", [ratio], 1.2)


# ---------------------------------------------------------------------- all of it


def run(device: str) -> None:
    """Measure, and print the table, what was skipped and what failed."""
    scale, begun = SCALES[device], time.perf_counter()
    if device == "cpu":
        torch.set_num_threads(1)
    figures: list[Figure] = []
    others: list[str] = []
    failed = False
    peak = matmul_peak(scale)
    kinds = ("sft", "dpo", "reward_model")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Iterator[Figure]]] = {
            **{kind: partial(trained, scale, folder, peak, kind, False) for kind in kinds},
            "sampling": partial(sampling, scale, folder),
            "ppo": partial(ppo, scale, folder, False),
            "memory": partial(memory, scale, folder),
            **{f"{kind}, adapters": partial(trained, scale, folder, peak, kind, True) for kind in kinds},
            "ppo, adapters": partial(ppo, scale, folder, True),
        }
        for part, work in parts.items():
            if time.perf_counter() - begun > scale.seconds:
                others.append(f"skipped: {part}: {scale.seconds:.0f} seconds were over")
                continue
            try:
                for figure in work():
                    figures.append(figure)
                    print(table([figure]).splitlines()[-1], flush=True)
            except SkippedError as reason:
                others.append(f"skipped: {part}: {reason}")
            except Exception as error:  # one part that fails must not lose the figures of the others
                failed = True
                last = str(getattr(error, "stderr", None) or error).strip().splitlines()[-1:]
                others.append(f"FAILED: {part}: {type(error).__name__}: {' '.join(last)}")
            clear(scale)
            others.append(f"{part}: done after {time.perf_counter() - begun:.0f} s")
    where = torch.cuda.get_device_name() if device == "cuda" else "one thread of a CPU: no figure of a GPU"
    print(f"\n{where}; measured peak {peak / 1e12:.2f} TFLOP/s; {time.perf_counter() - begun:.0f} s in all\n")
    print(table(figures))
    print("\n".join(others))
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    memory_here(SCALES[sys.argv[1]], Path(sys.argv[2]), sys.argv[3])
