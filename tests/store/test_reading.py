"""What comes out of the arena file: what went in, the latest attempt of it, and what it has cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from arena_rows import dump, turn, verdict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arenaloop.store import Store, TurnRow, recorded_key, response_key
from arenaloop.store.rows import response_keys
from arenaloop.types import Completion, Judgement, Outcome, Prompt, Status, content_hash

TEXTS = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["\x00", "a\x00b", "\x00json:", '\x00json:"x"', "\ud800", "x\udfffy", "\ud83d\ude00", "\U0001f600", ""]
)


def test_append_and_reopen(path: Path) -> None:
    prompt = Prompt(({"role": "user", "content": "hi"},), ("more",), tags={"source_id": 7})
    first = verdict("v", raw="Scores: 7 5", tokens_in=3, tokens_out=4, usd=0.5, seconds=1.5, calls=2)
    with Store(path) as store:
        store.add_prompts([prompt, prompt])
        store.add_turns([turn("r", Completion("one"), 0), turn("r", Completion("two"), 1)])
        store.add_verdict(first)
        store.put_stage("SFT-I0", "key", {"rows": 3, "nested": [None, 1.5]})
        secret = store.secret
    with Store(path, readonly=True) as store:
        assert store.prompt(prompt.id) == prompt
        assert list(store.prompts()) == [prompt]
        assert store.verdict("v") == first
        assert store.verdicts(["v", "none"]) == {"v": first}
        response = store.response("r", prompt, "someone")
        assert response is not None
        assert (response.texts, response.status, response.model) == (("one", "two"), Status.OK, "someone")
        assert store.stage("SFT-I0", "key") == {"rows": 3, "nested": [None, 1.5]}
        assert store.stage("SFT-I0", "other") is None
        assert store.prompt("none") is None
        assert store.verdict("none") is None
        assert store.secret == secret
        assert len(secret) == 32


def test_a_response_is_whole_or_nothing(path: Path) -> None:
    prompt = Prompt(({"role": "user", "content": "hi"},), ("more",))
    with Store(path) as store:
        assert store.response("r", prompt, "m") is None
        store.add_turns([turn("r", Completion("one"))])
        assert store.response("r", prompt, "m") is None
        store.add_turns([turn("r", Completion(status=Status.ERROR, error="boom"), 1)])
        failed = store.response("r", prompt, "m")
        assert failed is not None
        assert failed.status is Status.ERROR


@pytest.mark.parametrize("early", [Status.TRUNCATED, Status.EMPTY])
def test_a_cut_or_empty_early_turn_marks_the_whole_response(path: Path, early: Status) -> None:
    """A later good turn must not hide it: such a response may never be chosen for training."""
    prompt = Prompt(({"role": "user", "content": "hi"},), ("more",))
    with Store(path) as store:
        store.add_turns([turn("r", Completion("", status=early), 0), turn("r", Completion("fine"), 1)])
        response = store.response("r", prompt, "m")
    assert response is not None
    assert response.status is early
    assert response.battles


def test_the_latest_attempt_wins_and_all_are_kept(path: Path) -> None:
    with Store(path) as store:
        for text in ("a", "b", "c"):
            store.add_turns([turn("r", Completion(text))])
            assert store.turn("r", 0) == (text, Status.OK)
        store.add_verdict(verdict("v", Status.UNPARSED))
        store.flush()
        store.add_verdict(verdict("v", Status.ERROR, error="down"))
        store.add_verdict(verdict("v"))
        assert store.verdict("v").outcome is Outcome.A
        store.flush()
        assert store.turn("r", 0) == ("c", Status.OK)
        assert store.verdict("v").outcome is Outcome.A
        assert store.verdicts(["v"])["v"].outcome is Outcome.A
        assert store.statuses(["v"]) == {"v": Status.OK}
        assert store.turn("r", 0) == ("c", Status.OK)
    assert dump(path, "SELECT attempt, text FROM responses ORDER BY id") == [(0, "a"), (1, "b"), (2, "c")]
    kept = dump(path, "SELECT attempt, status, error FROM verdicts ORDER BY id")
    assert kept == [(0, "unparsed", None), (1, "error", "down"), (2, "ok", None)]


@given(text=TEXTS, reasoning=st.none() | TEXTS, error=st.none() | TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_any_text_survives(path: Path, text: str, reasoning: str | None, error: str | None) -> None:
    key = content_hash(text, reasoning, error)
    prompt = Prompt.of(text, note=text)
    said = Completion(text, reasoning=reasoning, error=error)
    with Store(path) as store:
        store.add_prompts([prompt])
        store.add_turns([turn(key, said, prompt_id=prompt.id)])
        store.add_verdict(verdict(key, raw=text, error=error))
    with Store(path, readonly=True) as store:
        assert store.prompt(prompt.id) == prompt
        assert store.turn(key, 0) == (text, Status.OK)
        (on_prompt,) = store.on_prompts([prompt.id])
        assert on_prompt.turns[key, 0][:2] == (text, Status.OK)
        found = store.verdict(key)
        assert found is not None
        assert (found.raw, found.error) == (text, error)


def test_texts_behind_a_hash_are_those_with_that_hash(path: Path) -> None:
    """An answer that was generated again has a second text: each hash still leads to its own."""
    with Store(path) as store:
        for text in ("old", "new"):
            store.add_turns([turn("r", Completion(text))])
        store.flush()
        assert store.texts(content_hash(["old"])) in (("old",), None)
        assert store.texts(content_hash(["new"])) == ("new",)
        assert store.texts("none") is None


def test_a_judgement_s_text_is_found_by_its_hash(path: Path) -> None:
    """Which is what stands for it in a seat of the meta-judge."""
    odd = "Reasons \x00\ud800.\nScore: 4"
    judgement = Judgement("k", "p", "h", "rubric", Status.OK, odd, 4.0)
    with Store(path) as store:
        store.add_records([judgement])
        store.flush()
        assert store.texts(judgement.text_hash) == (odd,)


def test_keys() -> None:
    """Everything that determines an answer is part of its key, and of a recorded one its text alone."""
    base = response_key("p", "f", [0.0, 1.0, 512, []], 0)
    others = {
        response_key("q", "f", [0.0, 1.0, 512, []], 0),
        response_key("p", "g", [0.0, 1.0, 512, []], 0),
        response_key("p", "f", [0.7, 1.0, 512, []], 0),
        response_key("p", "f", [0.0, 1.0, 512, []], 1),
        recorded_key("p", ["x"]),
        recorded_key("p", ["y"]),
        recorded_key("p", ["x", ""]),
    }
    assert len(others | {base}) == 8
    assert recorded_key("p", ("x",)) == recorded_key("p", ["x"])


@given(st.text(max_size=20), st.text(max_size=8), st.integers(0, 3))
def test_keys_of_one_models_answers_are_response_keys(prompt_id: str, fingerprint: str, sample: int) -> None:
    sampling: list[object] = [0.5, 1.0, 16, ["\n"]]
    expected = response_key(prompt_id, fingerprint, sampling, sample)
    assert response_keys(fingerprint, sampling, sample)(prompt_id) == expected


def test_rulings_are_verdicts_without_their_words(path: Path) -> None:
    first = verdict("v", raw="Scores: 7 5", sample=2)
    second = replace(verdict("w", Status.TRUNCATED), judge="ju\udfffdge")
    with Store(path) as store:
        store.add_verdict(verdict("v", Status.ERROR, error="down"))
        store.add_verdict(first)
        store.add_verdict(second)
        store.add_verdict(replace(first, key="x", prompt_id="other"))
        store.flush()
        found = store.rulings_of("p")
        assert set(found) == {"v", "w"}
        for ruling, whole in ((found["v"], first), (found["w"], second)):
            assert ruling._asdict() == {name: getattr(whole, name) for name in ruling._fields}
        assert store.rulings_of("none") == {}


def test_responses_of_a_prompt_are_those_found_one_by_one(path: Path) -> None:
    prompt = Prompt(({"role": "user", "content": "hi"},), ("more",))
    single = Prompt.of("hi")
    error, refused_ = Completion(status=Status.ERROR), Completion(status=Status.REFUSED)
    with Store(path) as store:
        for key, turns in {
            "whole": [Completion("one"), Completion("two")],
            "begun": [Completion("one")],
            "failed": [error],
            "late": [Completion("one"), refused_],
            "cut": [Completion("on", status=Status.TRUNCATED), Completion("two")],
        }.items():
            texts = [said.text for said in turns]
            store.add_turns(
                [
                    (key, number, prompt.id, "model", said, content_hash(texts[: number + 1]))
                    for number, said in enumerate(turns)
                ]
            )
        again = content_hash(["one", "three"])
        store.add_turns([("whole", 1, prompt.id, "model", Completion("three"), again)])
        store.add_turns([turn("alone", Completion("one"), 0, single.id)])
        store.flush()
        for asked, keys in ((prompt, ["whole", "begun", "failed", "late", "cut"]), (single, ["alone"])):
            expected = {key: store.response(key, asked, "model") for key in keys}
            assert store.responses_of(asked) == {key: said for key, said in expected.items() if said is not None}
        assert store.responses_of(prompt)["whole"].texts == ("one", "three")
        assert set(store.responses_of(prompt)) == {"whole", "failed", "late", "cut"}


def test_usage_sums_over_invocations(path: Path) -> None:
    with Store(path) as store:
        said = Completion("x", tokens_in=10, tokens_out=2, usd=0.25, calls=3, seconds=2.0)
        store.add_turns([turn("r", said)])
        recorded = Completion("from a file", calls=0, usd=None, seconds=99.0)
        store.add_turns([turn("file", recorded)])
        store.flush()
        usage = store.usage()
        assert usage[:4] == (3, 10, 2, 0.25)
        assert usage.seconds == pytest.approx(2.0, abs=1e-6)
    with Store(path) as store:
        store.add_verdict(verdict("v", Status.ERROR, calls=2, usd=0.5, tokens_in=None, tokens_out=None, seconds=1.0))
        store.flush()
        usage = store.usage()
        assert usage[:4] == (5, 10, 2, 0.75)
        assert usage.seconds == pytest.approx(3.0, abs=1e-6)  # not the time between the two invocations
    with Store(path) as store:
        store.add_verdict(verdict("w", usd=None))
        store.flush()
        assert store.usage()[:4] == (6, 10, 2, None)


def test_an_empty_file_has_cost_nothing(path: Path) -> None:
    with Store(path) as store:
        assert store.usage() == (0, 0, 0, 0.0, 0, 0.0, 0)


def test_usage_counts_what_came_after_it_was_asked(path: Path) -> None:
    with Store(path) as store:
        store.add_verdict(verdict("v", calls=2))
        store.flush()
        assert store.usage().calls == store.usage().calls == 2
        store.add_verdict(verdict("w", calls=3))
        store.flush()
        assert store.usage().calls == 5


# ---------------------------------------------------------------------- judgements, meta-verdicts, notes


def judgement(key: str, status: Status = Status.OK, **fields: Any) -> Judgement:
    score: dict[str, Any] = {"score": 4.0} if status is Status.OK else {}
    return Judgement(key, "p", "f", "judge", status, **{"usd": 0.0, **score, **fields})


def test_judgements_come_back_as_they_went_in(path: Path) -> None:
    first = judgement(
        "j", raw="Score: 4 \ud800", sample=2, judge_hash="h", template_hash="t", parser="score:1",
        tokens_in=3, tokens_out=4, usd=0.5, seconds=1.5, calls=2, reasoning="well", finish_reason="stop",
    )  # fmt: skip
    with Store(path) as store:
        store.add_records([judgement("j", Status.ERROR, error="down", calls=3)])
        store.add_records([first])
        assert store.judgement("j") == first
        assert store.judgements(["j", "none"]) == {"j": first}
        store.add_records([replace(first, key="k", prompt_id="other")])
        store.flush()
        assert store.usage()[:4] == (7, 6, 8, 1.0)
    with Store(path, readonly=True) as store:
        assert store.judgement("j") == first
        assert store.judgement("none") is None
        assert store.judgements(["none", "j"]) == store.judgements_of("p") == {"j": first}
        assert store.judgements_of("nothing") == {}
    assert dump(path, "SELECT key, attempt, status FROM judgements ORDER BY id") == [
        ("j", 0, "error"), ("j", 1, "ok"), ("k", 0, "ok"),
    ]  # fmt: skip
    assert dump(path, "SELECT DISTINCT text_hash FROM judgements WHERE status = 'ok'") == [(first.text_hash,)]


def test_verdicts_over_judgements_are_none_over_answers(path: Path) -> None:
    meta = verdict("m", kind="meta")
    with Store(path) as store:
        store.add_verdict(meta)
        store.add_verdict(verdict("v"))
        store.flush()
        assert store.verdict("m") == store.verdicts(["m"])["m"] == meta
        assert set(store.rulings_of("p")) == {"v"}
        assert set(store.rulings(["m", "v", "w"])) == {"m", "v"}
        assert store.statuses(["m", "v"]) == {"m": Status.OK, "v": Status.OK}
        assert store.attempts(["m", "w"]) == {"m": 1}


def test_notes_are_kept_by_room_and_key(path: Path) -> None:
    with Store(path) as store:
        store.put_note("batch", "x", {"state": "written"})
        store.put_note("batch", "y", [1, None, "\ud800"])
        store.put_note("pairs", "x", 7)
        store.put_note("batch", "x", {"state": "closed"})
        assert list(store.notes("batch")) == [("y", [1, None, "\ud800"]), ("x", {"state": "closed"})]
        assert list(store.stages()) == []
    with Store(path, readonly=True) as store:
        assert store.note("pairs", "x") == 7
        assert store.note("pairs", "y") is None
        assert list(store.notes("none")) == []


def test_what_is_stored_on_many_prompts_is_read_at_once(path: Path) -> None:
    prompts = [Prompt.of(f"question {n}") for n in range(100)]
    ids = [prompt.id for prompt in prompts]
    with Store(path) as store:
        store.add_prompts(prompts)
        store.add_turns(
            [turn("r", Completion("one"), prompt_id=ids[3]), turn("r", Completion("two"), prompt_id=ids[3])]
        )
        store.add_verdict(replace(verdict("v", Status.ERROR), prompt_id=ids[3]))
        store.add_verdict(replace(verdict("v"), prompt_id=ids[3]))
        store.add_records([replace(judgement("j", Status.EMPTY), prompt_id=ids[99])])
        store.flush()
        found = list(store.on_prompts([*ids[50:], "none", *ids[:50]]))
    assert [stored.prompt for stored in found] == prompts[50:] + prompts[:50]
    assert found[53].turns == {("r", 0): ("two", Status.OK, content_hash(["two"]))}
    assert found[53].judged == {"v": Status.OK}
    assert found[49].judged == {"j": Status.EMPTY}
    assert not any(stored.turns or stored.judged for n, stored in enumerate(found) if n not in (49, 53))


def test_an_answers_sample_is_stored(path: Path) -> None:
    with Store(path) as store:
        store.add_turns(
            [TurnRow("a", 0, "p", "m", Completion("x"), "h"), TurnRow("b", 0, "p", "m", Completion("y"), "i", 3)]
        )
    assert dump(path, "SELECT key, sample FROM responses ORDER BY id") == [("a", 0), ("b", 3)]
