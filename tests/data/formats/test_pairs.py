"""Pairs of answers from files of pairs, training rows, two models' answers, and samples of one."""

from __future__ import annotations

import json
from collections import Counter
from math import factorial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.calls.answers import Contestant
from arenaloop.data.formats.pairs import deranged, holds_pairs, read_head_to_head, read_pairs, read_samples
from arenaloop.errors import InputError
from arenaloop.models.recorded import RecordedModel


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def shown(pairs) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(pair.prompt.last_user, pair.one.texts, pair.two.texts) for pair in pairs]


def said(*texts: str) -> list[dict[str, str]]:
    """An assistant's turns, and a user's between them."""
    return [{"role": ("assistant", "user")[at % 2], "content": text} for at, text in enumerate(texts)]


HELLO = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


@pytest.mark.parametrize(
    ("row", "pair", "key"),
    [
        ({"instruction": "a", "input": "b", "output_1": "x", "output_2": "y"}, ("a\n\nb", ("x",), ("y",)), "ab"),
        ({"instruction": "a", "input": "", "output_1": "x", "output_2": "y"}, ("a", ("x",), ("y",)), "a"),
        ({"prompt": "a", "response_a": "x", "response_b": ""}, ("a", ("x",), ("",)), "a"),
        ({"prompt": "a", "chosen": "x", "rejected": "y"}, ("a", ("x",), ("y",)), "a"),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: x", "rejected": "\n\nHuman: a\n\nAssistant: y"},
            ("a", ("x",), ("y",)),
            "a",
        ),
        (
            {"prompt": [*HELLO, {"role": "user", "content": "a"}], "chosen": "x", "rejected": "y"},
            ("a", ("x",), ("y",)),
            "hihelloa",
        ),
        (
            {
                "prompt": "a",
                "chosen": said("x", "b", "z"),
                "rejected": said("y", "b", "w"),
            },
            ("a", ("x", "z"), ("y", "w")),
            "a",
        ),
    ],
)
def test_pairs_of_every_form_and_what_seeds_them(tmp_path: Path, row, pair, key) -> None:
    path = written(tmp_path / "pairs.jsonl", [row])
    assert holds_pairs(path)
    found = read_pairs(path)
    assert (shown(found.pairs), found.pairs[0].key) == ([pair], key)


def test_a_pair_that_comes_again_is_left_out_whichever_way_round(tmp_path: Path) -> None:
    one = {"instruction": "a", "output_1": "x", "output_2": "y"}
    turned = {"instruction": "a", "output_1": "y", "output_2": "x"}
    other = {"instruction": "b", "output_1": "y", "output_2": "x"}
    found = read_pairs(written(tmp_path / "pairs.jsonl", [one, turned, one, other]))
    assert (shown(found.pairs), found.repeated) == ([("a", ("x",), ("y",)), ("b", ("y",), ("x",))], 2)


def test_rows_that_are_no_pairs_are_left_out_while_they_are_few(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{n}", "output_1": "x", "output_2": "y"} for n in range(40)]
    rows[7] |= {"output_2": None}
    found = read_pairs(written(tmp_path / "pairs.jsonl", rows))
    assert len(found.pairs) == 39
    assert found.notes[0].startswith("1 of 40 rows without a pair of answers left out: column output_2: no value")
    with pytest.raises(InputError, match="line 1: column output_2: no value"):
        read_pairs(written(tmp_path / "pairs.jsonl", [row | {"output_2": None} for row in rows]))
    speaking = {"prompt": "a", "chosen": [*HELLO[::-1]], "rejected": "y"}
    with pytest.raises(InputError, match=r"line 1: .*assistant turn"):
        read_pairs(written(tmp_path / "pairs.jsonl", [speaking]))


def answers(path: Path, name: str, texts: dict[str, str]) -> Contestant:
    written(path, [{"instruction": asked, "output": text} for asked, text in texts.items()])
    return Contestant(name, RecordedModel(name, path))


def test_two_models_answers_are_joined_by_prompt_and_not_by_row(tmp_path: Path) -> None:
    one = answers(tmp_path / "one.jsonl", "one", {"a": "1a", "b": "1b", "c": "1c"})
    two = answers(tmp_path / "two.jsonl", "two", {"c": "2c", "a": "2a", "b": "2b"})
    found = read_head_to_head(one, two)
    assert shown(found.pairs) == [(asked, (f"1{asked}",), (f"2{asked}",)) for asked in "abc"]
    assert {(pair.one.model, pair.two.model) for pair in found.pairs} == {("one", "two")}
    prompts = written(tmp_path / "prompts.jsonl", [{"prompt": "b"}])
    assert [pair.key for pair in read_head_to_head(one, two, prompts).pairs] == ["b"]
    few = answers(tmp_path / "few.jsonl", "few", {"a": "3a"})
    with pytest.raises(InputError, match="no answer for 2 of 3 prompts"):
        read_head_to_head(one, few)
    some = read_head_to_head(one, few, allow_missing=True)
    assert (len(some.pairs), some.notes[0]) == (1, "2 of 3 prompts without both answers left out")


def test_samples_meet_each_other_and_never_themselves(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{n}", "output": f"sample {k}"} for n in range(30) for k in range(4)]
    rows.append({"instruction": "alone", "output": "x"})
    path = written(tmp_path / "samples.jsonl", rows)
    assert not holds_pairs(path)
    found = read_samples(RecordedModel("m", path), seed=1)
    assert all(pair.one.texts != pair.two.texts for pair in found.pairs)
    met = Counter(text for pair in found.pairs for text in (*pair.one.texts, *pair.two.texts))
    assert len(found.pairs) + found.repeated == 120
    assert min(met.values()) >= 30
    assert found.notes[0] == "1 prompt with less than two answers left out"
    assert shown(read_samples(RecordedModel("m", path), seed=1).pairs) == shown(found.pairs)
    assert shown(read_samples(RecordedModel("m", path), seed=2).pairs) != shown(found.pairs)


@given(st.integers(2, 12), st.text(max_size=9))
def test_a_derangement_moves_everybody(count: int, seed: str) -> None:
    order = deranged(count, seed)
    assert sorted(order) == list(range(count))
    assert all(at != number for at, number in enumerate(order))


def test_each_derangement_is_as_likely_as_the_others() -> None:
    drawn = Counter(tuple(deranged(4, str(n))) for n in range(4500))
    derangements = sum((-1) ** k * factorial(4) // factorial(k) for k in range(5))
    assert len(drawn) == derangements == 9
    assert max(abs(count - 500) for count in drawn.values()) < 100
