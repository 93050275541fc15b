"""Label files of the field, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.formats.labels import Label, labelled_pairs, read_labels, split_filter
from arenaloop.errors import InputError
from arenaloop.types import Prompt

ROW = {
    "instruction": "Add.", "input": "1 + 1", "output_1": "2", "output_2": "3", "preference": 1.0, "annotator": "gpt4",
    "generator_1": "base", "generator_2": "mine", "price_per_example": 0.01, "time_per_example": 2.5, "seed": 0,
}  # fmt: skip


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_alpacaeval_annotations(tmp_path: Path) -> None:
    (label,) = read_labels(lines(tmp_path / "a.jsonl", ROW))
    assert label == Label(
        Prompt.of("Add.\n\n1 + 1"), (("2",), ("3",)), 1.0, "gpt4", ("base", "mine"), 0.01, 2.5, 1
    )  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps([ROW, ROW | {"preference": None}]))
    assert [x.preference for x in read_labels(tmp_path / "a.json")] == [1.0, None]
    with gzip.open(tmp_path / "a.gz", "wt") as file:
        file.write(json.dumps(ROW | {"preference": 0}))
    assert [x.preference for x in read_labels(tmp_path / "a.gz")] == [1.5]


def test_human_labels_with_gold_preference(tmp_path: Path) -> None:
    row = {"instruction": "i", "output_1": "a", "output_2": "b", "annotator_index": 7, "gold_preference": 2}
    (label,) = read_labels(lines(tmp_path / "h.jsonl", row))
    assert (label.preference, label.annotator, label.generators) == (2.0, "7", (None, None))


def test_chatbot_arena_votes(tmp_path: Path) -> None:
    def talk(*turns: str) -> list[dict[str, str]]:
        return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]

    row = {
        "model_a": "vicuna", "model_b": "koala", "winner": "tie (bothbad)", "judge": "arena_user_1",
        "conversation_a": talk("hi", "hello", "and?", "well"), "conversation_b": talk("hi", "hey", "and?", "so"),
    }  # fmt: skip
    as_text = row | {"conversation_a": repr(row["conversation_a"]), "conversation_b": json.dumps(row["conversation_b"])}
    one, two = read_labels(lines(tmp_path / "v.jsonl", row, as_text))
    assert one.prompt.follow_ups == ("and?",)
    assert one.outputs == (("hello", "well"), ("hey", "so"))
    assert (one.preference, one.generators, one.annotator) == (1.5, ("vicuna", "koala"), "arena_user_1")
    assert (two.prompt, two.outputs) == (one.prompt, one.outputs)


@pytest.mark.parametrize("sep", [",", "\t"])
def test_a_csv_of_ones_own(tmp_path: Path, sep: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        f'prompt{sep}response_a{sep}response_b{sep}winner{sep}annotator\n"two\nlines"{sep}x{sep}{sep}model_b{sep}ann\n'
        f"p{sep}y{sep}z{sep}tie{sep}\n",
        encoding="utf-8-sig",
    )
    one, two = read_labels(path)
    assert one.prompt == Prompt.of("two\nlines")
    assert (one.outputs, one.preference, one.annotator, one.line) == ((("x",), ("",)), 2.0, "ann", 3)
    assert (two.preference, two.annotator, two.line) == (1.5, "", 4)
    packed = tmp_path / "mine.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_labels(packed)) == [one, two]


def test_turns_kept_as_lists_of_texts(tmp_path: Path) -> None:
    row = {"prompt": '["a", "b"]', "response_a": '["1", "2"]', "response_b": '["3", null]', "winner": "model_a"}
    (label,) = read_labels(lines(tmp_path / "k.jsonl", row))
    assert (label.prompt.last_user, label.prompt.follow_ups) == ("a", ("b",))
    assert label.outputs == (("1", "2"), ("3", ""))


def test_parquet(tmp_path: Path) -> None:
    import polars as pl

    pl.DataFrame([ROW, ROW | {"preference": 1.25}]).write_parquet(tmp_path / "a.parquet")
    assert [x.preference for x in read_labels(tmp_path / "a.parquet")] == [1.0, 1.25]


def test_a_filter(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ROW, ROW | {"seed": 1}, ROW | {"seed": 1.0, "annotator": "human"})
    assert split_filter(f"{path}#annotator=gpt4&seed=1") == (str(path), {"annotator": "gpt4", "seed": "1"})
    assert split_filter("odd#name.csv") == ("odd#name.csv", {})
    assert len(read_labels(path, {"seed": "1"})) == 2
    assert len(read_labels(path, {"seed": "1", "annotator": "gpt4"})) == 1
    with pytest.raises(InputError, match=r"no row with annotator=gpt5 \(found annotator: gpt4, human\)"):
        read_labels(path, {"annotator": "gpt5"})
    with pytest.raises(InputError, match=r"no column 'anotator' \(did you mean 'annotator'\?\)"):
        read_labels(path, {"anotator": "gpt4"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"preference": 3}, "line 2: column preference: 3: 1 of 2 rows lack a preference"),
        ({"preference": 10**400}, "line 2: column preference: 10000"),
        ({"preference": "yes"}, "line 2: column preference: 'yes': 1 of 2 rows lack a preference"),
        ({"preference": True}, "line 2: column preference: True: 1 of 2 rows lack a preference"),
        ({"output_2": None}, "line 2: column output_2: no value"),
        ({"output_1": 7}, "line 2: column output_1: not a text"),
        ({"instruction": None}, "line 2: no column messages, turns, prompt, instruction or question"),
    ],
)
def test_errors_name_line_and_column(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = lines(tmp_path / "bad.jsonl", ROW, ROW | change)
    with pytest.raises(InputError) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p", "response_a": "x", "response_b": "y"}, "no column preference, gold_preference, winner"),
        ({"prompt": "p", "winner": "tie"}, "no columns for the two outputs"),
        (
            {"prompt": "p", "response_a": "x", "response_b": "y", "winner": "yes"},
            "line 1: column winner: 'yes': 1 of 1 rows",
        ),
        ({"conversation_a": "hm", "conversation_b": [], "winner": "tie"}, "column conversation_a: neither a list"),
        (
            {
                "conversation_a": [{"role": "user", "content": "x"}],
                "conversation_b": [{"role": "user", "content": "x"}],
                "winner": "tie",
            },
            "column conversation_a: user and assistant do not take turns",
        ),
    ],
)
def test_shapes_that_are_none(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_labels(lines(tmp_path / "bad.jsonl", row))
    assert said in str(caught.value)


def test_tables_that_are_none(tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("prompt,response_a,response_b,winner\np,x,y,tie\np,x\n")
    with pytest.raises(InputError, match=r"line 3: 2 cells, not as many cells as the header has \(4\)"):
        read_labels(short)
    empty = tmp_path / "header.csv"
    empty.write_text("prompt,response_a,response_b,winner\n")
    with pytest.raises(InputError, match="no labels in it"):
        read_labels(empty)
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "none.csv")


def test_pairs_are_collected_and_turned() -> None:
    prompt, other = Prompt.of("p"), Prompt.of("q")
    pairs = labelled_pairs(
        [
            Label(prompt, (("x",), ("y",)), 1.0, generators=("a", "b")),
            Label(prompt, (("y",), ("x",)), 1.25),
            Label(prompt, (("x",), ("y",)), None),
            Label(other, (("x",), ("y",)), 2.0),
            Label(prompt, (("x",), ("x",)), 1.5),
            Label(prompt, (("x",), ("x",)), 1.0),
        ]
    )
    assert [(p.prompt.last_user, p.votes, p.failed) for p in pairs] == [
        ("p", [1.0, 1.75], 1), ("q", [2.0], 0), ("p", [1.5, 1.0], 0)
    ]  # fmt: skip
    assert pairs[0].generators == ("a", "b")


def talk(*turns: object, role: str = "assistant") -> list[dict[str, Any]]:
    return [{"role": ("user", role)[i % 2], "content": text} for i, text in enumerate(turns)]


def vote(turns: int = 2, **more: object) -> dict[str, Any]:
    said = [("q", "a", "q2", "a2"), ("q", "b", "q2", "b2")]
    sides = {f"conversation_{s}": talk(*texts[: 2 * turns]) for s, texts in zip("ab", said, strict=True)}
    return {"model_a": "m", "model_b": "n", "winner": "model_a", **sides, **more}


def test_a_vote_of_a_turn_is_about_the_conversation_up_to_it(tmp_path: Path) -> None:
    """MT-Bench's human votes: turn 1 judges the first answers, turn 2 the conversations."""
    rows = [vote(turn=1), vote(turn=2, winner="model_b"), vote(), vote(turn="1"), vote(1, turn=1, judge=["expert_1"])]
    labels = read_labels(lines(tmp_path / "v.jsonl", *rows))
    short, whole = (("a",), ("b",)), (("a", "a2"), ("b", "b2"))
    assert [label.outputs for label in labels] == [short, whole, whole, short, short]
    assert [label.prompt.turns for label in labels] == [1, 2, 2, 1, 1]
    assert labels[0].prompt.id == labels[4].prompt.id
    assert labels[4].annotator == "expert_1"
    assert [pair.votes for pair in labelled_pairs(labels)] == [[1.0] * 3, [2.0, 1.0]]


BAD = {
    "column turn: 3, where the conversation has turns 1 to 2": vote(turn=3),
    "column winner: 'invalid'": vote(winner="invalid"),
    "message 2 of conversation_a (assistant): a message without content (null)": vote(conversation_a=talk("q", None)),
    "message 2 of conversation_b has the role 'tool'": vote(conversation_b=talk("q", "42", role="tool")),
    "(assistant): it holds tool_calls": vote(
        conversation_a=[*talk("q"), {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}]
    ),
    "a part of a message's content holds image": vote(
        conversation_a=talk([{"type": "text", "text": "q", "image": "data:"}], "a")
    ),
    "column conversation_a: $ERROR$, a failed call's mark": vote(conversation_a=talk("q", "$ERROR$", "q2", "a2")),
    "column conversation_b: '#NAME?', a spreadsheet's error, is no text": vote(
        conversation_b=talk("q", "b", "q2", "#NAME?")
    ),
    "the prompt: '#REF!', a spreadsheet's error, is no text": vote(
        conversation_a=talk("#REF!", "a"), conversation_b=talk("#REF!", "b")
    ),
    "column winner: '#N/A'": vote(winner="#N/A"),
    "column tools: it changes": vote(tools=[{"name": "f"}], conversation_a=talk("q", "a"), prompt="q"),
}


@pytest.mark.parametrize("why", [why for why in BAD if "tools:" not in why])
def test_one_bad_row_is_left_out_and_counted_and_many_refuse_the_file(tmp_path: Path, why: str) -> None:
    labels = read_labels(lines(tmp_path / "v.jsonl", *[vote()] * 5, BAD[why], *[vote()] * 18))
    assert (len(labels), labels.left_out) == (23, 1)
    (note,) = labels.notes
    assert note.startswith("1 of 24 rows without ")
    assert why in note
    assert note.endswith("(1, first line 6)")
    with pytest.raises(InputError) as caught:
        read_labels(lines(tmp_path / "v.jsonl", *[vote()] * 5, BAD[why], *[vote()] * 13))
    assert str(caught.value).startswith(f"{tmp_path / 'v.jsonl'}, line 6: ")
    assert why in str(caught.value)
    assert "1 of 19 rows lack" in str(caught.value)


def test_labels_that_weigh_differently_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2: column weight: .* stand for unequally many"):
        read_labels(lines(tmp_path / "v.jsonl", vote(weight=1), vote(weight=2)))
    assert len(read_labels(lines(tmp_path / "v.jsonl", vote(weight=2), vote(weight=2)))) == 2


def test_a_one_hot_winner_of_two_texts(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text(
        "model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        'm,n,"[""q""]","[""x""]","[""y""]",0,1,0\nm,n,"[""q""]","[""x""]","[""y""]",0,0,1\n'
    )
    assert [label.preference for label in read_labels(path)] == [2.0, 1.5]


def test_two_rows_of_one_label_are_not_two_people_who_agree(tmp_path: Path) -> None:
    mine = ROW | {"preference": 2.0}
    rows = [mine | {"label_id": n, "instruction": str(n)} for n in range(40)]
    labels = read_labels(lines(tmp_path / "v.jsonl", *rows, *rows[:15]))
    assert [pair.votes for pair in labelled_pairs(labels)] == [[2.0]] * 40
    assert (labels.left_out, labels.notes) == (15, ("15 rows repeat a label of this file by its id: once",))
    labels = read_labels(lines(tmp_path / "v.jsonl", *rows, rows[0] | {"preference": 1.0}))
    assert len(labels) == 39
    assert labels.notes == ("2 of 41 rows without one preference left out: rows of one label differ (2, first line 1)",)
    # by somebody else, about another pair, or without an id that is a label's: labels of their own
    others = [rows[0] | {"annotator": "claude"}, rows[0] | {"output_1": "4"}, *[mine | {"question_id": 7}] * 2]
    labels = read_labels(lines(tmp_path / "v.jsonl", *rows, *others))
    assert (len(labels), labels.notes) == (44, ())


def test_a_preference_between_equal_outputs_and_texts_that_were_cut_are_named(tmp_path: Path) -> None:
    mine = ROW | {"preference": 2.0}
    equal = mine | {"output_2": "2"}
    labels = read_labels(lines(tmp_path / "v.jsonl", mine, equal, equal | {"preference": 1.5}))
    assert labels.notes == ("1 of 3 labels prefer one of two equal outputs (first line 2)",)
    labels = read_labels(lines(tmp_path / "v.jsonl", mine, mine | {"output_1": "w" * 32_767}))
    (note,) = labels.notes
    assert note.startswith("1 of 4 outputs are 32,767 characters long")
