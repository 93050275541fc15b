"""A message's text is read in every form that it comes in."""

from __future__ import annotations

import pytest

from arenaloop.messages import message_text


def test_text_parts_are_put_together():
    assert message_text([{"type": "text", "text": "a"}, "b"]) == "ab"
    with pytest.raises(ValueError, match="not a text"):
        message_text([])
