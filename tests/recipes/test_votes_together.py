"""Votes of a local judge side by side in its chunks: what they ask is read once, and they say the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted_battles import Chunky
from small_self import SCORE

from arenaloop.config import JudgedSettings, JudgeSettings, SamplingSettings, validate
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.models.local import LocalModel
from arenaloop.recipes.parts import Arena, judged
from arenaloop.sandbox.target import build_target
from arenaloop.specs.data import load_prompts
from arenaloop.specs.judges import pointwise
from arenaloop.store import Store
from arenaloop.types import Response

torch.set_num_threads(1)

VOTES = 5
PROMPTS = load_prompts("sandbox:prompts?n=6", 0).prompts
# of several lengths, so that rows are padded, and two of them the same
ANSWERS = [(p, Response(p.id, "m", ("word " * (n % 4 + 1),))) for n, p in enumerate([*PROMPTS, PROMPTS[0]])]


def said(path: Path, judge: RubricJudge, together: bool) -> list[list[tuple[str, str]]]:
    settings = validate(JudgedSettings, {"judge": "builtin:longest"}, "test")
    with Store(path) as store:
        found = judged(Arena(store, judge, settings), judge, ANSWERS, VOTES, 1, together=together)  # type: ignore[arg-type]
        return [[(one.raw, one.status.value) for one in some] for some in found]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An arena file with the prompts and a secret, of which delimiters are made."""
    with Store(tmp_path / "empty.db") as store:
        store.add_prompts(PROMPTS)
    return tmp_path / "empty.db"


@pytest.mark.parametrize("stop", [(), ("e",)])
def test_they_say_what_they_say_apart(
    tmp_path: Path, empty: Path, stop: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # a judge that is never read would stop it
    start = build_target(tmp_path / "start", 0, width=32, layers=1, heads=4)
    read: list[int] = []
    generate = LocalModel.generate

    def counted(self: LocalModel, chunk: Any, *rest: Any) -> Any:
        read.append(len({request.messages[0]["content"] for request in chunk}))
        return generate(self, chunk, *rest)

    monkeypatch.setattr(LocalModel, "generate", counted)
    texts = {}
    for together in (False, True):
        path = Path(shutil.copy(empty, tmp_path / f"{together}.db"))
        settings = JudgeSettings(
            spec=f"hf:{start}", template=SCORE, chunk_size=8, device="cpu",
            sampling=SamplingSettings(temperature=1.0, max_tokens=12, stop=stop),
        )  # fmt: skip
        texts[together] = said(path, pointwise(settings), together), read.copy()
        read.clear()
    assert texts[True][0] == texts[False][0]
    assert len({text for some in texts[True][0] for text, _ in some}) > VOTES
    assert sum(texts[True][1]) < sum(texts[False][1]) / 2  # prompts that chunks read


def test_a_chunk_holds_the_votes_of_an_answer_side_by_side(
    tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # a judge that is never read would stop it
    chunks = {}
    for together in (False, True):
        local = Chunky(size=VOTES)
        said(Path(shutil.copy(empty, tmp_path / f"{together}.db")), RubricJudge(local), together)
        chunks[together] = [len(set(chunk)) for chunk in local.chunks if len(chunk) == VOTES]
    assert 1 in chunks[True]
    assert set(chunks[False]) == {VOTES}
