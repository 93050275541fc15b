"""The tests of this folder share `arena_rows`, which is no test itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the arena file goes."""
    return tmp_path / "arena.db"
