"""What a plan of AlpacaFarm counts: a pool that decides the evaluation, and pairs of validation prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_farm import FARM, run, settings

from arenaloop.recipes.alpaca_farm_costs import estimate_costs
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm
from arenaloop.store import Store

MODEL = {"spec": "http://127.0.0.1:9/v1#m", "price": {"input": 1.0, "output": 2.0}}
SOME = {"FeedME": FARM["methods"]["FeedME"]}


def test_a_pool_that_decides_the_evaluation_is_priced_call_by_call(tmp_path: Path) -> None:
    paid = {"judge": {"spec": "annotators", "options": {"preset": "p_eval"}}, "annotators": {"model": MODEL}}
    recipe = build_alpaca_farm(settings(methods=SOME, **paid), tmp_path, dry=True)
    parts = {(part.stage, part.what): part for part in estimate_costs(recipe, tmp_path, None).parts}
    verdicts = parts["evaluation", "verdicts"]
    assert not verdicts.here
    assert verdicts.labels == 12  # of FeedME against SFT
    assert 0 < verdicts.calls <= 2 * 12  # both seats; some calls are about several pairs
    assert verdicts.tokens_in
    assert verdicts.tokens_out
    assert verdicts.usd == pytest.approx((verdicts.tokens_in + 2 * verdicts.tokens_out) / 1e6, rel=0.01)


def test_validation_pairs_are_sampled_and_labelled_and_a_pool_asked_as_planned(tmp_path: Path) -> None:
    data = FARM["data"] | {"validation": "sandbox:prompts?n=12&split=dev"}
    pool = {"pool": "sandbox:judge", "p_label_flip": 0.0, "seat_mode": "both_orders"}
    checked = settings(labels="simulated", judge="annotators", annotators=pool, methods=SOME, data=data)
    recipe = build_alpaca_farm(checked, tmp_path, dry=True)
    parts = {(part.stage, part.what): part for part in estimate_costs(recipe, tmp_path, None).parts}
    assert parts["pairs", "samples"].calls == (40 + 12) * checked.samples
    assert parts["pairs", "labels"].labels == (40 + 12) * (checked.samples // 2)
    assert parts["evaluation", "verdicts"].calls == 2 * 12
    run(tmp_path, checked)
    with Store(tmp_path / "arena.db", readonly=True) as store:
        left = estimate_costs(build_alpaca_farm(checked, tmp_path, dry=True), tmp_path, store)
    assert sum(part.calls for part in left.parts if part.what in ("samples", "answers", "labels", "verdicts")) == 0
