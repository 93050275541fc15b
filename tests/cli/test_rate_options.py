"""What the values of shared options mean."""

from __future__ import annotations

import pytest

from arenaloop.cli.rate_options import parse_anchor, parse_controls
from arenaloop.errors import ConfigError


def test_names_may_hold_an_equals_sign() -> None:
    assert parse_anchor("a=b=1100.5") == ("a=b", 1100.5)
    assert parse_anchor(None) is None
    for text in ("=5", "a=", "a=b"):
        with pytest.raises(ConfigError):
            parse_anchor(text)


def test_controls_are_names_with_or_without_numbers() -> None:
    assert parse_controls(["length", "lists=0.5:2"]) == (["length", "lists"], {"lists": (0.5, 2.0)})
    for texts in (["length=1"], ["length=x:1"], ["length=1:0"], ["length", "length"], ["=1:1"]):
        with pytest.raises(ConfigError):
            parse_controls(texts)


@pytest.mark.parametrize("text", ["length=nan:1", "length=inf:1", "length=1:inf", "length=1:nan"])
def test_frozen_controls_are_finite(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME=COEFFICIENT:SCALE"):
        parse_controls([text])


def test_a_part_of_style_does_not_stand_beside_it() -> None:
    with pytest.raises(ConfigError, match="length is a part of style"):
        parse_controls(["style", "length"])
