"""Re-judging: contestants are never asked, both judgings stay, and what moved is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arenaloop.arena.fought import Fought, plan_again, read_fought
from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.rejudge import Rejudged, directory_name, rejudge
from arenaloop.arena.tournament import run_tournament, write_summary
from arenaloop.calls.answers import Contestant
from arenaloop.errors import EndpointDownError, InputError
from arenaloop.jsonl import read_rows, write_jsonl
from arenaloop.judges.jury import Jury
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.parsers import parser_for
from arenaloop.judges.templates import load_template
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Completion, Outcome, Prompt, Request, Status, content_hash

NAMES = ("a", "b", "c")
PROMPTS = [
    Prompt(({"role": "user", "content": f"question {n}"},), ("and then?",) if n % 3 == 0 else ()) for n in range(12)
]
Opinion = Callable[[str, str], tuple[float, float]]


def number(*parts: object) -> int:
    return int(content_hash(*parts)[:8], 16)


def taste(seed: int) -> Opinion:
    """Scores from 1 to 9 for two texts, as one judge sees them; some are unseen ties."""
    return lambda first, second: (number(seed, first) % 5 * 2 + 1, number(seed, second) % 5 * 2 + 1)


def judge_of(
    opinion: Opinion, name: str = "judge", heard: list[Request] | None = None, **options: Any
) -> PairwiseJudge:
    """A judge that answers in the form that it is asked for."""

    def script(request: Request) -> str | Completion:
        if heard is not None:
            heard.append(request)
        found = read_judge_prompt(request.messages[0]["content"])
        assert found is not None
        _, first, second = found
        one, two = opinion(" ".join(first), " ".join(second))
        if "unreadable" in (*first, *second):
            return "?"
        return (
            f"[[{'A>B' if one > two else 'B>A' if two > one else 'A=B'}]]"
            if _asks_label(request)
            else (f"Explained.\nScores: {one:g} {two:g}")
        )

    return PairwiseJudge(ScriptedModel(name, script), name=name, **options)


def _asks_label(request: Request) -> bool:
    return "one label in double brackets" in request.messages[0]["content"]


def contestant(name: str, asked: list[str]) -> Contestant:
    def script(request: Request) -> str | Completion:
        asked.append(name)
        said = [m["content"] for m in request.messages]
        if name == "c" and "question 7" in said:
            return "unreadable"
        if name == "b" and "question 8" in said:
            return Completion(status=Status.ERROR, error="HTTP 500")
        return f"{'a' if name == 'same' else name} says {number(name, said) % 100}"

    return Contestant(name, ScriptedModel(name, script))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Path, BattlePlan, list[str]]]:
    """Plays a run into a directory; gives it, its plan, and the names that were asked."""

    def play(judge: Any = None, names: tuple[str, ...] = NAMES, pairs: str = "all", **options: Any) -> Any:
        asked: list[str] = []
        ids = [p.id for p in PROMPTS]
        plan = BattlePlan(
            [contestant(name, asked) for name in names],
            judge or judge_of(taste(0)),
            ids,
            schedule(pairs, names, ids, 0),
            **options,
        )
        out = tmp_path / "run"
        out.mkdir()
        with Store(out / "arena.db") as store:
            store.add_prompts(PROMPTS)
            store.flush()
            done = run_tournament(plan, store, out)
            write_summary(out, store, done.summary, 0)
        return out, plan, asked

    return play


def wanted(plan: BattlePlan) -> dict[str, Any]:
    return {i: plan.schedule.on(i) for i in plan.prompt_ids if plan.schedule.on(i)}


def again(
    directory: Path, plan: BattlePlan, judge: Any, *, ask: bool = True, name: str = "new", known: bool = True
) -> Rejudged:
    with Store(directory / "arena.db") as store:
        fought = read_fought(directory, store, wanted(plan) if known else None)
        names = [c.name for c in plan.contestants]
        new = plan_again(fought, names, replace(plan, judge=judge))
        return rejudge(directory, store, fought, new, directory / "rejudged" / name, ask=ask)


def rows_of(directory: Path) -> list[dict[str, Any]]:
    """Rows that a verdict decided."""
    return [row for _, row in read_rows(directory / "battles.jsonl") if row.get("own_failure") is None]


def all_verdicts(directory: Path) -> list[tuple[Any, ...]]:
    with Store(directory / "arena.db", readonly=True) as store:
        return list(
            store._reader.execute("SELECT key, attempt, status, outcome, parser, calls FROM verdicts ORDER BY id")
        )


# ---------------------------------------------------------------------- another judge or template


def test_contestants_are_never_asked_and_both_judgings_stay(run: Any) -> None:
    directory, plan, asked = run()
    before, answers, old = rows_of(directory), len(asked), all_verdicts(directory)
    heard: list[Request] = []
    result = again(directory, plan, judge_of(taste(1), "other", heard))
    assert len(asked) == answers
    assert rows_of(directory) == before
    kept = all_verdicts(directory)
    assert kept[: len(old)] == old
    assert {row[0] for row in kept[len(old) :]}.isdisjoint({row[0] for row in old})
    assert result.tally.calls == len(heard) == len(kept) - len(old)
    new = rows_of(directory / "rejudged" / "new")
    assert [(r["prompt_id"], r["model_a"], r["model_b"]) for r in new] == [
        (r["prompt_id"], r["model_a"], r["model_b"]) for r in before
    ]
    assert {r["judge"] for r in new} == {"other"}


def test_what_moved_is_what_a_comparison_of_both_files_says(run: Any) -> None:
    directory, plan, _ = run()
    result = again(directory, plan, judge_of(taste(1), "other"))
    old = {(r["prompt_id"], r["model_a"], r["model_b"]): r for r in rows_of(directory)}
    new = {(r["prompt_id"], r["model_a"], r["model_b"]): r for r in rows_of(directory / "rejudged" / "new")}
    both = [(old[key]["winner"], new[key]["winner"]) for key in old.keys() & new.keys()]
    assert result.compared == len(both) > 20
    kinds = {
        "win_to_loss": sum("tie" not in pair and pair[0] != pair[1] for pair in both),
        "win_to_tie": sum(pair[0] != "tie" and pair[1] == "tie" for pair in both),
        "tie_to_win": sum(pair[0] == "tie" and pair[1] != "tie" for pair in both),
    }
    assert dict(result.kinds) == kinds
    assert all(kinds.values())
    assert result.moved.value == sum(kinds.values()) / len(both)
    assert result.moved.lower is not None
    assert result.moved.lower < result.moved.value < (result.moved.upper or 0)
    assert result.flip_rate_before == sum(r["flipped"] for r in old.values()) / len(old)
    assert result.flip_rate_after == sum(r["flipped"] for r in new.values()) / len(new)


def test_undecided_battles_are_counted_and_asked_again(run: Any) -> None:
    """An unreadable verdict may become a verdict; an answer that failed gives nothing to judge."""
    directory, plan, _ = run()
    result = again(directory, plan, judge_of(taste(0), "other", template="labels"))
    assert plan.battles == result.wanted == 36
    assert result.decided_before == result.decided_after == 32  # two of question 7, two of question 8
    assert result.undecided == 4
    fixed = PairwiseJudge(ScriptedModel("fixed", lambda _: "Scores: 7 5"))
    result = again(directory, plan, fixed, name="fixed")
    assert (result.decided_before, result.decided_after, result.undecided) == (32, 34, 2)
    assert result.compared == 32
    # without the settings that the run had, what stayed undecided is not known; what counted as a loss is, and does
    result = again(directory, plan, fixed, name="fixed", known=False)
    assert (result.wanted, result.decided_after, result.tally.calls) == (34, 32, 0)
    lost = [[row for _, row in read_rows(one / "battles.jsonl") if row.get("own_failure")]
            for one in (directory, directory / "rejudged" / "fixed")]  # fmt: skip
    assert [(row["own_failure"], row["winner"], row["reason"]) for row in lost[0]] == [
        ("b", "model_a", "error: HTTP 500"),
        ("b", "model_b", "error: HTTP 500"),
    ]
    assert [row | {"judge": "judge"} for row in lost[1]] == lost[0]


def test_the_same_opinion_moves_nothing(run: Any) -> None:
    directory, plan, _ = run()
    result = again(directory, plan, judge_of(taste(0), "twin"))
    assert (sum(result.kinds.values()), result.moved.value, result.spearman) == (0, 0.0, pytest.approx(1.0))
    assert result.largest_rank_change == 0
    assert [row["rating_before"] for row in result.board] == [row["rating_after"] for row in result.board]


def test_the_opposite_opinion_turns_the_leaderboard(run: Any) -> None:
    directory, plan, _ = run(own_failure="drop")  # a loss without a verdict is one by any judge
    opinion = taste(0)
    result = again(directory, plan, judge_of(lambda one, two: opinion(one, two)[::-1], "contrary"))
    assert result.kinds["win_to_tie"] == result.kinds["tie_to_win"] == 0
    assert result.spearman == pytest.approx(-1.0)
    assert [row["rank_before"] for row in result.board] == [3, 2, 1]
    assert result.largest_rank_change == 2


def test_it_resumes_and_asks_nothing_twice(run: Any) -> None:
    directory, plan, _ = run()
    heard: list[Request] = []

    class DownError(EndpointDownError):
        pass

    inner = judge_of(taste(1), "other", heard)

    class Fragile:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner.model, name)

        async def complete(self, request: Request) -> Completion:
            if len(heard) == 20:
                raise DownError("gone")
            return await inner.model.complete(request)

    fragile = PairwiseJudge(Fragile(), name="other")
    with pytest.raises(DownError):
        again(directory, plan, fragile)
    assert not (directory / "rejudged" / "new" / "battles.jsonl").exists()
    result = again(directory, plan, inner)
    assert result.tally.calls == len(heard) - 20
    once = again(directory, plan, judge_of(taste(1), "other"))
    assert once.tally.calls == result.tally.calls - len(heard) + 20 + _asked_again(result)
    assert len({r.key for r in heard}) == len(heard)


def _asked_again(result: Rejudged) -> int:
    """An unreadable verdict of an earlier invocation is asked again in the next one: 4 seatings, 3 samples."""
    return 12 if result.undecided else 0


def test_its_summary_counts_its_own_calls_only(run: Any) -> None:
    directory, plan, _ = run()
    result = again(directory, plan, judge_of(taste(1), "other"))
    summary = json.loads((directory / "rejudged" / "new" / "summary.json").read_text())
    whole = json.loads((directory / "summary.json").read_text())
    assert summary["calls"] == result.tally.calls < whole["calls"]
    assert summary["battles_decided"] == result.decided_after
    assert summary["rejudged"]["moved"] == sum(result.kinds.values())
    assert json.loads(json.dumps(result.to_json()))["calls"] == result.tally.calls


@pytest.mark.parametrize("pairs", ["target:b", "sample:20"])
def test_other_schedules(run: Any, pairs: str) -> None:
    directory, plan, asked = run(pairs=pairs)
    answers = len(asked)
    result = again(directory, plan, judge_of(taste(1), "other"))
    assert result.wanted == plan.battles
    assert len(asked) == answers
    assert result.compared == result.decided_before


def test_one_model_under_two_names(tmp_path: Path) -> None:
    """Their answers are stored once, under the first of the names."""
    model = ScriptedModel("model", lambda r: f"says {number(r.messages[0]['content']) % 100}")
    names, ids = ("one", "two"), [p.id for p in PROMPTS[1:3]]
    plan = BattlePlan([Contestant(n, model) for n in names], judge_of(taste(0)), ids, schedule("all", names, ids, 0))
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        run_tournament(plan, store, tmp_path)
    result = again(tmp_path, plan, judge_of(taste(1), "other"))
    assert (result.compared, result.decided_after) == (2, 2)


# ---------------------------------------------------------------------- merge rules and juries


@pytest.mark.parametrize("merge", ["mean", "agree_or_tie", "two_battles"])
@pytest.mark.parametrize("one_seat_failed", ["drop_battle", "use_one"])
@pytest.mark.parametrize("members", [1, 3])
def test_merge_rules(run: Any, merge: Any, one_seat_failed: Any, members: int) -> None:
    """With any rule: the same opinion moves nothing, and games are compared seat by seat where each is a battle."""

    def biased(seed: int) -> Opinion:
        return lambda one, two: (min(10, taste(seed)(one, two)[0] + 2), taste(seed)(one, two)[1])

    def panel(suffix: str) -> Any:
        judges = [judge_of(biased(n), f"j{n}{suffix}") for n in range(members)]
        return judges[0] if members == 1 else Jury(judges)

    directory, plan, _ = run(panel(""), merge=merge, one_seat_failed=one_seat_failed)
    old = rows_of(directory)
    if merge == "two_battles":
        assert len(old) == 64
        assert {len(r["verdicts"]) for r in old} == {members}
    result = again(directory, plan, panel("x"))
    assert result.compared == len(old)
    assert sum(result.kinds.values()) == 0
    new = rows_of(directory / "rejudged" / "new")
    assert [(r["winner"], r["score_a"], r["flipped"]) for r in new] == [
        (r["winner"], r["score_a"], r["flipped"]) for r in old
    ]
    assert result.flip_rate_before == result.flip_rate_after


def test_with_two_battles_the_first_seats_pull_shows_as_moves_of_its_own_seat(run: Any) -> None:
    """A judge for whom the first seat always wins: each seat's battle is compared with that seat's."""
    directory, plan, _ = run(judge_of(lambda one, two: (9, 1)), merge="two_battles")
    result = again(directory, plan, judge_of(lambda one, two: (8, 2), "other"))
    assert (result.compared, sum(result.kinds.values())) == (64, 0)
    result = again(directory, plan, judge_of(lambda one, two: (1, 9), "last"), name="last")
    assert (result.compared, result.kinds["win_to_loss"]) == (64, 64)


def test_equal_texts_are_one_verdict_and_two_battles(run: Any) -> None:
    directory, plan, _ = run(judge_of(lambda one, two: (9, 1)), names=("same", "a"), merge="two_battles")
    with Store(directory / "arena.db") as store:
        fought = read_fought(directory, store, wanted(plan))
    games = [len(games) for games in fought.outcomes.values()]
    assert set(games) == {2}
    result = again(directory, plan, judge_of(lambda one, two: (8, 2), "other"))
    assert (result.compared, sum(result.kinds.values())) == (len(rows_of(directory)), 0)


# ---------------------------------------------------------------------- reading again


def test_reading_again_costs_nothing_and_changes_nothing_where_the_parser_is_the_same(run: Any) -> None:
    directory, plan, asked = run()
    old, answers = all_verdicts(directory), len(asked)
    result = again(directory, plan, plan.judge, ask=False)
    assert all_verdicts(directory) == old
    assert (result.reread, result.tally.calls, len(asked)) == (0, 0, answers)
    assert (result.compared, sum(result.kinds.values())) == (32, 0)
    assert rows_of(directory / "rejudged" / "new") == rows_of(directory)


def test_a_text_that_another_parser_reads_gets_a_further_attempt(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge explains on the first line; a parser of that line, made later, finds scores where there were none."""
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # such a judge would stop the run
    lines = load_template("pairwise")
    late = PairwiseJudge(ScriptedModel("j", lambda _: "Scores: 8 3\nThat is why."), template=lines)
    directory, plan, _ = run(late)
    assert rows_of(directory) == []
    old = all_verdicts(directory)
    newer = PairwiseJudge(late.model, template=replace(lines, form="first_line"))
    assert newer.fingerprint == late.fingerprint
    result = again(directory, plan, newer, ask=False)
    assert result.decided_before == 0
    assert result.decided_after == 34  # all but those of the answer that failed
    assert result.tally.calls == 0
    assert result.moved.value is None
    kept = all_verdicts(directory)
    assert kept[: len(old)] == old
    assert len(kept) - len(old) == result.reread > 0
    for _, attempt, status, outcome, parser, calls in kept[len(old) :]:
        assert (attempt, status, outcome, parser, calls) == (1, "ok", Outcome.A.value, "first_line:1", 0)
    with Store(directory / "arena.db", readonly=True) as store:
        assert store.usage().calls == sum(row[5] for row in old) + _answer_calls(store)
    # once is enough
    result = again(directory, plan, newer, ask=False)
    assert result.reread == 0
    assert all_verdicts(directory) == kept


def _answer_calls(store: Store) -> int:
    return int(next(store._reader.execute("SELECT SUM(calls) FROM responses"))[0])


def test_a_stricter_parser_undoes_what_it_does_not_read(run: Any) -> None:
    directory, plan, _ = run()
    strict = PairwiseJudge(plan.judge.model, template=replace(load_template("pairwise"), form="labels"), name="judge")
    result = again(directory, plan, strict, ask=False)
    assert (result.decided_before, result.decided_after, result.compared) == (32, 0, 0)
    back = again(directory, plan, plan.judge, ask=False)  # nothing is lost: the first parser reads it all again
    assert (back.decided_after, sum(back.kinds.values())) == (32, 0)
    assert rows_of(directory / "rejudged" / "new") == rows_of(directory)
    assert strict.parser.name == parser_for("labels").name


# ---------------------------------------------------------------------- what is refused


def test_files_that_do_not_belong_together(run: Any) -> None:
    directory, plan, _ = run()
    rows, whole = rows_of(directory), (directory / "battles.jsonl").read_bytes()
    with Store(directory / "arena.db") as store:
        for broken, complaint in (
            ({"prompt_id": "none"}, "prompt none is not in arena.db"),
            ({"verdicts": ["none"]}, "line 1: no battle whose verdicts are in arena.db"),
            ({"verdicts": []}, "line 1: no battle"),
            ({"winner": "nobody"}, "line 1: no battle"),
        ):
            write_jsonl(directory / "battles.jsonl", [rows[0] | broken])
            with pytest.raises(InputError, match=complaint):
                read_fought(directory, store)
        write_jsonl(directory / "battles.jsonl", rows[:-1])  # a cut file
        with pytest.raises(InputError, match=r"battles that leaderboard.json rates"):
            read_fought(directory, store)
        (directory / "battles.jsonl").write_bytes(whole)
        fought = read_fought(directory, store)
        new = plan_again(fought, NAMES, plan)
        (directory / "leaderboard.json").write_text("[]")
        with pytest.raises(InputError, match=r"leaderboard.json: no leaderboard"):
            rejudge(directory, store, fought, new, directory / "x")
        (directory / "leaderboard.json").unlink()
        with pytest.raises(InputError, match="has not finished"):
            rejudge(directory, store, fought, new, directory / "x")


def test_a_plan_of_nothing(tmp_path: Path) -> None:
    plan = plan_again(Fought(), NAMES, BattlePlan((), judge_of(taste(0)), (), schedule("all", NAMES, [], 0)))
    assert (plan.battles, [c.name for c in plan.contestants]) == (0, list(NAMES))
    assert all(c.asked is None for c in plan.contestants)


def test_names_of_directories_are_safe() -> None:
    assert directory_name("labels", "gpt-4o") == "labels-gpt-4o"
    assert directory_name("pairwise", "", "org/model:8b v2") == "pairwise-org-model-8b-v2"
    assert directory_name("../..", "/etc/passwd") == "etc-passwd"
    assert directory_name("", "…") == "rejudged"
    assert len(directory_name("x" * 500)) == 120


def test_a_judge_is_closed_after_its_work(run: Any) -> None:
    directory, plan, _ = run()
    judge = judge_of(taste(1), "other")
    closed: list[bool] = []

    async def aclose() -> None:
        await asyncio.sleep(0)
        closed.append(True)

    judge.aclose = aclose  # type: ignore[method-assign]
    again(directory, plan, judge)
    assert closed
