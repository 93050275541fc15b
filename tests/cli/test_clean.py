"""`arenaloop clean`: what is written, what is told, and what is refused in one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

ASKED = "please explain in a few words how a bicycle stays upright when nobody is riding it"
OTHER = "how many strings does an ordinary violin have, and how are they tuned"
SAME = "the same when normalised: case, blanks, punctuation, markup and labels put aside"
ROWS: list[dict[str, Any]] = [
    {"instruction": ASKED, "mine": 1},
    {"instruction": "what?", "mine": 2},
    {"instruction": f"{ASKED.upper()}?", "mine": 3},
    {"messages": [{"role": "user", "content": OTHER}, {"role": "assistant", "content": "Four."}], "mine": 4},
    {"instruction": "name three rivers of Europe", "mine": 5},
]


def written(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_rows_stay_as_they_stood_and_the_others_say_why(arenaloop: Run) -> None:
    written("pool.jsonl", ROWS)
    done = arenaloop("clean", "--prompts", "pool.jsonl", "--out", "new/clean.jsonl")
    assert done.code == 0
    assert read("new/clean.jsonl") == [ROWS[0], ROWS[3], ROWS[4]]
    gone = read("new/clean.dropped.jsonl")
    assert [row.pop("dropped") for row in gone] == [
        {"step": "min_len", "why": "5 chars", "line": 2, "partner": None, "similarity": None},
        {"step": "prefix", "why": SAME, "line": 3, "partner": {"line": 1}, "similarity": 1.0},
    ]
    assert gone == [ROWS[1], ROWS[2]]
    assert [" ".join(line.split()) for line in done.out.splitlines()[1:3]] == [
        "min_len: shorter than 10 chars 5 1 4",
        "prefix: the same first 10 words 4 1 3",
    ]
    said = " ".join(" ".join(done.lines).split())
    assert "warning: no filter for illegal or toxic prompts is set" in said
    assert "pool.jsonl: 3 of 5 rows stay in new/clean.jsonl, 2 went to new/clean.dropped.jsonl" in said


def test_the_document(arenaloop: Run) -> None:
    written("pool.jsonl", ROWS)
    done = arenaloop(
        "clean", "--prompts", "pool.jsonl", "--out", "clean.jsonl", "--lang", "any", "--ngram", "0", "--json"
    )
    document = json.loads(done.out)
    assert document["steps"] == [
        {"step": "min_len", "about": "shorter than 10 chars", "before": 5, "after": 4},
        {"step": "prefix", "about": "the same first 10 words", "before": 4, "after": 3},
    ]
    assert {key: document[key] for key in ("prompts", "out", "dropped", "read", "kept")} == {
        "prompts": "pool.jsonl", "out": "clean.jsonl", "dropped": "clean.dropped.jsonl", "read": 5, "kept": 3,
    }  # fmt: skip
    assert len(document["notes"]) == 2


def test_the_same_file_gives_the_same_bytes(arenaloop: Run) -> None:
    written("pool.jsonl", ROWS)
    written("test.jsonl", [{"prompt": "which three rivers are in Europe"}])
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        arenaloop("clean", "--prompts", "pool.jsonl", "--against", "test.jsonl", "--decontam-k", "1", "--out", name)
    assert Path("a.jsonl.gz").read_bytes() == Path("b.jsonl.gz").read_bytes()
    assert Path("a.dropped.jsonl").read_bytes() == Path("b.dropped.jsonl").read_bytes()
    kept = gzip.decompress(Path("a.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["mine"] for line in kept] == [1, 4]
    assert read("a.dropped.jsonl")[-1]["dropped"]["partner"] == {"file": "test.jsonl", "line": 1}


def test_what_went_stands_in_the_order_of_the_steps(arenaloop: Run) -> None:
    """With `nearest`, which must see all rows first, after steps that do not, and before one that does not."""
    german = "wie bleibt ein Fahrrad aufrecht, wenn niemand darauf sitzt?"
    written("pool.jsonl", [{"prompt": german}, *ROWS, {"prompt": "what?"}, {"prompt": "draw the strings of a violin"}])
    written("test.jsonl", [{"prompt": "which three rivers are in Europe"}, {"prompt": OTHER}])
    arguments = ["--against", "test.jsonl", "--decontam-k", "1", "--ngram", "0", "--out", "c.jsonl"]
    done = arenaloop("clean", "--prompts", "pool.jsonl", *arguments, "--json")
    gone = [(row["dropped"]["step"], row["dropped"]["line"]) for row in read("c.dropped.jsonl")]
    assert read("c.jsonl") == ROWS[:1]
    steps = [one["step"] for one in json.loads(done.out)["steps"]]
    assert steps == ["min_len", "prefix", "held_out", "overlap", "nearest", "lang"]
    assert gone == [
        ("min_len", 3),
        ("min_len", 7),
        ("prefix", 4),
        ("held_out", 5),
        ("nearest", 6),
        ("nearest", 8),
        ("lang", 1),
    ]


def test_a_dry_run_counts_and_writes_nothing(arenaloop: Run) -> None:
    written("pool.jsonl", ROWS)
    done = arenaloop("clean", "--prompts", "pool.jsonl", "--out", "clean.jsonl", "--dry-run")
    assert "3 of 5 rows would stay" in " ".join(done.lines)
    assert [path.name for path in Path().iterdir()] == ["pool.jsonl"]


def test_a_filter_of_the_users_own(arenaloop: Run) -> None:
    written("pool.jsonl", ROWS)
    Path("mine.py").write_text(
        "import re\n\n\ndef is_toxic(conversations):\n"
        "    return ['about violins' if 'violin' in talk[0]['content'] else False for talk in conversations]\n"
    )
    done = arenaloop(
        "clean", "--prompts", "pool.jsonl", "--out", "c.jsonl", "--toxic", "python:mine.py:is_toxic", "--json"
    )
    assert read("c.dropped.jsonl")[0]["dropped"]["why"] == "about violins"
    assert json.loads(done.out)["steps"][0]["about"] == "found so by python:mine.py:is_toxic"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("def f(talks): return [True]", "1 answers for 5 conversations"),
        ("def f(talks): return [0.3] * len(talks)", "gave 0.3, which is neither true or false nor a reason"),
        ("def f(talks): 1 / 0", "ZeroDivisionError"),
        ("g = 1", "has no function 'f'"),
    ],
)
def test_a_filter_that_fails_stops_it(arenaloop: Run, body: str, says: str) -> None:
    written("pool.jsonl", ROWS)
    Path("mine.py").write_text(body)
    done = arenaloop("clean", "--prompts", "pool.jsonl", "--out", "clean.jsonl", "--toxic", "python:mine.py:f")
    assert done.code == 2
    assert len(done.lines) == 1
    assert says in done.lines[0]
    assert not Path("clean.jsonl").exists()
    assert not Path("clean.dropped.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--against", "pool.jsonl"], "--against pool.jsonl: that is the pool itself"),
        (["--against", "./copy.jsonl"], "step held_out (asks or contains one of 5 test prompts) dropped the last 3"),
        (["--min-len", "500"], "step min_len (shorter than 500 chars) dropped the last 5"),
        (
            ["--against", "broken.jsonl"],
            "broken.jsonl, line 1: column choices: it belongs to what is asked",
        ),
        (["--against", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--lang", "eng"], "lang: no language 'eng'"),
        (["--toxic", "my.py"], "expected python:FILE.py:FUNCTION"),
        (["--min-len-unit", "token"], "tokenizer and min_len_unit token go together"),
        (["--embeddings", "x"], "embeddings 'x': expected tfidf"),
        (["--jaccard", "0"], "jaccard"),
    ],
)
def test_one_clear_line(arenaloop: Run, arguments: list[str], says: str) -> None:
    written("pool.jsonl", ROWS)
    written("copy.jsonl", [{"prompt": row.get("instruction", OTHER)} for row in ROWS])
    written("broken.jsonl", [{"question": "What?", "choices": ["a", "b"]}])
    more = ["--against", "copy.jsonl"] if "--embeddings" in arguments else []
    off = ["--decontam-k", "0"] if "./copy.jsonl" in arguments else []
    done = arenaloop("clean", "--prompts", "pool.jsonl", "--out", "clean.jsonl", *arguments, *more, *off)
    assert done.code == 2
    assert len(done.lines) == 1
    assert says in done.lines[0]
    assert sorted(path.name for path in Path().iterdir()) == ["broken.jsonl", "copy.jsonl", "pool.jsonl"]


@pytest.mark.parametrize("out", ["pool.jsonl", "folder", "test.jsonl"])
def test_nothing_that_is_read_is_written_over(arenaloop: Run, out: str) -> None:
    written("pool.jsonl", ROWS)
    written("test.jsonl", ROWS[:1])
    Path("folder").mkdir()
    done = arenaloop("clean", "--prompts", "pool.jsonl", "--against", "test.jsonl", "--out", out)
    assert done.code == 2
    assert done.lines[0].startswith(f"arenaloop: --out {out}: ")


def test_texts_that_no_library_takes(arenaloop: Run) -> None:
    odd = [
        "a lone \ud800 surrogate in a prompt of more than ten words, as it seems",
        "\x00 and \u202e, reordered",
        "😀" * 12,
    ]
    rows = [{"prompt": text} for text in odd]
    written("pool.jsonl", rows)
    written("test.jsonl", [{"prompt": "which \udfff prompts are odd, and why do they have more than eight words"}])
    done = arenaloop(
        "clean", "--prompts", "pool.jsonl", "--against", "test.jsonl", "--decontam-k", "1", "--out", "c.jsonl"
    )
    assert done.code == 0
    assert len(read("c.jsonl")) == 2
    assert all(row in rows for row in read("c.jsonl"))


def test_a_pool_of_one_prompt(arenaloop: Run) -> None:
    written("pool.jsonl", [{"prompt": ASKED}, {"prompt": f"{ASKED}!"}, {"prompt": ASKED.upper()}])
    done = arenaloop("clean", "--prompts", "pool.jsonl", "--out", "clean.jsonl")
    assert done.code == 0
    assert "warning: all 3 rows are the same when normalised; one stays" in " ".join(done.lines)
    assert read("clean.jsonl") == [{"prompt": ASKED}]
