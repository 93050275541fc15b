"""The style of a battle's answers, wherever a file keeps it: the same four differences from every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arenaloop.data.formats.battles import read_battles
from arenaloop.data.formats.style_columns import read_answer_styles, style_cells
from arenaloop.data.style import style_of
from arenaloop.errors import InputError
from arenaloop.ratings.style_features import FEATURES

TEXTS = [("# Title\n- one\n- two", "plain **bold**"), ("no", "## Two\n1. a\n2. b\n__c__"), ("```\n# x\n```", "1. z")]


def counts(side: int) -> list[dict[str, int]]:
    return [style_of(pair[side])._asdict() for pair in TEXTS]


def rows(form: str) -> list[dict[str, Any]]:
    out = []
    for n, pair in enumerate(TEXTS):
        row: dict[str, Any] = {"model_a": "x", "model_b": "y", "winner": "model_a", "question_id": f"q{n}"}
        both = [style_of(text) for text in pair]
        if form == "columns":
            row |= {f"{name}_{s}": getattr(c, name) for s, c in zip("ab", both, strict=True) for name in FEATURES}
        elif form == "metadata":
            row["conv_metadata"] = {}
            for s, c in zip("ab", both, strict=True):
                row["conv_metadata"] |= {
                    f"sum_assistant_{s}_tokens": c.length,
                    f"header_count_{s}": {"h1": c.headers, "h2": 0, "h3": 0, "h4": 0, "h5": 0, "h6": 0},
                    f"list_count_{s}": {"ordered": 0, "unordered": c.lists},
                    f"bold_count_{s}": {"**": c.bold, "__": 0},
                }
        elif form == "texts":
            row |= {"response_a": pair[0], "response_b": pair[1]}
        else:
            asked = {"role": "user", "content": "# not counted"}
            for s, text in zip("ab", pair, strict=True):
                turns = [asked, {"role": "assistant", "content": text}]
                row[f"conversation_{s}"] = {"messages": turns, "json": json.dumps(turns), "repr": repr(turns)}[form]
        out.append(row)
    return out


def written(form: str, tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"battles.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(form)))
    else:
        pl.DataFrame(rows(form)).write_parquet(path)
    return path


def expected(procedure: str) -> dict[str, list[float]]:
    a, b = counts(0), counts(1)
    out: dict[str, list[float]] = {}
    for name in FEATURES:
        out[name] = []
        for one, two in zip(a, b, strict=True):
            x, y, more = float(one[name]), float(two[name]), 1.0
            if procedure == "arena_hard":
                more = 0.0 if name == "length" else 1.0
                if name != "length":
                    x, y = x / (one["length"] + 1), y / (two["length"] + 1)
            out[name].append((x - y) / (x + y + more))
    return out


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("form", ["columns", "metadata", "texts", "messages", "json", "repr"])
@pytest.mark.parametrize("procedure", ["style", "arena_hard"])
def test_every_form_gives_the_same_style(form: str, kind: str, procedure: str, tmp_path: Path) -> None:
    battles = read_battles(written(form, tmp_path, kind), controls=[procedure])
    for name, values in expected(procedure).items():
        assert battles.covariates[name] == pytest.approx(values), name


def test_metadata_as_whole_numbers_and_as_text(tmp_path: Path) -> None:
    changed = rows("metadata")
    for row in changed:
        row["conv_metadata"] = {
            name: sum(cell.values()) if isinstance(cell, dict) else cell for name, cell in row["conv_metadata"].items()
        }
    path = tmp_path / "b.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in changed))
    for name, values in expected("style").items():
        assert read_battles(path, controls=["style"]).covariates[name] == pytest.approx(values)
    path.write_text(
        "".join(json.dumps(row | {"conv_metadata": json.dumps(row["conv_metadata"])}) + "\n" for row in changed)
    )
    for name, values in expected("style").items():
        assert read_battles(path, controls=["style"]).covariates[name] == pytest.approx(values)


def test_a_row_without_its_texts_is_left_out_and_no_source_at_all_is_refused(tmp_path: Path) -> None:
    some = rows("texts")
    some[1]["response_b"] = None
    path = tmp_path / "b.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    assert np.isnan(read_battles(path, controls=["style"]).covariates["bold"]).tolist() == [False, True, False]
    bare = [{k: v for k, v in row.items() if not k.startswith("response")} for row in some]
    path.write_text("".join(json.dumps(row) + "\n" for row in bare))
    with pytest.raises(InputError, match=r"missing column length_a.*conv_metadata.*--answers"):
        read_battles(path, controls=["style"])


@pytest.mark.parametrize("text", ['{"a": 1}', "[1] first", "[", '["not", 3]', "{'role': 'assistant'}"])
def test_a_text_that_looks_like_data_is_a_text(text: str) -> None:
    cells = style_cells({"response_a": text, "response_b": "x"})
    assert cells["length_a"] == len(text)


def test_alpaca_eval_outputs(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([
        {"instruction": f"i{n}", "output_1": one, "output_2": two, "generator_1": "base", "generator_2": "m",
         "preference": 2}
        for n, (one, two) in enumerate(TEXTS)
    ]))  # fmt: skip
    battles = read_battles(path, controls=["style"])
    sign = 1.0 if battles.models[battles.a[0]] == "base" else -1.0
    for name, values in expected("style").items():
        assert sign * battles.covariates[name] == pytest.approx(values), name


def test_arena_hard_judgments_with_their_answers(tmp_path: Path) -> None:
    answers = tmp_path / "model_answer"
    answers.mkdir()
    texts = dict(zip(("base", "new"), zip(*TEXTS, strict=True), strict=True))
    for model, said in texts.items():
        lines = []
        for n, text in enumerate(said):
            row: dict[str, Any] = {"uid": f"q{n}", "model": model, "messages": [
                {"role": "user", "content": "hm"}, {"role": "assistant", "content": {"answer": text}}]}  # fmt: skip
            if model == "new":
                c = style_of(text)
                row["metadata"] = {
                    "token_len": c.length,
                    "header_count": {"h1": c.headers},
                    "list_count": {"ordered": c.lists, "unordered": 0},
                    "bold_count": {"**": c.bold},
                }
            lines.append(json.dumps(row) + "\n")
        (answers / f"{model}.jsonl").write_text("".join(lines))
    judged = tmp_path / "judged.jsonl"
    judged.write_text("".join(
        json.dumps({"uid": f"q{n}", "judge": "j", "model": "new", "baseline": "base",
                    "games": [{"score": "A>B"}, {"score": "A>B"}]}) + "\n"
        for n in range(len(TEXTS))
    ))  # fmt: skip
    styles = read_answer_styles(answers)
    assert styles["base", "q0"] == style_of(TEXTS[0][0])
    battles = read_battles(judged, controls=["arena_hard"], answers=styles)
    assert len(battles) == 2 * len(TEXTS)
    sign = np.where(battles.a == battles.models.index("base"), 1.0, -1.0)
    for name, values in expected("arena_hard").items():
        assert sign * battles.covariates[name] == pytest.approx(np.repeat(values, 2)), name


def test_what_is_no_answer_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"uid": "q", "model": "m", "messages": [{"role": "assistant", "content": "x"}]}\n{"uid": "q"}\n')
    with pytest.raises(InputError, match="line 2: no answer"):
        read_answer_styles(path)
    turns = [{"question_id": 1, "model_id": "m", "choices": [{"index": 0, "turns": ["# a", "- b"]}]}]
    path.write_text(json.dumps(turns[0]) + "\n")
    assert read_answer_styles(path)["m", "1"][1:] == (1, 1, 0)
    (tmp_path / "question.jsonl").write_text('{"uid": "1", "prompt": "Hi"}\n')  # beside them in a directory
    for place in (tmp_path, f"{tmp_path}/ans*.jsonl"):
        assert list(read_answer_styles(place)) == [("m", "1")]
    with pytest.raises(InputError, match="line 1: no answer"):
        read_answer_styles(tmp_path / "question.jsonl")
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(InputError, match="no answers"):
        read_answer_styles(tmp_path / "nowhere")
