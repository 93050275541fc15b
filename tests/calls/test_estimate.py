"""The estimate before a run: exact counts, expectations that hold, bounds that bind, and nothing written."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Schedule, schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.planned import estimate_plan as estimate
from arenaloop.calls.answers import Answers, Contestant, answer, samples_of
from arenaloop.calls.estimate import _Sampler
from arenaloop.calls.estimate import estimate as estimate_units
from arenaloop.calls.estimated import Estimate, _count
from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, decide
from arenaloop.calls.lengths import mean_of
from arenaloop.calls.prefetch import materials
from arenaloop.calls.recorded import ingest_recorded, match_recorded
from arenaloop.calls.units import Planned
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.meta import MetaJudge
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_wire import Price
from arenaloop.models.recorded import RecordedModel
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.server import running_server
from arenaloop.store import Store, TurnRow, response_key
from arenaloop.types import Completion, Prompt, Request, Response, Sampling, content_hash

WORDS = ["judge", "answer", "question", "of", "the", "an", "improbable"]
PRICE = Price(2.0, 10.0, batch=0.5)


def text(seed: int, most: int = 80) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))


PROMPTS = [Prompt.of(f"{n}: {text(n)}") for n in range(60)]


def judge(request: Request) -> str:
    return text(len(request.messages[0]["content"]), 30) + "\nScores: 7 5"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server({"judge": judge, "a": lambda r: text(len(r.messages[-1]["content"]), 50)}) as url:
        yield url


def by_id(prompts: list[Prompt] = PROMPTS) -> Any:
    return {p.id: p for p in prompts}.get


def make_judge(url: str = "http://127.0.0.1:9/v1", price: Price | None = PRICE, **options: Any) -> PairwiseJudge:
    model = OpenAIModel("judge", "judge", url, price=price, **options)
    return PairwiseJudge(model, template="pairwise", sampling=Sampling(max_tokens=100))


@pytest.fixture
def recorded(tmp_path: Path) -> list[Contestant]:
    out = []
    for number, name in enumerate("xyz"):
        path = tmp_path / f"{name}.json"
        rows = [{"instruction": p.last_user, "output": text(n + 1000 * number + 7, 100)} for n, p in enumerate(PROMPTS)]
        path.write_text(json.dumps(rows))
        out.append(Contestant(name, RecordedModel(name, path)))
    return out


def make_plan(contestants: list[Contestant], judge: Any, pairs: str = "all", **options: Any) -> BattlePlan:
    ids = [p.id for p in PROMPTS]
    names = [c.name for c in contestants]
    return BattlePlan(
        contestants,
        judge,
        ids,
        schedule(pairs, names, ids, 0),
        match_recorded(contestants, PROMPTS, allow_missing=True),
        **options,
    )


def only(found: Estimate, role: str = "judge") -> Any:
    (one,) = [r for r in found.roles if r.role == role]
    return one


# ---------------------------------------------------------------------- before anything was asked


def test_recorded_answers_are_rendered_as_the_judge_will_see_them(recorded: list[Contestant]) -> None:
    plan = make_plan(recorded, make_judge())
    found = only(estimate(plan, by_id(), None, sample=10_000))
    # every prompt rendered by hand
    answers = {
        c.name: {
            p.id: row["output"] for p, row in zip(PROMPTS, json.loads(Path(c.model.path).read_text()), strict=True)
        }
        for c in recorded
        if isinstance(c.model, RecordedModel)
    }
    characters = size = 0
    for prompt in PROMPTS:
        for a, b in plan.schedule.on(prompt.id):
            for one, two in ((a, b), (b, a)):
                seats = [Response(prompt.id, n, (answers[n][prompt.id],)) for n in (one, two)]
                request = make_judge().request(prompt, *seats, secret="0" * 32, seed=0)
                characters += sum(len(m["content"]) for m in request.messages)
                size += sum(len(m["content"].encode()) for m in request.messages)
    assert found.calls == 60 * 3 * 2
    assert found.stored == 0
    assert found.tokens_in == round(characters / 4)
    assert found.tokens_in_error == 0  # no sampling, though four characters a token is a guess, and is said so
    assert any("4 characters" in note for note in found.notes)
    assert found.tokens_out == 360 * 50
    assert found.usd == pytest.approx((found.tokens_in * 2 + found.tokens_out * 10) / 1e6)
    # a bound: all is asked three times, answers are as long as they may be, and a byte is a token
    assert found.tokens_out_most == 3 * 360 * 100
    assert found.tokens_in_most == pytest.approx(3 * (size + 360 * 64), abs=2)
    assert found.usd_most == pytest.approx((found.tokens_in_most * 2 + found.tokens_out_most * 10) / 1e6)


@pytest.mark.long
def test_a_sample_is_within_its_standard_error(recorded: list[Contestant]) -> None:
    """Over many seeds the errors of the sampled estimate have the size that it says."""
    plan = make_plan(recorded, make_judge())
    truth = only(estimate(plan, by_id(), None, sample=10_000)).tokens_in
    deviations = []
    for seed in range(40):
        found = only(estimate(make_plan(recorded, make_judge(), seed=seed), by_id(), None, sample=40))
        assert found.calls == 360
        deviations.append((found.tokens_in - truth) / found.tokens_in_error)
    assert 0.6 < statistics.pstdev(deviations, 0.0) < 1.5
    assert abs(statistics.mean(deviations)) < 0.6


def test_batches_cost_their_share(recorded: list[Contestant]) -> None:
    live = estimate(make_plan(recorded, make_judge()), by_id(), None)
    batch = estimate(make_plan(recorded, make_judge()), by_id(), None, batch=True)
    assert live.total("usd") is not None
    assert batch.total("usd") == pytest.approx(live.total("usd") / 2)
    assert batch.total("tokens_in") == live.total("tokens_in")


def test_an_unknown_price_is_null_and_never_zero(recorded: list[Contestant]) -> None:
    found = estimate(make_plan(recorded, make_judge(price=None)), by_id(), None)
    assert found.total("usd") is None
    assert found.to_json()["usd"] is None
    assert "price unknown" in found.first_line()
    assert any("no price" in line and "--prices" in line and "judge" in line for line in found.lines())


def test_answers_to_come_are_bounded_and_said_to_be_assumed(recorded: list[Contestant]) -> None:
    writer = Contestant("a", OpenAIModel("a", "a", "http://127.0.0.1:9/v1", price=PRICE), Sampling(max_tokens=200))
    found = estimate(make_plan([recorded[0], writer], make_judge()), by_id(), None)
    contestant, judging = only(found, "contestant"), only(found)
    assert contestant.calls == 60
    assert contestant.tokens_out_most == 60 * 200
    assert contestant.tokens_out == 60 * 100
    assert judging.calls == 120
    # each judge prompt holds one answer that may be 200 tokens long, and 400 by another tokenizer
    short = Contestant("a", OpenAIModel("a", "a", "http://127.0.0.1:9/v1", price=PRICE), Sampling(max_tokens=100))
    shorter = only(estimate(make_plan([recorded[0], short], make_judge()), by_id(), None))
    assert judging.tokens_in - shorter.tokens_in == pytest.approx(120 * 50, abs=2)
    assert judging.tokens_in_most - shorter.tokens_in_most == pytest.approx(3 * 120 * 200, abs=2)
    assert any("still to come" in note for note in judging.notes)


def test_without_a_token_limit_there_is_no_bound(recorded: list[Contestant]) -> None:
    found = only(estimate(make_plan(recorded, make_judge(drop_params=["max_tokens"])), by_id(), None))
    assert found.tokens_out_most is None
    assert found.usd_most is None
    assert found.usd is not None
    capped = make_judge(drop_params=["max_tokens"], extra_body={"max_tokens": 7})
    assert only(estimate(make_plan(recorded, capped), by_id(), None)).tokens_out_most == 3 * 360 * 7


def test_models_in_this_process_cost_nothing(recorded: list[Contestant]) -> None:
    contestants = [*recorded, Contestant("s", ScriptedModel("s", lambda request: "hello"))]
    judging = PairwiseJudge(ScriptedModel("j", judge), template="pairwise")
    found = estimate(make_plan(contestants, judging), by_id(), None)
    assert found.total("usd") == 0.0
    assert only(found, "contestant").calls == 60


def test_a_judge_that_is_asked_for_a_label_alone_is_taken_to_write_that(recorded: list[Contestant]) -> None:
    model = OpenAIModel("judge", "judge", "http://127.0.0.1:9/v1", price=PRICE)
    found = only(estimate(make_plan(recorded, PairwiseJudge(model, template="alpaca_eval")), by_id(), None))
    assert found.tokens_out == 360 * 2
    assert found.tokens_out_most == 3 * 360 * 512  # the bound is that of any answer
    assert any("a label of 2 tokens" in note for note in found.notes)
    assert not any("half of" in note for note in found.notes)
    by_logprob = only(estimate(make_plan(recorded, PairwiseJudge(model, verdict="logprob")), by_id(), None))
    assert (by_logprob.tokens_out, by_logprob.tokens_out_most) == (360 * 2, 3 * 360 * 8)


def test_missing_recorded_answers_ask_nothing(recorded: list[Contestant], tmp_path: Path) -> None:
    path = tmp_path / "few.json"
    path.write_text(json.dumps([{"instruction": PROMPTS[0].last_user, "output": "only this"}]))
    few = Contestant("few", RecordedModel("few", path))
    found = estimate(make_plan([recorded[0], few], make_judge()), by_id(), None)
    assert found.calls == 2


def test_rules_and_recorded_answers_ask_nothing_and_are_not_said_to_be_stored(recorded: list[Contestant]) -> None:
    found = estimate(make_plan(recorded, BuiltinJudge("longest")), by_id(), None)
    assert (found.calls, found.first_line()) == (0, "nothing to ask: no model has to answer or to judge")


def test_turns_are_counted_one_by_one(tmp_path: Path) -> None:
    talk = Prompt(({"role": "user", "content": "x" * 40},), ("y" * 20, "z" * 20))
    writer = Contestant("a", OpenAIModel("a", "a", "http://127.0.0.1:9/v1"), Sampling(max_tokens=10))
    other = Contestant("s", ScriptedModel("s", lambda request: "hello"))
    plan = BattlePlan([writer, other], make_judge(), [talk.id], schedule("all", ["a", "s"], [talk.id], 0))
    found = {r.name: r for r in estimate(plan, {talk.id: talk}.get, None).roles}
    assert found["a"].calls == 3
    # 40, then 40 + 20 + an answer, then 40 + 20 + 20 + two answers; answers are taken for 5 tokens of 4 characters
    assert found["a"].tokens_in == (40 + 60 + 20 + 80 + 40) / 4
    assert found["judge"].calls == 2


def test_many_prompts_are_scaled_from_some(monkeypatch: pytest.MonkeyPatch, recorded: list[Contestant]) -> None:
    monkeypatch.setattr("arenaloop.calls.estimate._UNITS", 120)  # 20 prompts of 6
    found = only(estimate(make_plan(recorded, make_judge()), by_id(), None))
    assert found.calls == 360
    assert any("20 of 60 prompts stand for all" in note for note in found.notes)


def test_pairs_that_are_chosen_later_are_counted(recorded: list[Contestant]) -> None:
    plan = make_plan(recorded, make_judge())
    later = replace(plan, schedule=Schedule(plan.schedule.pairs, {}, wanted=25))
    found = only(estimate(later, by_id(), None))
    assert found.calls == 50
    assert any("chosen as verdicts come in" in note for note in found.notes)


# ---------------------------------------------------------------------- against what was then asked


def test_the_estimate_holds_against_a_run(recorded: list[Contestant], url: str, tmp_path: Path) -> None:
    writer = Contestant("a", OpenAIModel("a", "a", url, price=PRICE), Sampling(max_tokens=200))
    plan = make_plan([*recorded[:2], writer], make_judge(url))
    few = BattlePlan(plan.contestants, plan.judge, plan.prompt_ids[:15], plan.schedule, plan.recorded)
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts(PROMPTS)
        ingest_recorded(store, plan.contestants, PROMPTS, plan.recorded)
        before = estimate(plan, store.prompt, store)
        play(few, store)
        begun = estimate(plan, store.prompt, store)
        start = store.usage()
        play(plan, store)
        end = store.usage()
        after = estimate(plan, store.prompt, store)
    assert before.calls == 60 + 360
    assert begun.calls == end.calls - start.calls == 45 + 270  # what is stored is not counted again
    assert only(begun).stored == 90
    for name, error in (("tokens_in", "tokens_in_error"), ("tokens_out", "tokens_out_error")):
        real = getattr(end, name) - getattr(start, name)
        told, spread = begun.total(name), begun.total(error)
        assert told is not None
        assert spread is not None
        assert real == pytest.approx(told, rel=0.1)  # learned from a quarter of the run
        most = begun.total(f"{name}_most")
        assert most is not None
        assert most >= 0.97 * real
    assert end.usd is not None
    assert start.usd is not None
    assert begun.total("usd") == pytest.approx(end.usd - start.usd, rel=0.1)
    assert not any("characters" in note for role in begun.roles for note in role.notes)
    assert after.calls == 0
    assert after.first_line().startswith("nothing left to ask")


def test_failed_verdicts_are_asked_again_and_counted(
    recorded: list[Contestant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # a judge that is never read would stop it
    with running_server({"judge": lambda request: "no idea"}) as url:
        plan = make_plan(recorded, make_judge(url), reask=0)
        with Store(tmp_path / "arena.db") as store:
            store.add_prompts(PROMPTS)
            ingest_recorded(store, plan.contestants, PROMPTS, plan.recorded)
            play(plan, store)
            assert estimate(plan, store.prompt, store).calls == 360


def test_estimating_writes_nothing(recorded: list[Contestant], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    plan = make_plan(recorded, make_judge())
    with Store(folder / "arena.db") as store:
        store.add_prompts(PROMPTS)
        ingest_recorded(store, plan.contestants, PROMPTS, plan.recorded)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with Store(folder / "arena.db", readonly=True) as store:
        assert estimate(plan, by_id(), store).calls == 360
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: content for name, content in after.items() if name in before} == before
    assert all(name.endswith(("-shm", "-wal")) for name in set(after) - set(before))


# ---------------------------------------------------------------------- parts


def test_re_asks_are_named_with_their_bound(recorded: list[Contestant]) -> None:
    found = estimate(make_plan(recorded, make_judge(), reask=2), by_id(), None)
    assert found.reasks_most == 720
    assert any("at most 720 calls" in line for line in found.lines())


def test_the_document_has_every_number(recorded: list[Contestant]) -> None:
    document = estimate(make_plan(recorded, make_judge()), by_id(), None).to_json()
    assert set(json.loads(json.dumps(document))) == {
        "calls", "reasks_most", "tokens_in", "tokens_in_error", "tokens_in_most", "tokens_out", "tokens_out_error",
        "tokens_out_most", "usd", "usd_error", "usd_most", "seconds", "batch", "sampled", "scaled", "roles", "human",
    }  # fmt: skip
    assert document["calls"] == 360
    assert document["human"] == {"labels": 180, "usd": pytest.approx(54.0), "seconds": pytest.approx(6624.0)}
    assert document["roles"][0]["role"] == "judge"


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=50))
def test_means_and_their_errors(values: list[float]) -> None:
    mean, error = mean_of(values, 0)
    assert mean == pytest.approx(statistics.fmean(values))
    assert error == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)), abs=1e-6)
    assert mean_of(values, len(values))[1] == 0.0  # the whole population has no sampling error


@given(st.integers(1, 30), st.integers(0, 60))
@settings(max_examples=30)
def test_the_reservoir_holds_as_many_as_it_may(size: int, units: int) -> None:
    sampler = _Sampler(size, seed=1)
    for unit in range(units):
        sampler.add(unit)
    assert sampler.missing == units
    assert len(sampler.kept) == len(set(sampler.kept)) == min(size, units)


def test_the_reservoir_is_uniform() -> None:
    counts = [0] * 10
    for seed in range(2000):
        sampler = _Sampler(3, seed)
        for unit in range(10):
            sampler.add(unit)
        for unit in sampler.kept:
            counts[unit] += 1
    # each of ten is kept with probability 0.3: 600 ± 20.5 of 2000
    assert all(abs(count - 600) < 5 * 20.5 for count in counts)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (950, "950"), (9_999, "9,999"), (12_345, "12.3k"), (1_234_567, "1.23M"), (45_000_000, "45M")],
)
def test_counts_are_short(value: float, shown: str) -> None:
    assert _count(value) == shown


# ---------------------------------------------------------------------- units of no battle


@pytest.fixture
def rubric_url() -> Iterator[str]:
    with running_server({"m": lambda r: text(r.seed or 0, 50), "rubric": lambda r: "Reasons.\nScore: 4"}) as url:
        yield url


def test_k_samples_and_judgements_of_them_are_estimated_without_a_plan(path: Path, rubric_url: str) -> None:
    """Candidates are drawn, and a rubric's votes are asked about each of them, also those that are still to come."""
    prompts, votes = [Prompt.of(f"question {n}") for n in range(6)], 3
    model = OpenAIModel("m", "m", rubric_url, price=PRICE)
    samples = samples_of(Contestant("m", model, Sampling(temperature=1.0, max_tokens=100)), 2)
    rubric = RubricJudge(OpenAIModel("rubric", "rubric", rubric_url, price=PRICE, system="Be strict."))

    def estimated() -> Estimate:
        with Store(path) as store:
            store.add_prompts(prompts)
            store.flush()
            answers = Answers(store, samples, {}, seed=0)
            judges = [AskedJudge(rubric.repeated(n), store.secret, reask=1) for n in range(votes)]

            def planned(prompt_ids: Sequence[str]) -> Iterator[Planned]:
                for material in materials(store, prompt_ids):
                    for c in samples:
                        yield from answers.planned(c.name, material)
                        answer, to_come = answers.seat(c.name, material)
                        for one in judges:
                            yield Planned(JudgeUnit(one, (material.prompt, answer), material.verdicts), to_come)

            return estimate_units(planned, [p.id for p in prompts], [*samples, *judges], store)

    before = estimated()
    assert [(role.role, role.name, role.calls) for role in before.roles] == [
        ("contestant", "m#1", 6),
        ("contestant", "m#2", 6),
        ("judge", "rubric", 36),
    ]
    assert (before.reasks_most, before.to_json()["human"]["labels"]) == (36, 0)
    # of each answer half of its 100 tokens are expected, and all of them may come, twice as many by another tokenizer
    judging = only(before)
    assert any("still to come" in note for note in judging.notes)
    prompt = prompts[0]
    request = rubric.request(prompt, Response(prompt.id, "m", ("",)), secret="0" * 32, seed=0)
    rendered = len("Be strict.") + sum(len(m["content"]) for m in request.messages)
    assert judging.tokens_in == 36 * (rendered / 4 + 50)
    assert judging.tokens_in_most == 2 * 36 * (rendered + 64 + 2 * 100)  # asked again once

    with Store(path) as store:  # one sample of each, and one vote on it
        answer(samples[:1], [p.id for p in prompts], store)
        answers, statuses = Answers(store, samples, {}, seed=0), InStore(store.judgement)
        given = [(p, a) for p in prompts if (a := answers.stored("m#1", p)) is not None]
        one = AskedJudge(rubric, store.secret)
        assert decide(lambda: [JudgeUnit(one, shown, statuses) for shown in given], store).verdicts == 6
    after = estimated()
    assert [(role.calls, role.stored) for role in after.roles] == [(0, 6), (6, 0), (30, 6)]
    assert [
        note for note in only(after).notes if "to come" not in note
    ] == []  # all else is learned from what is stored


def test_judgements_to_come_count_with_their_judges_length() -> None:
    prompt = Prompt.of("question")
    rubric = RubricJudge(ScriptedModel("rubric", judge), sampling=Sampling(max_tokens=100))
    meta = MetaJudge(ScriptedModel("meta", judge))
    answer, empty = Response(prompt.id, "m", ("text",)), Response(prompt.id, "rubric", ("",))
    judges = [AskedJudge(rubric, "0" * 32), AskedJudge(meta, "0" * 32)]
    unit = JudgeUnit(judges[1], (prompt, answer, empty, empty), {})

    def planned(prompt_ids: Sequence[str]) -> Iterator[Planned]:
        yield Planned(unit, (("judge", "rubric"), ("judge", "rubric")))

    found = estimate_units(planned, [prompt.id], judges, None)
    characters = sum(len(message["content"]) for message in unit.request().messages)
    assert [(role.name, role.calls) for role in found.roles] == [("rubric", 0), ("meta", 1)]
    assert found.total("tokens_in") == pytest.approx(characters / 4 + 2 * 50, abs=0.5)
    assert found.total("tokens_in_most") == 3 * (characters + 64 + 2 * 2 * 100)


def test_a_conversation_that_is_begun_is_counted_from_its_next_turn(path: Path) -> None:
    talk = Prompt(({"role": "user", "content": "x" * 40},), ("y" * 20, "z" * 20))
    writer = Contestant("a", ScriptedModel("a", lambda request: "hello"), Sampling(max_tokens=10))
    with Store(path) as store:
        store.add_prompts([talk])
        key = response_key(talk.id, writer.model.fingerprint, writer.sampling.key(), 0)
        store.add_turns([TurnRow(key, 0, talk.id, "a", Completion("w" * 12), content_hash(["w" * 12]))])
        store.flush()
        answers = Answers(store, [writer], {}, seed=0)

        def planned(prompt_ids: Sequence[str]) -> Iterator[Planned]:
            return (unit for material in materials(store, prompt_ids) for unit in answers.planned("a", material))

        (found,) = estimate_units(planned, [talk.id], [writer], store).roles
    assert (found.calls, found.stored) == (2, 1)
    # 40 + 12 + 20, then with an answer of 20 characters and 20 more
    assert found.tokens_in == (72 + 112) / 4


@pytest.mark.parametrize(("n", "calls"), [(1, 12), (4, 8), (6, 7)])
def test_samples_that_a_server_gives_at_once_are_one_call(path: Path, n: int, calls: int) -> None:
    """Of six first turns as many calls as its ``n`` makes of them, with the prompt paid once in each; then one each."""
    prompt = Prompt(({"role": "user", "content": "x" * 400},), ("y" * 40,))
    model = OpenAIModel("m", "m", "http://127.0.0.1:9/v1", price=PRICE, samples_per_call=n)
    six = samples_of(Contestant("m", model, Sampling(temperature=1.0, max_tokens=100)), 6)
    with Store(path) as store:
        store.add_prompts([prompt])
        store.flush()
        answers = Answers(store, six, {}, seed=0)

        def planned(prompt_ids: Sequence[str]) -> Iterator[Planned]:
            return (
                u for material in materials(store, prompt_ids) for c in six for u in answers.planned(c.name, material)
            )

        found = estimate_units(planned, [prompt.id], six, store)
    assert found.calls == calls
    firsts = calls - 6
    second = (400 + 40) / 4 + 50  # half of an answer is expected
    assert found.total("tokens_in") == firsts * 100 + 6 * second
    assert (found.total("tokens_out"), found.total("tokens_out_most")) == (12 * 50, 12 * 100)
    assert found.total("usd") == pytest.approx(((firsts * 100 + 6 * second) * 2 + 600 * 10) / 1e6)
    assert [role.calls for role in found.roles] == [1 + (at % n == 0) for at in range(6)]


def test_answers_that_come_with_others_calls_are_paid_for(path: Path) -> None:
    """A name that makes no call of its own is told all the same; a server's tokens are those of the call's first."""
    prompts = [Prompt.of(f"question {at}") for at in range(8)]
    model = OpenAIModel("m", "m", "http://127.0.0.1:9/v1", price=PRICE, samples_per_call=4)
    four = samples_of(Contestant("m", model, Sampling(temperature=1.0, max_tokens=100)), 4)

    def estimated() -> Estimate:
        with Store(path) as store:
            store.add_prompts(prompts)
            store.flush()
            answers = Answers(store, four, {}, seed=0)

            def planned(prompt_ids: Sequence[str]) -> Iterator[Planned]:
                for material in materials(store, prompt_ids):
                    for c in four:
                        yield from answers.planned(c.name, material)

            return estimate_units(planned, [p.id for p in prompts], four, store)

    before = estimated()
    assert (before.calls, before.total("tokens_out"), before.total("tokens_out_most")) == (8, 32 * 50, 32 * 100)
    assert any("contestant m#4: 0 calls · 0 tokens in · 400 out" in line for line in before.lines())
    with Store(path) as store:
        for p in prompts[:5]:
            for c in four:
                key = response_key(p.id, model.fingerprint, c.sampling.key(), c.sample)
                said = Completion(f"answer {c.sample}", tokens_in=10, tokens_out=80)
                if c.sample:
                    said = replace(said, tokens_in=0, tokens_out=0, calls=0)
                store.add_turns([TurnRow(key, 0, p.id, c.name, said, content_hash([said.text]), c.sample)])
    after = estimated()
    assert [(role.calls, role.stored) for role in after.roles] == [(3, 5), (0, 5), (0, 5), (0, 5)]
    assert (after.total("tokens_in"), after.total("tokens_out")) == (3 * 10, 3 * 80)


def test_a_meta_judge_s_answers_are_as_long_as_its_sampling_allows() -> None:
    prompt = Prompt.of("question")
    one = AskedJudge(MetaJudge(ScriptedModel("meta", judge), sampling=Sampling(max_tokens=2000)), "0" * 32)
    texts = [Response(prompt.id, "m", (some,)) for some in ("answer", "first", "second")]
    unit = JudgeUnit(one, (prompt, *texts), {})
    found = estimate_units(lambda prompt_ids: [Planned(unit)], [prompt.id], [one], None)
    assert found.total("tokens_out_most") == 3 * 2000
