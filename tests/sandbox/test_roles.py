from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from arenaloop.config import JudgeSettings
from arenaloop.errors import ConfigError
from arenaloop.judges.meta import MetaJudge
from arenaloop.judges.parsers import parser_for
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.judges.templates import load_template
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox import roles
from arenaloop.sandbox.players import habit, slip
from arenaloop.sandbox.tasks import draw, parse, utility
from arenaloop.specs.data import load_demonstrations
from arenaloop.specs.judges import pointwise, template_file
from arenaloop.types import Completion, Prompt, Response, Sampling

PROMPT, ANSWER = Prompt.of("initials: ga bo yu"), "gbd"


def answered(text: str) -> Completion:
    return Completion(text, finish_reason="stop")


# ---------------------------------------------------------------------- scores


def test_scores_follow_the_utility_and_only_the_top_answer_gets_five() -> None:
    rng = random.Random(0)
    seen = set()
    for task in draw(400, seed=3):
        prompt = task.prompt.last_user
        answers = [task.answer, habit(task), *(slip(task, rng) for _ in range(4)), "zzz", ""]
        scored = sorted((utility(prompt, answer) or 0.0, roles.score(prompt, answer) or 0) for answer in answers)
        points = [score for _, score in scored]
        assert points == sorted(points)
        assert [score == 5 for _, score in scored] == [worth == 1.0 for worth, _ in scored]
        seen |= set(points)
    assert seen == {0, 1, 2, 3, 4, 5}  # answers are good and bad by degrees
    assert roles.score("What is the weather?", "fine") is None


# ---------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("own", "answer", "words"),
    [
        ("gby", "gbd", "gg=bb=yd!"),
        ("gby", "gby", "gg=bb=yy="),
        ("gby", "gb", "gg=bb=y.!"),
        ("gby", "gbyxxxx", "gg=bb=yy=.x!.x!"),  # two letters beyond the end are enough to see
        ("ab c", "abc", "aa=bb= c!c.!"),
        ("a", "", "a.!"),
    ],
)
def test_a_judgement_pairs_letters(own: str, answer: str, words: str) -> None:
    text = roles.judgement(own, answer, 4)
    assert text == f"{words}\nScore: 4"
    assert parser_for("score").read(answered(text)) == 4.0


def test_a_verdict_says_how_far_each_score_is_off() -> None:
    both = [roles.judgement("gby", "gbd", 2), roles.judgement("gbd", "gbd", 5)]
    text = roles.verdict("gby", "gbd", 2, both, "A")
    assert text == "gg=bb=yd!\n2 2:0 5:3\nWinner: A"
    assert parser_for("winner").read(answered(text)).first == 1.0


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("Score: 2", "Score: 5", "A"),
        ("Score: 0", "Score: 3", "B"),
        ("Score: 1", "Score: 3", None),  # both are one point off
        ("gg=\nScore: 2", "no words\nScore: 2", None),
        ("Score: 5", "I would rather not say", "A"),
        ("nothing", "Score: 9", None),  # neither has a score from 0 to 5
    ],
)
def test_the_better_judgement_is_nearer_to_the_truth(first: str, second: str, winner: str | None) -> None:
    prompt = PROMPT.last_user
    assert roles.score(prompt, ANSWER) == 2
    assert roles.better(prompt, ANSWER, first, second) == winner
    assert roles.better(prompt, ANSWER, second, first) == {"A": "B", "B": "A", None: None}[winner]


def test_misjudgements_are_readable_and_usually_wrong() -> None:
    rng, wrong = random.Random(1), 0
    for task in draw(300, seed=4):
        answer = slip(task, rng)
        score = parser_for("score").read(answered(roles.misjudgement(task, answer, rng)))
        assert score is not None
        wrong += score != roles.score(task.prompt.last_user, answer)
    assert wrong > 200


# ---------------------------------------------------------------------- rows


def test_evaluations_are_what_the_rubric_judge_asks_and_the_truth() -> None:
    rows = list(roles.evaluations(200, seed=0))
    judge = RubricJudge(ScriptedModel("m", lambda _: ""), load_template(roles.TEMPLATES["score"], layout="answer"))
    counts: Counter[float] = Counter()
    for asked, said in rows:
        _, prompt, _, answer, _, closing = asked.last_user.split("\n")
        assert closing == "Score"
        shown = Response(Prompt.of(prompt).id, "", (answer,))
        request = judge.request(Prompt.of(prompt), shown, secret="0", seed=0)
        assert request.messages[0]["content"] == asked.last_user
        score = parser_for("score").read(answered(said))
        assert score == roles.score(prompt, answer)
        assert score is not None
        counts[score] += 1
        task = parse(prompt)
        assert task is not None
        assert said == roles.judgement(task.answer, answer, int(score))
    assert max(counts.values()) < 110  # no score is most of them
    assert list(roles.evaluations(50, seed=0)) == rows[:50]


def test_some_evaluations_are_wrong_where_that_is_asked_for() -> None:
    def wrong(share: float) -> int:
        return sum(a != b for a, b in zip(roles.evaluations(300, 0), roles.evaluations(300, 0, share), strict=True))

    assert wrong(0.0) == 0
    assert 70 < wrong(0.3) < 110


def test_comparisons_are_what_the_meta_judge_asks_and_the_truth() -> None:
    judge = MetaJudge(ScriptedModel("m", lambda _: ""), load_template(roles.TEMPLATES["winner"], layout="judgements"))
    winners: Counter[str] = Counter()
    for asked, said in roles.comparisons(200, seed=0):
        _, prompt, _, answer, _, a, score_a, _, b, score_b, _, closing = asked.last_user.split("\n")
        assert closing == "Winner"
        both = [f"{a}\n{score_a}", f"{b}\n{score_b}"]
        first, second = (Response("", "", (text,)) for text in both)
        shown = Response(Prompt.of(prompt).id, "", (answer,))
        request = judge.request(Prompt.of(prompt), shown, first, second, secret="0", seed=0)
        assert request.messages[0]["content"] == asked.last_user
        winner = said[-1]
        assert winner == roles.better(prompt, answer, *both)
        assert parser_for("winner").read(answered(said)).first == (1.0 if winner == "A" else 0.0)
        winners[winner] += 1
    assert min(winners.values()) > 75


def test_rows_keep_clear_of_a_run_of_the_same_seed() -> None:
    judged = {asked.last_user.split("\n")[1] for asked, _ in roles.evaluations(1000, seed=0)}
    drawn = {task.prompt.last_user for task in draw(1000, seed=0)}
    assert len(judged & drawn) < 30


# ---------------------------------------------------------------------- sources


def test_sources_by_spec() -> None:
    rows = load_demonstrations("sandbox:evaluations?n=5&wrong=0.5", 1)
    assert len(rows) == 5
    assert rows[0]["messages"][-1]["content"].splitlines()[-1].startswith("Score: ")
    rows = load_demonstrations("sandbox:comparisons?n=5&seed=2", 1)
    assert rows == load_demonstrations("sandbox:comparisons?n=5", 2)
    assert rows[0]["messages"][-1]["content"].splitlines()[-1].startswith("Winner: ")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("sandbox:comparisons?wrong=0.1", "unknown option 'wrong'"),
        ("sandbox:evaluations?wrong=2", "a share from 0 to 1"),
        ("sandbox:evaluations?world=notes", "only the world of words"),
        ("sandbox:evaluation?n=5", "did you mean 'evaluations'"),
    ],
)
def test_sources_that_cannot_be(spec: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_demonstrations(spec, 0)


def test_a_judge_takes_the_template_by_its_name() -> None:
    judge = pointwise(JudgeSettings(spec="sandbox:judge", template="sandbox:score"))
    assert judge.template.hash == load_template(roles.TEMPLATES["score"], layout="answer").hash
    assert template_file("rubric") == "rubric"
    with pytest.raises(ConfigError, match="did you mean 'winner'"):
        template_file("sandbox:winer")


# ---------------------------------------------------------------------- the target


def test_a_code_is_one_token_of_the_target() -> None:
    pytest.importorskip("transformers")
    from arenaloop.sandbox.target import build_tokenizer

    tokenizer = build_tokenizer(marks=True)
    asked = next(roles.evaluations(1, seed=0))[0].last_user
    code, prompt, _, answer, *_ = asked.split("\n")
    assert len(code) == 16
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(asked)["input_ids"])
    family, argument = prompt.split(": ")
    unknown = tokenizer.unk_token
    assert tokens == [unknown, f"{family}: ", *argument, unknown, *answer, unknown, *"Score"]
    assert tokenizer.tokenize("abc 0123456789abcde") == [*"abc 0123456789abcde"]  # one digit less is a text


@pytest.mark.parametrize("name", ["self_rewarding", "meta_rewarding"])
def test_the_demos_start_from_one_model_and_judge_by_the_worlds_templates(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from arenaloop.config import MetaRewardingSettings, SelfRewardingSettings
    from arenaloop.specs.recipes import demo_settings
    from arenaloop.specs.recipes.self_rewarding import build_self_rewarding
    from arenaloop.train.methods import METHODS

    settings = demo_settings(name, "data.prompts=sandbox:prompts?n=40&split=train", "prompts_per_iteration=10")
    assert isinstance(settings, SelfRewardingSettings | MetaRewardingSettings)
    recipe = build_self_rewarding(settings, tmp_path / "run", dry=True)
    first = demo_settings("self_rewarding")
    assert isinstance(first, SelfRewardingSettings)
    assert settings.sft.method() == first.sft.method()
    assert (settings.data.demonstrations, settings.data.judgements) == (
        first.data.demonstrations,
        first.data.judgements,
    )
    rows = [*recipe.demonstrations, *recipe.judgements]
    assert len(rows) == 15_500
    assert METHODS["sft"].read_from(rows[-1])["messages"][-1]["content"][:-1].endswith("Winner: ")


@pytest.mark.long
@pytest.mark.slow
def test_the_target_learns_to_judge(tmp_path: Path) -> None:
    """Two hundred steps on one family's judgements: its scores of held-out answers follow the truth."""
    pytest.importorskip("torch")
    from arenaloop.config import SFTSettings
    from arenaloop.models.local import LocalModel
    from arenaloop.ratings.agreement import spearman
    from arenaloop.sandbox.target import build_target
    from arenaloop.train.methods import training

    rows = [
        row
        for row in load_demonstrations("sandbox:evaluations?n=30000", 0)
        if "\ninitials: " in row["messages"][0]["content"]
    ]
    settings = SFTSettings(
        max_steps=220,
        batch_size=32,
        max_length=128,
        micro_tokens=2048,
        optimizer="muon",
        learning_rate=0.01,
        adam_beta2=0.98,
        schedule="linear",
        warmup_steps=10,
        threads=1,
        checkpoint_every=0,
    )
    start = build_target(tmp_path / "start", seed=0, marks=True)
    training("sft", start, rows, tmp_path / "judge", settings, seed=0)
    rng = random.Random(0)
    tasks = draw(120, seed=0, split="dev", weights={"initials": 1.0})
    answers = [rng.choice((task.answer, habit(task), slip(task, rng))) for task in tasks]
    model = LocalModel(tmp_path / "judge", chunk_size=120)
    judge = RubricJudge(
        model,
        load_template(roles.TEMPLATES["score"], layout="answer"),
        sampling=Sampling(max_tokens=48),
    )
    shown = [Response(task.prompt.id, "", (answer,)) for task, answer in zip(tasks, answers, strict=True)]
    asked = [judge.request(task.prompt, one, secret="", seed=0) for task, one in zip(tasks, shown, strict=True)]
    said = model.generate(asked)
    judgements = [judge.read(task.prompt, one, text) for task, one, text in zip(tasks, shown, said, strict=True)]
    assert sum(one.score is not None for one in judgements) >= 110
    scores = [0.0 if one.score is None else one.score for one in judgements]
    truth = [utility(task.prompt.last_user, answer) for task, answer in zip(tasks, answers, strict=True)]
    found = spearman(scores, truth)
    assert found is not None
    assert found > 0.5
