"""The card of a test set as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["render_test_set"]


def render_test_set(document: Mapping[str, Any]) -> bytes:
    """The page as UTF-8 HTML."""
    return b"<!DOCTYPE html>"
