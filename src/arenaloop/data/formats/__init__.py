"""Reading the field's files: battles, judgments, annotations, leaderboards.

Every reader looks at the content, not at the file's name, and takes plain and gzipped text. What cannot be rated is
counted as skipped, never taken as a tie.
"""

from __future__ import annotations

from arenaloop.data.formats.annotations import read_annotations, read_difficulty
from arenaloop.data.formats.battles import battles_from_frame, read_battles
from arenaloop.data.formats.leaderboards import read_leaderboard

__all__ = ["battles_from_frame", "read_annotations", "read_battles", "read_difficulty", "read_leaderboard"]
