"""The tests of this folder share the scripts of the arena's, and where the arena file goes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "arena"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the arena file goes."""
    return tmp_path / "arena.db"
