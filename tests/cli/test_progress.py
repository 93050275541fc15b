"""What long work says: plain lines where there is no terminal, and never on stdout."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from arenaloop.calls.budget import Budget
from arenaloop.calls.progress import Tally
from arenaloop.cli import progress
from arenaloop.cli.progress import Watch


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def watch(out: io.StringIO, *, terminal: bool = False) -> Watch:
    return Watch(Console(file=out, force_terminal=terminal, width=160))


def test_plain_lines_say_what_is_done_and_what_failed(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PLAIN_EVERY", 0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 0.0))
    with watch(out) as shown:
        shown.phase("SFT-I1", "battles")
        shown.tally(Tally(verdicts=30, verdicts_total=1200, calls=25, cached=5, failed=2, usd=1.5))
        shown.phase("SFT-I1", "training")
        shown.step(3, 10, {"loss": 0.25})
        shown.done("SFT-I1", {"rows": 1234, "gold_accuracy": 0.5, "seconds": 7.0})
    lines = out.getvalue().splitlines()
    assert lines[0] == "SFT-I1 battles: 30/1,200 verdicts · 25 calls · 5 stored · 2 failed · $1.50"
    assert lines[1] == "SFT-I1 training: 3/10 steps · loss 0.250"
    assert lines[2].split(" · ") == ["SFT-I1   1,234 rows", "gold accuracy 50.0%", "7 s"]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_the_user_should_read_at_once_is_said_once(out: io.StringIO, terminal: bool) -> None:
    counts = Tally(verdicts=30, verdicts_total=1200)
    counts.notices.append("http://h/v1 asks to wait 26 h: HTTP 429: slow down")
    with watch(out, terminal=terminal) as shown:
        shown.tally(counts)
        shown.tally(counts)
    assert out.getvalue().count("http://h/v1 asks to wait 26 h: HTTP 429: slow down") == 1
    assert not counts.notices


def test_rate_time_left_and_budget(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate is that since the last line: stored verdicts, which are found at once, spoil it only once."""
    clock = iter([0.0, 0.0, 20.0, 60.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    budget = Budget(usd=5.0, calls=2000, spent_usd=1.5, spent_calls=1130)
    with watch(out) as shown:
        shown.phase("", "battles")
        shown.tally(Tally(verdicts=1000, verdicts_total=10_000, budget=budget))
        shown.tally(Tally(verdicts=1100, verdicts_total=10_000, calls=130, in_flight=64, usd=0.25, budget=budget))
    first, second = out.getvalue().splitlines()
    assert first.endswith("50.0/s · 0:03:00 left")
    # 100 verdicts in 40 seconds, 8,900 to go: 3,560 seconds
    assert second == (
        "battles: 1,100/10,000 verdicts · 130 calls (64 in flight) · 0 stored"
        " · spent 1,130 of 2,000 calls · $1.50 of $5.00 · 2.5/s · 0:59:20 left"
    )


def test_answers_are_counted_where_nothing_is_judged(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PLAIN_EVERY", 0.0)
    with watch(out) as shown:
        shown.phase("SFT-I1", "test answers")
        shown.tally(Tally(answers=4, answers_total=9, usd=None))
    assert "4/9 answers" in out.getvalue()


def test_plain_lines_are_few(out: io.StringIO) -> None:
    with watch(out) as shown:
        shown.phase("x", "battles")
        for n in range(100):
            shown.tally(Tally(verdicts=n, verdicts_total=100))
    assert out.getvalue() == ""


def test_names_are_no_markup(out: io.StringIO) -> None:
    with watch(out) as shown:
        shown.done("[red]x[/red]", {"rows": 1})
    assert out.getvalue().startswith("[red]x[/red]")


def shown_at(width: int, *updates: tuple[float, Tally]) -> list[str]:
    """What a terminal of a width shows after updates at times."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    view = Watch(console)
    view.phase("SFT-I1", "held-out test answers")
    for _, counts in updates:
        view.tally(counts)
    with console.capture() as captured:
        console.print(view)
    return captured.get().rstrip("\n").split("\n")


def test_a_terminal_gets_a_bar() -> None:
    first, second = shown_at(120, (0.0, Tally(verdicts=3, verdicts_total=10)))
    assert "SFT-I1 held-out test answers ━" in first
    assert "3/10 verdicts" in first
    assert second.startswith("  0 calls · 0 stored · 0:00:0")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_nothing_that_matters_is_cut_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 40.0, 80.0, 120.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    budget = Budget(usd=5.0, calls=2000, spent_usd=1.5, spent_calls=1130)
    counts = [
        Tally(verdicts=n, verdicts_total=10_000, answers=33, answers_total=400, calls=130, failed=1234, budget=budget)
        for n in (1000, 1100)
    ]
    lines = shown_at(width, *((0.0, one) for one in counts))
    assert max(map(len, lines)) < width
    text = " ".join(" ".join(lines).split())
    for figure in (
        "1,100/10,000 verdicts",
        "2.5/s",
        "1,234 failed",
        "33/400 answers",
        "spent 1,130 of 2,000 calls",
        "$1.50 of $5.00",
    ):
        assert figure in text, (figure, lines)
    assert "left" in text


def test_a_phase_begins_without_the_total_of_the_one_before() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    view = Watch(console)
    view.step(7, 700, {"loss": 0.5})
    view.phase("DPO-I1", "battles")
    with console.capture() as captured:
        console.print(view)
    assert "DPO-I1 battles" in captured.get()
    assert "7" not in captured.get()


def test_what_comes_before_the_first_step_is_said() -> None:
    out = io.StringIO()
    watching = Watch(Console(file=out, force_terminal=True, width=100))

    def shown() -> str:
        out.seek(0)
        out.truncate()
        watching.console.print(watching)
        return " ".join(out.getvalue().split())

    watching.phase("mine", "dpo")
    watching.preparing("loading hf/model", 0, 0)
    assert "mine dpo: loading hf/model" in shown()
    watching.preparing("tokenizing", 1200, 5000)
    assert "mine dpo: tokenizing" in shown()
    assert "1,200/5,000 rows" in shown()
    watching.step(1, 40, {"loss": 0.5})
    assert "tokenizing" not in shown()
    assert "1/40 steps" in shown()
