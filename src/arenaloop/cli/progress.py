"""What long work looks like in a terminal: a bar with rate, ETA, failures and cost; plain lines elsewhere.

Everything goes to stderr, so that stdout holds results only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from arenaloop.calls.estimated import Estimate, duration
from arenaloop.calls.notices import told_notices
from arenaloop.calls.progress import Tally
from arenaloop.cli.progress_lines import Pace, fitted, headed, tally_parts, time_left
from arenaloop.errors import StorageError
from arenaloop.jsonl import write_json
from arenaloop.models.speed import Speed
from arenaloop.recipes.observer import Observer
from arenaloop.store import Store
from arenaloop.terminal import say

__all__ = ["Watch", "say_notices", "say_undecided"]

_PLAIN_EVERY = 15.0  # seconds between lines where there is no terminal
_KEPT_EVERY = 1.0  # seconds between versions of the file


class Watch(Observer):
    """A live view of a run, on stderr by default; a recipe's observer and a battle's progress callback in one.

    It takes as many lines as the terminal's width asks for: totals, rate, time left, failures and cost are never cut.

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
        self._live = (
            Live(self, console=self.console, transient=True, refresh_per_second=4) if self.console.is_terminal else None
        )
        self._spinner = Spinner("dots")
        self._expected, self._paced = expected, set[tuple[str, str]]()
        self._kept, self._last_kept = kept, 0.0
        self._head = label
        self._begin(label)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self._kept is not None:
            with suppress(OSError):
                self._kept.unlink(missing_ok=True)

    def _begin(self, label: str) -> None:
        self._label, self._pace = label, Pace()
        self._done, self._unit, self._parts = 0, "", list[str]()
        self._total: int | None = None
        self._begun = self._last_line = time.monotonic()
        self._last_done = 0

    def phase(self, stage: str, doing: str) -> None:
        """A stage has begun something."""
        self._head = f"{stage} {doing}".strip()
        self._begin(self._head)
        self._keep(0, 0, "")

    def tally(self, counts: Tally) -> None:
        """Battles have moved on: seatings decided, or answers where nothing is judged."""
        while counts.notices:
            say(self.console, counts.notices.popleft(), fold=True)
        for who in counts.paces.keys() - self._paced:
            self._paced.add(who)
            say(self.console, _paced(who, *counts.paces[who], self._expected), fold=True)
        self._update(*tally_parts(counts))

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Training has moved on."""
        if self._label != self._head:  # what came before the first step is through
            self._begin(self._head)
        loss = metrics.get("loss")
        self._update(step, total, "steps", [f"loss {loss:.3f}"] if loss is not None else [])

    def preparing(self, what: str, done: int, total: int) -> None:
        """What is done before the first step."""
        label = f"{self._head}: {what}"
        if self._label != label:
            self._begin(label)
            self._keep(0, 0, "")
        if total:
            self._update(done, total, "rows", [])

    def note(self, text: str) -> None:
        """One line that stays."""
        say(self.console, text, fold=True)

    def done(self, stage: str, result: Mapping[str, object]) -> None:
        """A stage is finished: one line that stays."""
        parts = [f"{result['rows']:,} rows" if isinstance(result.get("rows"), int) else ""]
        if result.get("adopted"):
            parts = ["adopted"]
        gold = result.get("gold_accuracy")
        if isinstance(gold, float):
            parts.append(f"gold accuracy {gold:.1%}")
        seconds = result.get("seconds")
        if isinstance(seconds, float):
            parts.append(f"{seconds:.0f} s")
        say(self.console, f"{stage:<8} " + " · ".join(part for part in parts if part), fold=True)

    def _update(self, done: int, total: int, unit: str, parts: list[str]) -> None:
        now = time.monotonic()
        self._pace.update(now, done)
        self._done, self._total, self._unit, self._parts = done, total, unit, parts
        if now - self._last_kept >= _KEPT_EVERY:
            self._keep(done, total, " · ".join([unit, *parts]))
        if self._live is None and now - self._last_line >= _PLAIN_EVERY:
            words = _since(done - self._last_done, total - done, now - self._last_line)
            self._last_line, self._last_done = now, done
            say(self.console, f"{self._label}: {' · '.join([f'{done:,}/{total:,} {unit}', *parts, *words])}", fold=True)

    def _keep(self, done: int, total: int, note: str) -> None:
        if self._kept is None:
            return
        self._last_kept = time.monotonic()
        with suppress(OSError, StorageError):  # the work itself is not to fail of it
            write_json(self._kept, {"doing": self._label, "done": done, "total": total, "note": note})

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, now = max(options.max_width - 1, 20), time.monotonic()  # the last cell would break some terminals' lines
        pace = [] if self._total is None else self._pace.words(now, self._total - self._done)
        label, bar, figures = headed(self._label, self._done, self._total, [self._unit, *pace], width - 2)
        cells: list[Any] = [self._spinner, Text(label)]
        beside = 2 + len(label) + 1 + len(" · ".join(figures)) <= width
        if bar:
            cells.append(ProgressBar(total=self._total or 1, completed=self._done, width=bar))
        if beside:
            cells.append(Text(" · ".join(figures)))
        yield _row(cells)
        parts = [*self._parts, f"{time_left(now - self._begun)} gone"]
        below = [*([] if beside else fitted(figures, width)), *fitted(parts, width)]
        yield Text("\n".join(below), style="dim")


def _row(cells: list[Any]) -> Table:
    """Cells side by side, a blank between them."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    for _ in cells:
        grid.add_column(no_wrap=True)
    grid.add_row(*cells)
    return grid


def _since(done: int, left: int, seconds: float) -> list[str]:
    """Rate and time left by what was done since the last line."""
    pace = Pace()
    pace.update(0.0, 0)
    pace.update(seconds, max(done, 0))
    return pace.words(seconds, left)


def _paced(who: tuple[str, str], seconds: float, speed: Speed, expected: Estimate | None) -> str:
    """What the first chunk of a local model has shown."""
    roles = () if expected is None else expected.roles
    calls = next((role.calls for role in roles if (role.role, role.name) == who), 0)
    whole = f"{calls:,} calls take about {duration(calls * seconds)}, at " if calls else ""
    return f"{' '.join(who)}: {whole}{seconds:,.2g} s a call ({speed.words()})"


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
    say(console, f"{undecided:,} battles undecided ({why}){counted}; run again to ask again", on_screen=True)
