"""Pools from SPECs: the shipped ones, a user's file, one judge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from arenaloop.errors import ConfigError
from arenaloop.judges.annotators import PairsJudge
from arenaloop.specs.annotators import pool, pool_names, pool_settings

SERVER = "http://127.0.0.1:9/v1#m"


def test_the_shipped_pool_has_the_published_shape() -> None:
    """METHODS B.2: thirteen members, their pairs in a call and tokens, temperature 1."""
    settings = pool_settings("alpaca_farm", SERVER)
    assert [member.batch for member in settings.members] == [4, 5, 5, 1, 5, 1, 1, 1, 1, 4, 1, 5, 1]
    tokens = [600, 250, 250, 20, 250, 50, 150, 20, 20, 200, 200, 200, 200]
    assert [member.sampling.max_tokens for member in settings.members] == tokens
    assert {(member.sampling.temperature, member.sampling.top_p) for member in settings.members} == {(1.0, 1.0)}
    assert Counter(member.template for member in settings.members) == {
        "annotator_reasoned": 3, "annotator_persona": 2, "annotator_guideline": 2, "annotator_examples": 2,
        "annotator_plain": 4,
    }  # fmt: skip
    built = pool(settings)
    assert len({member.fingerprint for member in built.members}) == 13
    assert all(isinstance(member, PairsJudge) for member in built.members)
    assert (built.p_label_flip, built.seat_mode, built.noise_model) == (0.25, "seeded", "uniform_flip")


def test_presets_set_what_is_not_given() -> None:
    built = pool(pool_settings("synthetic", None, {"preset": "p_eval"}))
    assert (len(built.members), built.p_label_flip, built.seat_mode) == (13, 0.0, "both_orders")
    built = pool(pool_settings("synthetic", None, {"preset": "p_eval", "p_label_flip": 0.1, "seat_mode": "compat"}))
    assert (built.p_label_flip, built.seat_mode) == (0.1, "compat")


def test_the_pools_model_is_that_of_members_without_one(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(f"spec: {SERVER}\nprice: {{input: 1, output: 2}}\n")
    (tmp_path / "pool.yaml").write_text(
        "p_label_flip: 0.2\nmembers:\n  - {name: one, batch: 2, template: annotator_plain}\n"
        "  - {name: two, spec: 'sandbox:judge', template: short}\n  - {name: three, spec: 'builtin:longest'}\n"
    )
    settings = pool_settings(str(tmp_path / "pool.yaml"), str(tmp_path / "model.yaml"))
    assert [member.spec for member in settings.members] == [SERVER, "sandbox:judge", "builtin:longest"]
    assert settings.members[0].price is not None
    assert settings.members[1].price is None
    assert [type(member).__name__ for member in pool(settings).members] == [
        "PairsJudge",
        "PairwiseJudge",
        "BuiltinJudge",
    ]


def test_one_judge_is_a_pool(tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text("spec: sandbox:judge\ntemplate: labels\n")
    for text in ("sandbox:judge", str(tmp_path / "judge.yaml")):
        assert len(pool(pool_settings(text)).members) == 1


@pytest.mark.parametrize(
    ("text", "model", "changed", "why"),
    [
        ("alpaca_farm", None, {}, "its members name no spec: give the pool a model"),
        ("alpaca", None, {}, "did you mean 'alpaca_farm'"),
        ("synthetic", SERVER, {}, "every member of the pool synthetic has a spec of its own"),
        ("synthetic", None, {"p_label_flip": 0.6}, "p_label_flip: Input should be less than or equal to 0.5"),
        ("synthetic", None, {"noise_model": "loud"}, "noise_model"),
    ],
)
def test_what_cannot_be_a_pool_is_refused(text, model, changed, why) -> None:
    with pytest.raises(ConfigError, match=why):
        pool_settings(text, model, changed)


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ("{spec: 'builtin:longest', batch: 2}", "batch goes with a model, not with builtin:"),
        ("{spec: 'sandbox:judge', batch: 2}", "is a template of layout pair, and this judge needs one of layout pairs"),
        (
            "{spec: 'sandbox:judge', batch: 2, template: annotator_plain, verdict: logprob}",
            "serve verdict text and json",
        ),
        ("{spec: 'synthetic:sandbox:gold', options: {noise: 0}}", "noise must be above 0"),
        ("{spec: 'synthetic:sandbox:gold', options: {nois: 1}}", r"no option 'nois' \(did you mean 'noise'"),
        ("{spec: 'synthetic:', name: x}", "expected synthetic:REWARD"),
    ],
)
def test_members_that_cannot_work_are_refused(tmp_path: Path, member: str, why: str) -> None:
    (tmp_path / "pool.yaml").write_text(f"members: [{member}]\n")
    with pytest.raises(ConfigError, match=why):
        pool(pool_settings(str(tmp_path / "pool.yaml")))


@pytest.mark.parametrize("text", ["members: []\n", "members: [{jury: ['sandbox:judge', 'builtin:first']}]\n"])
def test_pools_without_annotators_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pool.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"at least 1 item|a jury is no annotator"):
        pool_settings(str(tmp_path / "pool.yaml"))


def test_names_are_those_of_the_files() -> None:
    assert pool_names() == ["alpaca_farm", "synthetic"]
