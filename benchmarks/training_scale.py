"""Models and sizes of the table of real sizes, for a GPU and for a CPU, and how they are timed.

Models have random weights in Llama's form and are built here, nothing is downloaded; their tokenizer has one token per
letter.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from figures import Figure, pairs_of_words

from arenaloop.config import METHODS
from arenaloop.sandbox.target import build_tokenizer


@dataclass(frozen=True)
class Shape:
    """A model's sizes, in Llama's form."""

    width: int
    inner: int
    layers: int
    heads: int
    groups: int
    vocabulary: int
    dtype: str = "float32"

    def build(self, folder: Path, device: str) -> Path:
        """Write it with random weights and a tokenizer of its vocabulary, once; its directory."""
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

        out = folder / f"{self.width}x{self.layers}-{self.vocabulary}"
        if out.exists():
            return out
        small = build_tokenizer()
        core = json.loads(small.backend_tokenizer.to_str())
        known = core["model"]["vocab"]
        known.update({f"<{n}>": n for n in range(len(known), self.vocabulary)})
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(core)),
            **small.special_tokens_map,
            padding_side="left",
            chat_template=small.chat_template,
        )
        config = LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.groups,
            max_position_embeddings=4096,
            tie_word_embeddings=self.dtype == "float32",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        torch.manual_seed(0)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, self.dtype))
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        return out

    def flop(self, method: str, length: float, labelled: float, lora: bool) -> float:
        """Model FLOP of a token in training, in rows of `length` tokens of which the share `labelled` is predicted."""
        size = self.width // self.heads
        layer = 2 * self.width * size * (self.heads + self.groups) + 3 * self.width * self.inner
        head = 0.0 if method == "reward_model" else self.width * self.vocabulary * labelled
        attention = 2 * length * self.width * self.layers  # of a causal forward pass; twice that in the backward pass
        return (4 if lora else 6) * (self.layers * layer + head) + 3 * attention


@dataclass(frozen=True)
class Scale:
    """How large everything is on a device.

    Attributes:
        device: ``cuda`` or ``cpu``.
        small, large: the models, trained whole and by adapters.
        memory: the model whose peak memory is measured.
        letters: fewest and most of each text; a row has about their sum.
        row: padded tokens of a row, by which passes are cut.
        rows, part: rows of an optimiser step and of a pass, and `large_rows`, `large_part` those of the large model.
        steps: of a training; the first two are not timed.
        sampled: rows, and fewest and most tokens of an answer.
        rollout, new, rollouts: answers of a roll-out, their tokens, and how many roll-outs; the first is not timed.
        large_rollout: answers of a roll-out of the large model.
        seconds: after which no further part is begun.
    """

    device: str
    small: Shape
    large: Shape
    memory: Shape
    letters: tuple[int, int]
    row: int
    rows: int
    part: int
    large_rows: int
    large_part: int
    steps: int
    sampled: tuple[int, int, int]
    rollout: int
    new: int
    rollouts: int
    large_rollout: int
    seconds: float

    def least(self, name: str, value: Sequence[float], limit: float) -> Figure:
        """One that ought to reach a limit, which is one of real sizes on a GPU."""
        return Figure.least(name, value, limit) if self.device == "cuda" else Figure(name, value)

    def most(self, name: str, value: Sequence[float], limit: float) -> Figure:
        """One that ought to stay within a limit, which is one of real sizes on a GPU."""
        return Figure.most(name, value, limit) if self.device == "cuda" else Figure(name, value)

    def clock(self) -> float:
        """Seconds; a GPU has done what it was told by then."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


_HALF = Shape(896, 4864, 24, 14, 2, 131_072)
SCALES = {
    "cuda": Scale(
        "cuda", _HALF, Shape(4096, 14_336, 32, 32, 8, 128_256, "bfloat16"), _HALF, (300, 700), 1024,
        rows=64, part=16, large_rows=16, large_part=4, steps=6, sampled=(512, 32, 256),
        rollout=128, new=256, rollouts=3, large_rollout=32, seconds=450,
    ),
    "cpu": Scale(
        "cpu", Shape(64, 176, 2, 4, 2, 2048), Shape(96, 256, 2, 4, 2, 2048, "bfloat16"),
        Shape(64, 176, 2, 4, 2, 32_768), (30, 70), 128,
        rows=8, part=4, large_rows=4, large_part=2, steps=4, sampled=(32, 4, 32),
        rollout=16, new=12, rollouts=3, large_rollout=8, seconds=600,
    ),
}  # fmt: skip


def settings_of(scale: Scale, method: str, large: bool, **more: Any) -> Any:
    """Ours for a training of the small model, or of the large one by adapters."""
    shape = scale.large if large else scale.small
    rows, part = (scale.large_rows, scale.large_part) if large else (scale.rows, scale.part)
    known: dict[str, Any] = dict(METHODS)
    adapters = {"lora": {"r": 16, "merge": False}, "dtype": shape.dtype} if large else {}
    asked = {
        "device": scale.device,
        "learning_rate": 1e-6,
        "checkpoint_every": 0,
        "log_every": 1,
        "micro_tokens": part * scale.row,
        **adapters,
    }
    if method != "ppo":
        asked |= {"batch_size": rows // (1 if method == "sft" else 2), "max_steps": scale.steps, "max_length": 4096}
    if method == "reward_model":
        asked["held_out"] = 0.0
    return known[method](**asked | more)


def trl_arguments(scale: Scale, method: str, large: bool) -> dict[str, Any]:
    """The same for TRL: the same precision, rows of a step and of a pass."""
    rows, part = (scale.large_rows, scale.large_part) if large else (scale.rows, scale.part)
    of_pass = part if method == "sft" else part // 2
    kept = {"dtype": scale.large.dtype if large else "float32", "attn_implementation": "sdpa"}
    return {
        "per_device_train_batch_size": of_pass,
        "gradient_accumulation_steps": rows // part,
        "max_steps": scale.steps,
        "max_length": 4096,
        "learning_rate": 1e-6,
        "logging_steps": 1,
        "use_cpu": scale.device == "cpu",
        "bf16": scale.device == "cuda",
        "model_init_kwargs": kept,
        "lora": import_module("peft").LoraConfig(r=16, lora_alpha=32, target_modules="all-linear") if large else None,
    }


def data_of(scale: Scale, method: str) -> list[dict[str, Any]]:
    """Rows for a whole training, none seen twice."""
    pairs = pairs_of_words(scale.rows * scale.steps, *scale.letters)
    return [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs] if method == "sft" else pairs


def seconds(scale: Scale, work: Callable[[], object]) -> float:
    """Of a piece of work, by the scale's clock."""
    begun = scale.clock()
    work()
    return scale.clock() - begun


def matmul_peak(scale: Scale) -> float:
    """FLOP a second of a large matrix product: in bfloat16 on a GPU, in float32 by one thread of a CPU."""
    size, dtype = (8192, torch.bfloat16) if scale.device == "cuda" else (1024, torch.float32)
    one, other = (torch.randn(size, size, device=scale.device, dtype=dtype) for _ in range(2))
    times = 20 if scale.device == "cuda" else 3
    one @ other
    return 2 * size**3 * times / seconds(scale, lambda: [one @ other for _ in range(times)])


def held(device: str, *, most: bool = False, forget: bool = False) -> float:
    """MB in use, or the most that were since it was last forgotten."""
    if device == "cuda":
        torch.cuda.synchronize()
        if forget:
            torch.cuda.reset_peak_memory_stats()
        return (torch.cuda.max_memory_allocated() if most else torch.cuda.memory_allocated()) / 2**20
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM" if most else "VmRSS"))


def clear(scale: Scale) -> None:
    """Give back what the last part held."""
    gc.collect()
    if scale.device == "cuda":
        torch.cuda.empty_cache()


def lengths_of(data: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Mean tokens of prompts, with the three of the template, and of answers with their end: a letter is a token."""
    answers = [row[side] for row in data for side in ("completion", "chosen", "rejected") if side in row]
    return 3 + mean(len(row["prompt"][0]["content"]) for row in data), 1 + mean(len(a[0]["content"]) for a in answers)
