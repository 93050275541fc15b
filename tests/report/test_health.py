from __future__ import annotations

import pytest

from arenaloop.report.documents import read_documents
from arenaloop.report.health import _bins, benches, failures, judge_health, scores
from arenaloop.report.scope import Scope, template_labels, verdict_scope
from arenaloop.report.shown_battles import read_picks
from arenaloop.store import Store


@pytest.fixture
def gathered(battle_run):
    documents = read_documents(battle_run)
    picks = read_picks(battle_run / "battles.jsonl", wanted=300, kind_share=75, ask=set())
    with Store(battle_run / "arena.db", readonly=True) as store:
        yield documents, picks, store


def scope_of(picks, store) -> Scope:
    return verdict_scope(store, store.verdicts([k for p in picks.chosen for k in p.battle.verdicts]).values())


def test_rates_of_the_judge(gathered) -> None:
    # 40 prompts, 3 pairs, 2 seats. Prompts 3 (unreadable) and 4 (refused) lose 6 verdicts each; on prompt 5 one of the
    # three models has no answer, which leaves 2 verdicts; on prompt 7 the first seat always wins.
    documents, picks, store = gathered
    found = {m.name: m for m in judge_health(documents, store, picks, scope_of(picks, store))}
    assert found["Flip rate"].share == 3 / 112
    assert found["Flip rate"].state == "good"
    assert found["First-seat win rate"].share == (109 + 6) / 224
    assert found["Unparsed"].share == found["Refused"].share == 6 / 236
    assert found["Unparsed"].state == found["Refused"].state == "look"
    assert found["Unparsed"].of == "6 of 236"
    for name in ("Truncated", "Empty", "Error"):
        assert (found[name].share, found[name].state) == (0.0, "good")
    assert found["Asked more than once"].share == 6 / 236  # refusals are not asked again
    assert found["Ties"].share == 3 / 114  # the two battles that the echo lost without a verdict are rated, too
    assert found["Identical answers"].share == 0.0


def test_scores_by_seat(gathered) -> None:
    [found] = scores(gathered[2], scope_of(gathered[1], gathered[2]))
    assert found.judge == "referee"
    assert found.count == 224
    counts = {bar.label: bar.counts for bar in found.histogram.bars if any(bar.counts)}
    assert counts == {"2": (0, 6), "4": (72, 72), "5": (73, 73), "6": (73, 73), "9": (6, 0)}
    assert found.mean_first == pytest.approx((72 * 4 + 73 * 5 + 73 * 6 + 6 * 9) / 224)
    assert found.mean_second == pytest.approx((72 * 4 + 73 * 5 + 73 * 6 + 6 * 2) / 224)


def test_the_judge_is_named_with_its_template_and_parser(gathered) -> None:
    documents, picks, store = gathered
    scope = scope_of(picks, store)
    assert len(scope.hashes) == 1
    assert scope.others == 0
    [one] = benches(store, scope, template_labels(documents.config))
    assert (one.name, one.template, one.parser) == ("referee", "pairwise", "scores:1")
    assert (one.verdicts, one.failed, one.again) == (248, 24, 12)
    assert one.first == pytest.approx((109 + 6) / 224)
    assert one.ties == 0.0
    why = {(f.status, f.reason): f.calls for f in failures(store, scope)}
    assert why == {("unparsed", ""): 18, ("refused", "policy"): 6}


def test_other_settings_stay_out(gathered) -> None:
    _, picks, store = gathered
    scope = scope_of(picks, store)
    nobody = Scope(("another judge",))
    assert scores(store, nobody) == []
    assert benches(store, nobody, {}) == failures(store, nobody) == []
    whole = Scope(())  # rows of an older version, which do not tell whose they are
    assert scores(store, whole) == scores(store, scope)


@pytest.mark.parametrize(
    ("values", "first", "last", "bins"),
    [
        ([1.0, 10.0, 5.0], "1", "10", 10),
        ([1.0, 7.5], "1", "10", 19),
        ([1.9, 7.3], "1", "10", 19),
        ([0.0, 0.25, 1.0], "0", "1", 5),  # the shares of five labels
        ([0.013, 0.98], "0", "0.95", 20),  # probabilities
        ([-3.0, 17.0], "-3", "16", 20),  # rewards
        ([12.0, 12.0], "12", "31", 20),
    ],
)
def test_histograms_have_the_scale_of_their_scores(values: list[float], first: str, last: str, bins: int) -> None:
    low, width, names = _bins(values)
    assert (names[0], names[-1], len(names)) == (first, last, bins)
    assert low <= min(values)
    assert max(values) <= low + width * bins + 1e-9
