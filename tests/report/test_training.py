"""The page of a training: its curves, what was measured, and the answers, whatever stands in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from parsed_page import EVERYTHING, HOSTILE, assert_only_ours, read

from arenaloop.errors import InputError
from arenaloop.report import training, write_report
from arenaloop.report.rendering import MAX_BYTES
from arenaloop.store import Store

KINDS = r"(cut)?( ?unscored)?"
RESULT = {"steps": 40, "rows_used": 8, "dropped": {"repeated": 2}, "explained": {}, "seconds": 130.0, "report": {}}


def line(iteration: int, **more: float) -> dict[str, float]:
    return {
        "step": iteration * 2, "iteration": float(iteration), "loss": 1 / iteration, "objective/scores": iteration / 20,
        "objective/kl": 0.1 * iteration, "objective/kl_coef": 0.05, "policy/entropy": 2.0 - iteration / 20,
        "completions/clipped_ratio": 0.25, "completions/distinct": 1.0, "completions/mean_length": 9.0 + iteration,
        "seconds/sampling": 0.1, "seconds/scoring": 0.2, "skipped_steps": 0, **more,
    }  # fmt: skip


def answers(iteration: int, prompts: int = 8, samples: int = 2, text: str = "an answer") -> list[dict[str, Any]]:
    return [
        {
            "prompt": [{"role": "user", "content": f"question {p} of {iteration}"}],
            "text": f"{text} {p}.{n} of {iteration}",
            "tokens": 5 + n,
            "ended": n == 0,
            "score": p + n / 10 if p else None,
            "kl": 0.5 * p,
        }
        for p in range(prompts)
        for n in range(samples)
    ]


def trained(out: Path, record: Any, metrics: list[Any], rollouts: dict[int, list[dict[str, Any]]]) -> Path:
    (out / "rollouts").mkdir(parents=True)
    (out / "training.json").write_text(json.dumps(record))
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    for at, rows in rollouts.items():
        with gzip.open(out / "rollouts" / f"{at:06d}.jsonl.gz", "wt", encoding="utf-8", errors="surrogatepass") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return out


@pytest.fixture
def ppo(tmp_path: Path) -> Path:
    record = {"key": "k", "method": "ppo", "start": "models/start", "rows": 10, "seed": 3, "settings": {"clip": 0.2}}
    metrics = [line(n, **{"val/explained": n / 40}) for n in range(1, 21)]
    return trained(tmp_path / "ppo", record | {"result": RESULT}, metrics, {n: answers(n) for n in range(20)})


def test_a_training_on_own_answers_shows_curves_and_answers(ppo: Path) -> None:
    with Store(ppo / "arena.db"):
        pass
    page = read(ppo)
    assert_only_ours(page, KINDS, script="script.js")
    assert [attrs["id"] for tag, attrs in page.elements if tag == "section"] == ["curves", "browser", "settings"]
    text = page.text
    assert "Training: ppo" in text
    assert "The mean score rose from 0.05 to 1, 2 nats an answer from the start." in text
    assert all(words in text for words in ("2 min 10 s", "of 10", "repeated", "models/start", "clip: 0.2"))
    assert "Calls of the judge" in text
    for title in (
        "Score of the answers", "KL divergence from the start", "Entropy", "Length", "Shares of the answers",
        "Returns that the value network accounts for", "Loss",
    ):  # fmt: skip
        assert title in text
    figures = page.inside_of("figcaption")
    assert figures.index("Loss") < figures.index("Weight of the KL penalty")  # which stays as it is, so among the rest
    cards = [attrs for tag, attrs in page.elements if tag == "details" and "battle" in str(attrs.get("class"))]
    # twelve of twenty roll-outs, the last first, and the first among them
    numbers = list(dict.fromkeys(int(str(card["data-models"])) for card in cards))
    assert len(numbers) == 12
    assert (numbers[0], numbers[-1]) == (20, 1)
    assert numbers == sorted(numbers, reverse=True)
    assert len(cards) == 12 * 8
    assert "96 prompts with 192 answers, from 12 of 20 roll-outs" in text
    # a prompt's answers side by side, the best first; the first prompt has no score
    assert (cards[1]["data-score"], cards[1]["data-kl"], cards[1]["data-kind"]) == ("1.05", "0.5", "cut")
    assert (cards[0]["data-score"], cards[0]["data-kind"]) == ("", "cut unscored")
    assert text.index("an answer 7.1 of 19") < text.index("an answer 7.0 of 19")
    assert "score 7.1 · KL 3.5 · 6 tokens" in text
    assert "no score · KL 0 · 5 tokens" in text


def test_of_many_answers_the_ends_and_a_random_rest_are_shown(tmp_path: Path) -> None:
    out = trained(tmp_path / "out", {"key": "k"}, [line(n) for n in range(1, 501)], {0: answers(0, 600, 20)})
    page = read(out)
    assert_only_ours(page, KINDS, script="script.js")
    cards = [attrs for tag, attrs in page.elements if tag == "details" and "battle" in str(attrs.get("class"))]
    scores = {float(str(card["data-score"])) for card in cards if card["data-score"]}
    assert len(cards) == 360
    assert {round(p + 0.95, 2) for p in (*range(1, 110), *range(490, 600))} <= {round(score, 2) for score in scores}
    assert "Of the 600 prompts of these" in page.text
    assert "4 more answers, with lower scores, are not shown." in page.text
    assert "Of so many, a point is the mean of its neighbours" in page.text
    assert sum(tag == "circle" for tag, _ in page.elements) < 20 * 160
    assert "This training has not finished. It has come to step 1,000." in page.text


def test_a_reward_models_measures_and_calibration(tmp_path: Path) -> None:
    report = {
        "pairs": [120.0], "accuracy": [0.9, 0.85, 0.94], "length_correlation": [None],
        "right_at_0.550": [0.5, 0.4, 0.6], "right_at_0.950": [0.99, 0.9, 1.0],
    }  # fmt: skip
    metrics = [{"step": n, "loss": 1 / n, "accuracy": 0.5, "gap": 0.1 * n} for n in range(1, 9)]
    record = {"key": "k", "method": "reward_model", "result": RESULT | {"report": report}}
    page = read(trained(tmp_path / "rm", record, metrics, {}))
    assert_only_ours(page, KINDS, forms=0, script="script.js")
    assert [attrs["id"] for tag, attrs in page.elements if tag == "section"] == ["curves", "measured", "settings"]
    assert "The loss fell from 1 to 0.125." in page.text
    assert "Pairs ranked right, by the probability that the scores claim, in per cent" in page.text
    assert "right at" not in page.text
    assert all(figure in page.text for figure in ("0.85", "0.94", "length correlation"))


def test_texts_of_models_are_shown_and_do_nothing(tmp_path: Path) -> None:
    rows = answers(0, 4, 2)
    for row, words in zip(rows, HOSTILE, strict=True):
        row["text"] = words
        row["prompt"] = [{"role": EVERYTHING, "content": EVERYTHING}]
        row[EVERYTHING] = 1.0
    record = {
        "key": "k", "method": EVERYTHING, "start": EVERYTHING, "settings": {EVERYTHING: EVERYTHING},
        "result": RESULT | {"dropped": {EVERYTHING: 3}, "explained": {EVERYTHING: EVERYTHING},
                            "report": {EVERYTHING: [1.0], f"right_at_{EVERYTHING}": [1.0]}},
    }  # fmt: skip
    page = read(trained(tmp_path / "out", record, [line(1, **{EVERYTHING: 1.0}), line(2)], {0: rows}))
    assert_only_ours(page, KINDS, script="script.js")
    assert "<script>alert(1)</script>" in page.text
    assert "⟨U+202E⟩" in page.text


@pytest.mark.parametrize("record", [{}, {"result": 3}, {"result": {"report": [1], "dropped": 7}, "settings": "x"}])
def test_whatever_stands_in_its_files(tmp_path: Path, record: Any) -> None:
    metrics = [3, {"step": "x", "loss": None, "objective/scores": [1]}, {"step": 1, "loss": 0.5}]
    rows: list[Any] = [
        {"text": 3},
        {"prompt": "words", "text": None, "score": "high", "tokens": True},
        {"prompt": [1, {}]},
    ]
    out = trained(tmp_path / "out", record, metrics, {0: rows})
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    (out / "rollouts" / "000001.jsonl.gz").write_bytes(b"\x1f\x8bcut")
    page = read(out)
    assert_only_ours(page, KINDS, script="script.js")
    assert "1 roll-outs could not be read" in page.text


@pytest.mark.long
def test_endless_texts_are_cut_with_a_mark(tmp_path: Path) -> None:
    out = trained(tmp_path / "out", {}, [], {0: answers(0, 360, 2, text="&" * 20_000)})
    path = write_report(out)
    assert path.stat().st_size <= MAX_BYTES
    assert "characters left out" in path.read_text(encoding="utf-8")


def test_what_is_no_training(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("[1")
    assert training.is_training(tmp_path)
    with pytest.raises(InputError, match=r"training\.json: not a JSON document"):
        write_report(tmp_path)
    (tmp_path / "training.json").write_text("[1]")
    with pytest.raises(InputError, match="expected a JSON object"):
        write_report(tmp_path)
    (tmp_path / "battles.jsonl").write_text("")
    assert not training.is_training(tmp_path)


def test_a_directory_of_trainings_names_them(ppo: Path) -> None:
    with pytest.raises(InputError, match=r"holds trainings, each with a report of its own: arenaloop report .*ppo$"):
        write_report(ppo.parent)
