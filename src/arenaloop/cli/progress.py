"""What long work looks like in a terminal: a bar with rate, ETA, failures and cost; plain lines elsewhere.

Everything goes to stderr, so that stdout holds results only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from rich import progress
from rich.console import Console
from rich.text import Text

from arenaloop.calls.budget import dollars
from arenaloop.calls.estimated import Estimate, duration
from arenaloop.calls.notices import told_notices
from arenaloop.calls.progress import Tally
from arenaloop.errors import StorageError
from arenaloop.jsonl import write_json
from arenaloop.models.speed import Speed
from arenaloop.recipes.observer import Observer
from arenaloop.store import Store
from arenaloop.terminal import counted, say

__all__ = ["PROGRESS", "Watch", "say_notices", "say_undecided"]

PROGRESS = "progress.json"
"""Name of the file in a run directory that tells, while a process works there, how far it is."""
_PLAIN_EVERY = 15.0  # seconds between lines where there is no terminal
_KEPT_EVERY = 1.0  # seconds between versions of the file


class _Rate(progress.ProgressColumn):
    def render(self, task: progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="dim")


class Watch(Observer):
    """A live view of a run, on stderr by default; a recipe's observer and a battle's progress callback in one.

    Args:
        console: where to.
        label: what goes on.
        expected: what is to be asked, so that the first chunk of a local model tells how long all of it takes.
        kept: a file that says how far it is, for whoever looks from elsewhere; it goes when the work has ended.
    """

    def __init__(
        self,
        console: Console | None = None,
        label: str = "",
        expected: Estimate | None = None,
        kept: Path | None = None,
    ) -> None:
        self.console = console or Console(stderr=True)
        self._progress = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            _Rate(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.console,
            transient=True,
            refresh_per_second=4,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task(label, total=None, note="")
        self._label = label
        self._expected, self._paced = expected, set[tuple[str, str]]()
        self._last_line, self._last_done = time.monotonic(), 0
        self._kept, self._last_kept = kept, 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if self._kept is not None:
            with suppress(OSError):
                self._kept.unlink(missing_ok=True)

    def phase(self, stage: str, doing: str) -> None:
        """A stage has begun something."""
        self._label = f"{stage} {doing}".strip()
        self._progress.reset(self._task, description=self._label, total=None, completed=0, note="")
        self._last_line, self._last_done = time.monotonic(), 0
        self._keep(0, 0, "")

    def tally(self, counts: Tally) -> None:
        """Battles have moved on: seatings decided, or answers where nothing is judged."""
        while counts.notices:
            say(self.console, counts.notices.popleft(), fold=True)
        for who in counts.paces.keys() - self._paced:
            self._paced.add(who)
            say(self.console, _paced(who, *counts.paces[who], self._expected), fold=True)
        done, total, unit = counts.verdicts, counts.verdicts_total, "verdicts"
        if not total:
            done, total, unit = counts.answers, counts.answers_total, "answers"
        cost = "" if not counts.usd else f" · ${counts.usd:,.2f}"
        if cost and counts.usd_estimated:
            cost += f" (${dollars(counts.usd_estimated)} estimated)"
        if limits := _limits(counts):
            cost = f" · spent {limits}"
        failed = f" · {counts.failed:,} failed" if counts.failed else ""
        waiting = counts.answers < counts.answers_total and unit == "verdicts"
        answers = f" · {counts.answers:,}/{counts.answers_total:,} answers" if waiting else ""
        flying = f" ({counts.in_flight:,} in flight)" if counts.in_flight else ""
        note = f"{unit}{answers} · {counted(counts.calls, 'call')}{flying} · {counts.cached:,} stored{failed}{cost}"
        self._update(done, total, note)

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Training has moved on."""
        loss = metrics.get("loss")
        self._update(step, total, "steps" + (f" · loss {loss:.3f}" if loss is not None else ""))

    def note(self, text: str) -> None:
        """One line that stays."""
        say(self.console, text, fold=True)

    def done(self, stage: str, result: Mapping[str, object]) -> None:
        """A stage is finished: one line that stays."""
        parts = [f"{result['rows']:,} rows" if isinstance(result.get("rows"), int) else ""]
        gold = result.get("gold_accuracy")
        if isinstance(gold, float):
            parts.append(f"gold accuracy {gold:.1%}")
        seconds = result.get("seconds")
        if isinstance(seconds, float):
            parts.append(f"{seconds:.0f} s")
        say(self.console, f"{stage:<8} " + " · ".join(part for part in parts if part), fold=True)

    def _update(self, done: int, total: int, note: str) -> None:
        self._progress.update(self._task, completed=done, total=total, note=note)
        now = time.monotonic()
        if now - self._last_kept >= _KEPT_EVERY:
            self._keep(done, total, note)
        if not self.console.is_terminal and now - self._last_line >= _PLAIN_EVERY:
            pace = _pace(done - self._last_done, total - done, now - self._last_line)
            self._last_line, self._last_done = now, done
            say(self.console, f"{self._label}: {done:,}/{total:,} {note}{pace}", fold=True)

    def _keep(self, done: int, total: int, note: str) -> None:
        if self._kept is None:
            return
        self._last_kept = time.monotonic()
        with suppress(OSError, StorageError):  # the work itself is not to fail of it
            write_json(self._kept, {"doing": self._label, "done": done, "total": total, "note": note})


def _paced(who: tuple[str, str], seconds: float, speed: Speed, expected: Estimate | None) -> str:
    """What the first chunk of a local model has shown."""
    roles = () if expected is None else expected.roles
    calls = next((role.calls for role in roles if (role.role, role.name) == who), 0)
    whole = f"{calls:,} calls take about {duration(calls * seconds)}, at " if calls else ""
    return f"{' '.join(who)}: {whole}{seconds:,.2g} s a call ({speed.words()})"


def _limits(counts: Tally) -> str:
    """What the run directory has cost of what it may, where that is limited."""
    budget = counts.budget
    calls = "" if budget.calls is None else f"{budget.spent_calls:,} of {budget.calls:,} calls"
    return " · ".join(part for part in (calls, "" if budget.usd is None else budget.money()) if part)


def _pace(done: int, left: int, seconds: float) -> str:
    """Units a second since the last line, and the time that the rest takes at that rate."""
    if done <= 0 or seconds <= 0:
        return ""
    rest = round(left * seconds / done)
    return f" · {done / seconds:,.1f}/s · {rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02} left"


def say_notices(console: Console, store: Store) -> None:
    """Print what is odd about the replies of each server, a line for each oddity."""
    for line in told_notices(store):
        say(console, f"warning: {line}", fold=True)


def say_undecided(console: Console, summary: Mapping[str, Any], error: str | None, unread: str | None) -> None:
    """Print one line: how many battles stayed undecided, what became of their verdicts, the commonest error, how many
    count as losses all the same.

    Args:
        unread: the end of a verdict that could not be read, for an example.
    """
    undecided = summary["battles_wanted"] - summary["battles_decided"]
    example = {"unparsed": f", for example “{unread}”"} if unread else {}
    told = ((status, n) for status, n in summary["verdicts_failed"].items() if n)
    failed = ", ".join(f"{n:,} {status}{example.get(status, '')}" for status, n in told)
    why = f"{failed or 'answers missing'}" + (f"; most often: {error}" if error else "")
    lost = {model: sum(kinds.values()) for model, kinds in summary.get("losses_by_own_failure", {}).items()}
    who = ", ".join(f"{model} {n:,}" for model, n in sorted(lost.items(), key=lambda item: (-item[1], item[0]))[:5])
    counted = f"; {sum(lost.values()):,} of them count as losses by own failure ({who})" if lost else ""
    say(console, f"{undecided:,} battles undecided ({why}){counted}; run again to ask again")
