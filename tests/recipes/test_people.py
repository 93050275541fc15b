"""People's labels, found by prompt and both texts."""

from __future__ import annotations

import pytest

from arenaloop.data.formats.labels import Label, LabelSet
from arenaloop.errors import InputError
from arenaloop.recipes.people import people
from arenaloop.types import Prompt, Response, Status

ASKED = Prompt.of("Name a fruit.")
OTHER = Prompt.of("Name a tree.")


def answer(text: str, prompt: Prompt = ASKED) -> Response:
    return Response(prompt.id, "model", (text,), Status.OK)


def labels(*said: tuple[str, str, float | None], prompt: Prompt = ASKED) -> LabelSet:
    return LabelSet(tuple(Label(prompt, ((one,), (two,)), p, line=at) for at, (one, two, p) in enumerate(said, 1)))


def test_several_are_averaged_whichever_way_round_they_were_shown() -> None:
    found = people("p", labels(("fig", "oak", 1), ("oak", "fig", 2), ("oak", "fig", 1), ("fig", "elm", 2)), [ASKED])
    assert found.score(ASKED, answer("fig"), answer("oak")) == pytest.approx(2 / 3)
    assert found.score(ASKED, answer("oak"), answer("fig")) == pytest.approx(1 / 3)
    assert found.score(ASKED, answer("plum"), answer("oak")) is None
    assert (found.given, found.used) == (4, 3)
    assert found.unmatched is not None
    assert found.unmatched.line == 4


def test_equal_answers_are_a_tie_where_people_looked_and_nothing_where_not() -> None:
    found = people("p", labels(("fig", "oak", 1)), [ASKED, OTHER])
    assert found.score(ASKED, answer("elm"), answer("elm")) == 0.5
    assert found.score(OTHER, answer("elm", OTHER), answer("elm", OTHER)) is None


def test_what_is_about_no_evaluation_prompt_is_counted_or_refused() -> None:
    mixed = LabelSet((*labels(("a", "b", 1), ("a", "b", None)), *labels(("a", "b", 1), prompt=OTHER)))
    assert people("p", mixed, [ASKED]).told() == "people: 1 label (1 about other prompts, 1 without a preference)"
    with pytest.raises(InputError, match=r"no label is about a prompt of data\.evaluation \(2 ask other prompts\)"):
        people("p", labels(("a", "b", 1), ("a", "b", 2), prompt=OTHER), [ASKED])
    with pytest.raises(InputError, match="none has a preference"):
        people("p", labels(("a", "b", None)), [ASKED])
