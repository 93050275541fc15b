"""Style control: the normalised difference, and Arena-Hard's centred procedure."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.covariates import fit_controlled
from arenaloop.ratings.style import against_baseline, fit_style
from arenaloop.ratings.style_features import FEATURES, feature_names, is_style, style_differences

SKILL = np.array([0.0, 0.4, -0.3, 0.0])
"""of three models and the baseline"""


def baseline_world(prompts: int = 500, *, turned: bool = False) -> Battles:
    """Every model against one baseline, all wordier than it; length is worth 2 nats, headers 0.8."""
    rng = np.random.default_rng(0)
    base = np.exp(rng.normal(6, 0.5, prompts))
    a = np.repeat(np.arange(3), prompts)
    b = np.full(3 * prompts, 3)
    own = np.tile(base, 3) * np.exp(rng.normal(0.5, 0.4, 3 * prompts))
    length = (own - np.tile(base, 3)) / (own + np.tile(base, 3))
    headers = np.clip(rng.normal(0.2, 0.4, 3 * prompts), -1, 1)
    won = rng.random(3 * prompts) < 1 / (1 + np.exp(-(SKILL[a] + 2 * length + 0.8 * headers)))
    columns = {"length": length, "headers": headers, "lists": np.zeros(3 * prompts), "bold": np.zeros(3 * prompts)}
    if turned:  # every other battle with the baseline in the first column
        swap = np.arange(3 * prompts) % 2 == 0
        a, b, won = np.where(swap, b, a), np.where(swap, a, b), np.where(swap, ~won, won)
        columns = {name: np.where(swap, -x, x) for name, x in columns.items()}
    return Battles.of(
        ["m1", "m2", "m3", "base"], a, b, won.astype(float), cluster=np.tile(np.arange(prompts), 3), covariates=columns
    )


def beats_base(theta: np.ndarray, models: tuple[str, ...]) -> list[float]:
    by_name = dict(zip(models, theta, strict=True))
    return [float(1 / (1 + np.exp(by_name["base"] - by_name[name]))) for name in ("m1", "m2", "m3")]


def published(battles: Battles) -> tuple[np.ndarray, np.ndarray]:
    """Arena-Hard's fit, written anew: one column a model, the baseline at 0, centred and scaled features."""
    known = {name: i for i, name in enumerate(("m1", "m2", "m3"))}
    x = np.zeros((len(battles), 3))
    for row, code in enumerate(battles.a):
        x[row, known[battles.models[code]]] = 1.0
    z = np.stack([battles.covariates[name] for name in ("length", "headers")], axis=1)
    x = np.hstack([x, (z - z.mean(axis=0)) / z.std(axis=0, ddof=1)])
    w = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        w += np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (battles.score_a - p))
    return 1 / (1 + np.exp(-w[:3])), w[3:]


@pytest.mark.parametrize("turned", [False, True])
def test_arena_hard_is_the_published_centred_fit(turned: bool) -> None:
    rates, effects = published(baseline_world())
    found = fit_style(baseline_world(turned=turned), ["arena_hard"])
    assert beats_base(found.fit.theta, found.fit.models) == pytest.approx(rates, abs=1e-6)
    assert [found.coefficients[name].value for name in ("length", "headers")] == pytest.approx(effects, abs=1e-6)
    for name in ("length", "headers"):
        effect = found.coefficients[name]
        assert effect.lower is not None
        assert effect.upper is not None
        assert effect.lower < effect.value < effect.upper


def test_equal_style_and_mean_style_part_where_all_are_wordier_than_the_baseline() -> None:
    equal = fit_style(baseline_world(4000), ["style"])
    centred = fit_style(baseline_world(4000), ["arena_hard"])
    truth = 1 / (1 + np.exp(-SKILL[:3]))
    assert beats_base(equal.fit.theta, equal.fit.models) == pytest.approx(truth, abs=0.035)
    assert min(np.subtract(beats_base(centred.fit.theta, centred.fit.models), truth)) > 0.1


def test_golden_length_alone() -> None:
    """The three models of the ratings page: 50, 60 and 43 % at equal length."""
    rng = np.random.default_rng(0)
    n = 500
    base = np.exp(rng.normal(6, 0.5, n))
    x, y = [], []
    for skill in (0.0, 0.4, -0.3):
        own = base * np.exp(rng.normal(0.5, 0.4, n))
        f = (own - base) / (own + base)
        x.append(f)
        y.append(rng.random(n) < 1 / (1 + np.exp(-(skill + 2 * f))))
    none = np.zeros(3 * n)
    battles = Battles.of(
        ["m1", "m2", "m3", "base"], np.repeat(np.arange(3), n), np.full(3 * n, 3), np.concatenate(y).astype(float),
        cluster=np.tile(np.arange(n), 3),
        covariates={"length": np.concatenate(x), "headers": none, "lists": none, "bold": none},
    )  # fmt: skip
    equal, centred = fit_style(battles, ["style"]), fit_style(battles, ["arena_hard"])
    assert beats_base(equal.fit.theta, equal.fit.models) == pytest.approx([0.5004, 0.5955, 0.4071], abs=1e-3)
    assert beats_base(centred.fit.theta, centred.fit.models) == pytest.approx([0.6326, 0.7168, 0.5413], abs=1e-3)


def test_without_a_baseline_arena_hard_is_refused_and_frozen_effects_too() -> None:
    none = np.zeros(3)
    round_robin = Battles.of(
        list("abc"), [0, 1, 2], [1, 2, 0], [1.0, 0.0, 0.5], covariates=dict.fromkeys(FEATURES, none)
    )
    with pytest.raises(ValueError, match="no model is in every battle"):
        against_baseline(round_robin)
    with pytest.raises(ValueError, match="no frozen effects"):
        fit_style(baseline_world(), ["arena_hard"], frozen={"length": (0.3, 0.4)})


def test_style_is_control_by_its_features_and_may_be_frozen() -> None:
    battles = baseline_world()
    together = fit_style(battles, ["style"])
    apart = fit_controlled(battles, list(FEATURES))
    assert together.fit.theta == pytest.approx(apart.fit.theta)
    effect = together.coefficients["length"]
    frozen = fit_style(battles, ["style"], frozen={"length": (effect.value, effect.scale)})
    assert frozen.fit.theta == pytest.approx(together.fit.theta, abs=1e-6)
    assert frozen.coefficients["length"].frozen


def columns(**values: list[float]):
    return lambda name: np.array(values.get(name, [0.0] * 3))


def test_differences_by_hand() -> None:
    given = columns(length_a=[99, 0, 9], length_b=[49, 0, np.nan], headers_a=[3, 0, 1], headers_b=[1, 0, 1])
    found = style_differences("style", given)
    assert found["length"] == pytest.approx([50 / 149, 0.0, np.nan], nan_ok=True)
    assert found["headers"] == pytest.approx([2 / 5, 0.0, np.nan], nan_ok=True)  # one unknown number leaves all unknown
    found = style_differences("arena_hard", given)
    assert found["length"] == pytest.approx([50 / 148, 0.0, np.nan], nan_ok=True)
    # densities 3/100 and 1/50
    assert found["headers"] == pytest.approx([0.01 / 1.05, 0.0, np.nan], nan_ok=True)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1: column bold_b: -2, where no count is negative"):
        style_differences("style", columns(bold_b=[0, -2, 0]))
    with pytest.raises(ValueError, match="length is a part of style"):
        feature_names(["style", "length"])
    with pytest.raises(ValueError, match="control one of them"):
        feature_names(["style", "arena_hard"])
    assert feature_names(["style", "price"]) == [*FEATURES, "price"]
    assert is_style(["price", "arena_hard"])
    assert not is_style(["length"])
