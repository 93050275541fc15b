"""What the benchmarks of training share: figures with their spread, clocks, rows, and TRL's side of a training."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

__all__ = ["Figure", "Laps", "cpu", "pairs_of_words", "spread", "table", "train_by_trl"]


class Figure(NamedTuple):
    """One line of the table.

    Attributes:
        name: what was measured.
        values: of the turns.
        limit: what the median ought to be, as it is printed; empty = nothing is asked of it.
        held: whether the median is so.
        form: of the numbers.
    """

    name: str
    values: Sequence[float]
    limit: str = ""
    held: bool | None = None
    form: str = "{:.2f}"

    @classmethod
    def least(cls, name: str, values: Sequence[float], limit: float) -> Figure:
        """One that ought to reach a limit."""
        return cls(name, values, f">= {limit:g}", median(values) >= limit)

    @classmethod
    def most(cls, name: str, values: Sequence[float], limit: float) -> Figure:
        """One that ought to stay within a limit."""
        return cls(name, values, f"<= {limit:g}", median(values) <= limit)


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Median, smallest and largest."""
    return f"{form.format(median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def table(figures: Sequence[Figure]) -> str:
    """The figures, a line each: medians with the smallest and the largest, the limit, whether it holds."""
    words = {True: "holds", False: "SHORT", None: ""}
    rows = [(each.name, spread(each.values, each.form), each.limit, words[each.held]) for each in figures]
    head = ("", f"median of {len(figures[0].values) if figures else 0} (least to most)", "limit", "")
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in [head, *rows]
    )


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a piece of work in this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


class Laps:
    """When each step of a training ended, by a clock.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.clock = clock
        self.ends: dict[int, float] = {}

    def ours(self, step: int, total: int, figures: Mapping[str, float]) -> None:
        """An `on_step` of ours."""
        self.ends[step] = self.clock()

    def between(self, first: int, last: int) -> float:
        """Seconds from the end of one step to the end of another."""
        return self.ends[last] - self.ends[first]

    def theirs(self, also: Callable[[int], None] = lambda step: None) -> Any:
        """A callback of the `transformers` trainer that does the same."""

        def ended(callback: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.ends[state.global_step] = self.clock()
            also(state.global_step)

        return type("Callback", (import_module("transformers").TrainerCallback,), {"on_step_end": ended})()


def pairs_of_words(count: int, least: int, most: int, seed: int = 0) -> list[dict[str, Any]]:
    """Preference rows: a prompt and two answers of letters, of uniformly drawn lengths, as lists of turns."""
    r = random.Random(seed)

    def said(role: str) -> list[dict[str, str]]:
        return [{"role": role, "content": "".join(r.choices("abcdefghij klmno", k=r.randint(least, most)))}]

    return [{"prompt": said("user"), "chosen": said("assistant"), "rejected": said("assistant")} for _ in range(count)]


TRAINERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("SFT", {"completion_only_loss": True}),
    "dpo": ("DPO", {"precompute_ref_log_probs": True}),
    "reward_model": ("Reward", {}),
    "rloo": ("RLOO", {}),
}
"""Of our methods, TRL's trainer, and what makes it compute what ours does."""


def train_by_trl(
    method: str, start: Path, rows: list[dict[str, Any]], out: Path, callback: Any, *, lora: Any = None, **asked: Any
) -> Any:
    """Load, tokenise, train and save as TRL does; the trainer.

    Args:
        method: ours, as in `TRAINERS`.
        start: the model.
        rows: in TRL's form.
        out: where the result is saved.
        callback: of the trainer.
        lora: a configuration of peft.
        asked: arguments of TRL's configuration; ``prepare``, if given, is told the trainer before it trains, and
            ``reward_funcs`` go to the trainer.
    """
    trl, datasets, transformers = (import_module(name) for name in ("trl", "datasets", "transformers"))
    name, own = TRAINERS[method]
    prepare = asked.pop("prepare", lambda trainer: None)
    more = {"reward_funcs": asked.pop("reward_funcs")} if "reward_funcs" in asked else {}
    arguments = {
        "output_dir": str(out),
        "report_to": [],
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        **own,
        **asked,
    }
    trainer = getattr(trl, f"{name}Trainer")(
        model=str(start),
        args=getattr(trl, f"{name}Config")(**arguments),
        train_dataset=datasets.Dataset.from_list(rows),
        callbacks=[callback],
        peft_config=lora,
        **more,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    prepare(trainer)
    trainer.train()
    trainer.save_model(str(out))
    return trainer
