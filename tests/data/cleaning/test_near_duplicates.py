"""Near-duplicates: against every pair compared by hand, and by their properties."""

from __future__ import annotations

import random
import sys
from functools import partial
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.cleaning import near_duplicates as module
from arenaloop.data.cleaning.near_duplicates import bands_of, near_duplicates, ngrams
from arenaloop.data.cleaning.rows import Drop, Row
from arenaloop.data.held_out import Turn
from arenaloop.errors import MissingExtraError

step = partial(near_duplicates, ngram=5, perms=128, jaccard=0.7)


def rows(texts: list[str]) -> list[Row]:
    return [Row.of(line, [Turn("user", text)], {"text": text}) for line, text in enumerate(texts)]


def test_ngrams() -> None:
    assert ngrams(["a", "b", "c"], 2) == {"a b", "b c"}
    assert ngrams(["a", "b"], 5) == {"a b"}
    assert ngrams([""], 5) == {""}


@pytest.mark.parametrize(("jaccard", "bands"), [(0.7, 32), (0.8, 32), (0.9, 16), (0.95, 8), (1.0, 1), (0.1, 128)])
def test_bands_find_99_of_100_pairs_at_the_threshold(jaccard: float, bands: int) -> None:
    assert bands_of(128, jaccard) == bands
    if bands < 128:
        slots = 128 // bands
        assert 1 - (1 - jaccard**slots) ** bands >= 0.99
        assert 1 - (1 - jaccard ** (2 * slots)) ** (bands // 2) < 0.99 or bands == 1


def pool(seed: int, count: int) -> list[str]:
    """Texts of 20 to 40 words, half of them copies of others with some words changed."""
    rng, vocabulary = random.Random(seed), [f"w{n}" for n in range(500)]
    texts: list[list[str]] = []
    for _ in range(count):
        words = rng.choices(vocabulary, k=rng.randint(20, 40))
        if texts and rng.random() < 0.5:
            words = list(rng.choice(texts))
            for _ in range(rng.randint(0, 3)):
                words[rng.randrange(len(words))] = rng.choice(vocabulary)
        texts.append(words)
    return [" ".join(words) for words in texts]


def first_of_each(texts: list[str], jaccard: float) -> tuple[list[int], dict[int, int]]:
    """What stays when every row is compared with all before it that stay, and whom each other row is like first."""
    sets = [ngrams(text.split(), 5) for text in texts]
    stay: list[int] = []
    like: dict[int, int] = {}
    for number, own in enumerate(sets):
        partner = next((n for n in stay if len(own & sets[n]) >= jaccard * len(own | sets[n])), None)
        if partner is None:
            stay.append(number)
        else:
            like[number] = partner
    return stay, like


@pytest.mark.parametrize("seed", range(3))
def test_it_is_every_pair_compared(seed: int) -> None:
    texts = pool(seed, 300)
    expected, like = first_of_each(texts, 0.7)
    dropped: list[Drop] = []
    stay = [row.line for row in step(rows(texts), dropped.append)]
    assert len(like) > 30
    assert stay == expected
    assert {one.row.line: one.partner for one in dropped} == like
    for one in dropped:
        assert isinstance(one.partner, int)
        own, other = ngrams(texts[one.row.line].split(), 5), ngrams(texts[one.partner].split(), 5)
        assert one.similarity == pytest.approx(len(own & other) / len(own | other))


def test_no_estimate_decides() -> None:
    """With a few slots, whose estimates err by a tenth, no row goes that is under the threshold."""
    texts = pool(7, 200)
    sets = [ngrams(text.split(), 5) for text in texts]
    dropped: list[Drop] = []
    list(near_duplicates(rows(texts), dropped.append, ngram=5, perms=16, jaccard=0.7))
    assert dropped
    for one in dropped:
        assert isinstance(one.partner, int)
        own, other = sets[one.row.line], sets[one.partner]
        assert len(own & other) >= 0.7 * len(own | other)


def test_a_phrase_that_many_have_costs_no_comparison_of_all_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPARED", 5)
    rng = random.Random(0)
    phrase = " ".join(f"p{n}" for n in range(12))
    texts = [f"{' '.join(f'{rng.random()}' for _ in range(12))} {phrase}" for _ in range(60)]
    texts.append(f"{texts[-1]} more")
    dropped: list[Drop] = []
    list(step(rows(texts), dropped.append))
    assert [(one.row.line, one.partner) for one in dropped] == [(60, 59)]  # by bands that few have


def test_short_and_empty_rows() -> None:
    stay = [row.line for row in step(rows(["hi", "Hi!", "hi there", "", "...", ""]), lambda _: None)]
    assert stay == [0, 2, 3, 4]
    assert list(step([], lambda _: None)) == []


def test_conversations_are_compared_whole() -> None:
    asked = " ".join(f"w{n}" for n in range(30))
    other = " ".join(f"v{n}" for n in range(30))
    talks = [
        Row.of(0, [Turn("user", asked), Turn("assistant", "yes"), Turn("user", other)], {}),
        Row.of(1, [Turn("user", asked), Turn("assistant", "no"), Turn("user", other)], {}),
        Row.of(2, [Turn("user", asked), Turn("assistant", "yes"), Turn("user", asked[::-1])], {}),
        Row.of(3, [Turn("user", asked)], {}),
    ]
    assert [row.line for row in step(talks, lambda _: None)] == [0, 2, 3]


@given(st.lists(st.text(alphabet="abc ", max_size=40), max_size=15))
def test_idempotent_in_order_and_counted(texts: list[str]) -> None:
    dropped: list[Drop] = []
    once = list(near_duplicates(rows(texts), dropped.append, ngram=2, perms=32, jaccard=0.5))
    assert list(near_duplicates(once, lambda _: None, ngram=2, perms=32, jaccard=0.5)) == once
    assert sorted([row.line for row in once] + [one.row.line for one in dropped]) == list(range(len(texts)))
    assert [row.line for row in once] == sorted(row.line for row in once)
    for one, other in combinations(once, 2):
        assert one.form != other.form


def test_a_missing_library_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'arenaloop\[data\]'"):
        list(step(rows(["some words"]), lambda _: None))
