"""Annotators' noise and biases are recovered from their labels, within their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.annotator_fit import Estimate, LabelTable, _Model, fit_annotators, untold

PLANTED = np.array([1.6, 0.3, 0.25, 0.4])
"""Slope, seat, length and list of the annotators' mean."""
SPREAD = np.array([0.4, 0.25, 0.15, 0.2])


def table(seed: int, people: int = 5, labels: int = 400, *, each: int = 1, known: bool = True):
    """Labels of drawn annotators, with what was planted; `each` labels of a pair, whose worth is told where `known`."""
    rng = np.random.default_rng(seed)
    theta = PLANTED + SPREAD * rng.standard_normal((people, 4)) * (people > 1)
    pairs = labels // each
    pair = np.repeat(np.arange(pairs), each)
    who = np.concatenate([rng.choice(people, each, replace=False) for _ in range(pairs)])
    worth, doublings, lists = rng.standard_normal(pairs), 0.7 * rng.standard_normal(pairs), rng.integers(-1, 2, pairs)
    seat = rng.choice([-1.0, 1.0], len(pair))
    columns = np.column_stack([worth[pair], seat, doublings[pair], lists[pair]])
    eta = np.einsum("nd,nd->n", columns, theta[who])
    prefers = (rng.random(len(pair)) < 1 / (1 + np.exp(-eta))).astype(float)
    names = [f"a{n}" for n in range(people)]
    told = 3.0 * worth[pair] if known else None  # in other units
    return LabelTable(prefers, who, pair, seat, doublings[pair], lists[pair].astype(float), names, told), theta


def inside(found, value: float) -> bool:
    lower = -np.inf if found.lower is None else found.lower
    return lower <= value <= (np.inf if found.upper is None else found.upper)


def test_what_was_planted_lies_within_the_intervals() -> None:
    hits: dict[str, list[bool]] = {name: [] for name in ("noise", "seat", "length", "lists")}
    for seed in range(40):
        given, theta = table(seed)
        fit = fit_annotators(given)
        for name, found in fit.annotators.items():
            mine = theta[int(name[1:])]
            for what, value in zip(hits, (3.0 / mine[0], *mine[1:]), strict=True):
                hits[what].append(inside(found[what], value))
    assert {what: 0.9 < np.mean(of) < 0.995 for what, of in hits.items()} == dict.fromkeys(hits, True)


def test_pooled_values_are_those_of_the_many() -> None:
    for seed in range(5):
        given, _ = table(seed, people=13, labels=2600)
        pooled = fit_annotators(given).pooled
        assert inside(pooled["noise"], 3.0 / PLANTED[0])
        assert all(
            inside(pooled[what], value) for what, value in zip(("seat", "length", "lists"), PLANTED[1:], strict=True)
        )
        assert pooled["seat"].upper - pooled["seat"].lower < 0.6


def test_several_labels_of_a_pair_tell_of_noise_where_nobody_says_what_is_better() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    hits = []
    for seed in range(10):
        given, theta = table(seed, people=4, labels=900, each=3, known=False)
        fit = fit_annotators(given)
        assert "noise" not in fit.pooled
        for name, found in fit.annotators.items():
            slope = theta[int(name[1:]), 0]
            rate = float(np.sum(weights / weights.sum() / (1 + np.exp(slope * np.abs(nodes)))))
            hits.append(inside(found["flip_rate"], rate))
    assert np.mean(hits) > 0.85


def test_one_annotator_is_a_logistic_regression() -> None:
    given, _ = table(3, people=1, labels=300)
    columns = np.column_stack(
        [given.worth / np.sqrt(np.mean(given.worth**2)), given.seat, given.doublings, given.lists]
    )

    best = np.zeros(4)
    for _ in range(30):  # iteratively reweighted least squares, the weak prior as rows of their own
        p = 1 / (1 + np.exp(-columns @ best))
        root = np.sqrt(p * (1 - p))
        wanted = root * (columns @ best) + (given.prefers_first - p) / root
        best = np.linalg.lstsq(np.vstack([root[:, None] * columns, np.eye(4) / 10]), np.append(wanted, np.zeros(4)))[0]
    found = fit_annotators(given).pooled
    assert [found[what].value for what in ("seat", "length", "lists")] == pytest.approx(best[1:], abs=1e-4)
    assert found["noise"].value == pytest.approx(np.sqrt(np.mean(given.worth**2)) / best[0], rel=1e-4)


@pytest.mark.parametrize("known", [True, False])
def test_gradient_and_information_are_those_of_the_likelihood(known: bool) -> None:
    given, theta = table(1, people=3, labels=60, each=3, known=known)
    quality = given.worth if known else np.ones(len(given.pair))
    columns = {"slope": quality, "seat": given.seat, "length": given.doublings, "lists": given.lists}
    model = _Model(given, columns, latent=not known)
    _, gradient, information = model(theta)
    for at in range(theta.size):
        step = np.zeros(theta.size)
        step[at] = 1e-5
        up, down = (model(theta + sign * step.reshape(theta.shape)) for sign in (1, -1))
        assert gradient[at] == pytest.approx((up[0] - down[0]) / 2e-5, abs=1e-4)
        assert information[at] == pytest.approx(-(up[1] - down[1]) / 2e-5, abs=1e-3)


def test_few_labels_or_one_value_are_refused() -> None:
    given, _ = table(0, people=1, labels=19)
    with pytest.raises(ValueError, match="19 labels that prefer an output, fewer than 20, so neither noise nor a bias"):
        fit_annotators(given)
    given, _ = table(0, people=1, labels=50)
    same = LabelTable(
        np.ones(50), given.annotator, given.pair, given.seat, given.doublings, given.lists, given.names, given.worth
    )
    with pytest.raises(ValueError, match="all 50 labels prefer the first output, so neither noise"):
        fit_annotators(same)


def test_what_the_labels_do_not_tell_is_named() -> None:
    given, _ = table(0, labels=200)
    nothing = np.zeros(200)
    blind = LabelTable(given.prefers_first, given.annotator, given.pair, given.seat, nothing, nothing, given.names)
    fit = fit_annotators(blind)
    assert set(fit.pooled) == {"seat"}
    assert set(fit.missing) == {"noise", "length", "lists"}
    assert fit.missing["noise"].startswith("0 pairs have two labels or more")


def test_an_annotator_who_always_agrees_has_a_finite_estimate_and_one_who_guesses_an_open_end() -> None:
    rng = np.random.default_rng(0)
    worth, n = rng.standard_normal(120), 120
    who = np.repeat([0, 1], 60)
    prefers = np.where(who == 0, worth > 0, rng.random(n) < 0.5).astype(float)
    given = LabelTable(
        prefers, who, np.arange(n), rng.choice([-1.0, 1.0], n), np.zeros(n), np.zeros(n), ["sharp", "dice"], worth
    )
    fit = fit_annotators(given)
    assert fit.annotators["sharp"]["noise"].value < 0.5
    assert fit.annotators["sharp"]["flip_rate"].upper < 0.2
    assert fit.annotators["dice"]["noise"].upper is None
    assert inside(fit.annotators["dice"]["flip_rate"], 0.5)


def test_an_interval_wider_than_half_of_its_range_tells_nothing() -> None:
    sure = {
        "noise": Estimate(None, 0.5, None),
        "flip_rate": Estimate(0.5, 0.4, 0.6),
        "length": Estimate(20.0, 9.0, 31.0),
    }
    assert untold(sure) == []
    unsure = {
        "flip_rate": Estimate(0.4, 0.2, 0.6),
        "seat": Estimate(0.0, -1.2, 1.2),
        "lists": Estimate(np.nan, 0.0, 1.0),
    }
    assert untold(unsure) == ["flip_rate", "seat", "lists"]
    assert untold({"flip_rate": Estimate(0.5, np.nan, np.nan)}) == ["flip_rate"]
