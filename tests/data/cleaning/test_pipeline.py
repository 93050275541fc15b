"""All steps together: their order, that counts add up, and that cleaning twice changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.config import CleaningSettings
from arenaloop.data.cleaning.pipeline import Account, Cleaner, clean
from arenaloop.data.cleaning.rows import BenchmarkItem, Drop, Row, prompt_rows
from arenaloop.errors import ConfigError, InputError
from arenaloop.types import Prompt

TEST = "please name the three longest rivers that flow through Europe and the seas they reach"
ASKED = "please explain in a few words how a bicycle stays upright when nobody is riding it down a hill"
POOL = [
    "a bad word stands in this question of mine",  # toxic
    "what?",  # too short
    ASKED,
    f"{ASKED.upper()}!",  # equal
    ASKED.replace("a hill", "a road"),  # begins alike
    ASKED.replace("please", "kindly"),  # near-duplicate
    f"Here is a task. {TEST}. Thank you.",  # contains the test prompt
    "now tell me: three longest rivers that flow through Europe and the seas, in order",  # overlaps with it
    "kindly name three long rivers which flow through Europe",  # the nearest to it of the others
    "wie bleibt ein Fahrrad aufrecht, wenn niemand darauf sitzt?",  # German
    "how many strings does an ordinary violin have, and how are they tuned",
]
BY = ["toxic", "min_len", None, "prefix", "prefix", "minhash", "held_out", "overlap", "nearest", "lang", None]


def cleaned(texts: list[str], *tests: str, **changes: object) -> tuple[Account, list[Row], list[Drop]]:
    """What cleaning comes to, what stays, what goes."""
    items = [BenchmarkItem({"line": n}, Prompt.of(text)) for n, text in enumerate(tests, 1)]
    is_toxic: Any = changes.pop("is_toxic", None)
    cleaner = Cleaner(CleaningSettings.model_validate(changes), 0, is_toxic)
    dropped: list[Drop] = []
    account, rows = clean(prompt_rows(map(Prompt.of, texts)), cleaner, items, dropped.append)
    return account, list(rows), dropped


def bad(conversations):
    return ["bad" in one[-1]["content"] for one in conversations]


def test_each_step_drops_its_own_in_the_papers_order() -> None:
    account, stay, dropped = cleaned(POOL, TEST, is_toxic=bad, decontam_k=0, jaccard=0.6)
    by = {one.row.line: one.step for one in dropped}
    expected = {n: step for n, step in enumerate(BY) if step not in (None, "nearest")}
    assert by == expected
    assert [row.line for row in stay] == [2, 8, 10]
    assert [one.step for one in account.steps] == [
        "toxic", "min_len", "prefix", "minhash", "held_out", "overlap", "lang",
    ]  # fmt: skip
    assert [(one.before, one.after) for one in account.steps] == [
        (11, 10), (10, 9), (9, 7), (7, 6), (6, 5), (5, 4), (4, 3),
    ]  # fmt: skip
    assert account.equal == 1
    assert account.notes == []


def test_the_rule_of_ranks_hides_no_contamination() -> None:
    """What is a test prompt goes as one, not as the most like it."""
    account, stay, dropped = cleaned(POOL, TEST, is_toxic=bad, decontam_k=1, jaccard=0.6)
    assert {one.row.line: one.step for one in dropped} == {n: step for n, step in enumerate(BY) if step is not None}
    assert [row.line for row in stay] == [2, 10]
    assert [one.step for one in account.steps] == [
        "toxic", "min_len", "prefix", "minhash", "held_out", "overlap", "nearest", "lang",
    ]  # fmt: skip


def test_what_is_off_is_said() -> None:
    account, stay, _ = cleaned(POOL, prefix=0, ngram=0, lang="any", min_len=0)
    assert len(stay) == len(POOL)
    assert [one.step for one in account.steps] == ["min_len"]
    assert [note.split(" (")[0] for note in account.notes] == [
        "no filter for illegal or toxic prompts is set",
        "no test set is given: prompts that are in one stay",
    ]


def test_an_empty_result_names_the_step_that_emptied_it() -> None:
    account, _, _ = cleaned(["what?", "who?", ASKED], lang="de")
    with pytest.raises(
        InputError, match=r"pool: cleaning leaves none of 3 rows: step lang \(not de\) dropped the last 1"
    ):
        account.require_rows("pool")
    account, _, _ = cleaned([])
    with pytest.raises(InputError, match="pool: no prompts in it"):
        account.require_rows("pool")


def test_a_pool_that_is_the_test_set() -> None:
    account, stay, _ = cleaned([ASKED, TEST], ASKED, TEST, decontam_k=0)
    assert stay == []
    with pytest.raises(InputError, match=r"step held_out \(asks or contains one of 2 test prompts\)"):
        account.require_rows("pool")


def test_all_equal() -> None:
    account, stay, _ = cleaned([ASKED] * 5)
    assert [row.line for row in stay] == [0]
    assert account.equal == 4


def test_rows_are_streamed() -> None:
    """Nothing is read before a row is drawn, and a step that can let rows through one by one does."""
    read: list[int] = []

    def source():
        for row in prompt_rows(Prompt.of(f"{n} {ASKED}") for n in range(1000)):
            read.append(row.line)
            yield row

    account, rows = clean(source(), Cleaner(CleaningSettings(ngram=0)), [])
    assert not read
    next(rows)
    assert len(read) == 1
    assert account.read == 1


def test_unknown_languages_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="no language 'klingon'"):
        clean(iter(()), Cleaner(CleaningSettings(lang="klingon")), [])


WORDS = st.sampled_from("river sea bridge wie why der the 2 write hello Hello".split())  # noqa: SIM905
TEXTS = st.lists(st.lists(WORDS, max_size=14).map(" ".join), max_size=12)


@settings(max_examples=25, deadline=None)
@given(TEXTS, st.lists(WORDS, min_size=3, max_size=10).map(" ".join))
def test_counts_add_up_and_cleaning_twice_changes_nothing(texts: list[str], test: str) -> None:
    changes = {"decontam_k": 0, "prefix": 4, "ngram": 2, "perms": 32, "jaccard": 0.6, "overlap": 3}
    account, stay, dropped = cleaned(texts, test, **changes)
    assert account.read == len(texts)
    for one, following in zip(account.steps, account.steps[1:], strict=False):
        assert one.before >= one.after == following.before
    assert account.kept == len(stay) == len(texts) - len(dropped)
    for one in account.steps:
        assert one.dropped == sum(drop.step == one.step for drop in dropped)
    assert [row.line for row in stay] == sorted(row.line for row in stay)
    again, kept, _ = cleaned([row.asked for row in stay], test, **changes)
    assert again.kept == again.read
    assert [row.asked for row in kept] == [row.asked for row in stay]
    assert cleaned(texts, test, **changes)[1] == stay
