"""Every format by its name, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping

from arenaloop.data.export.axolotl import AXOLOTL
from arenaloop.data.export.llama_factory import LLAMA_FACTORY
from arenaloop.data.export.nemo_rl import NEMO_RL
from arenaloop.data.export.openrlhf import OPENRLHF
from arenaloop.data.export.rows import Format
from arenaloop.data.export.trl import TRL
from arenaloop.data.export.verl import VERL

__all__ = ["BATTLE_FORMATS", "BOARD_FORMATS", "FORMATS", "NAMES", "PARTS"]

FORMATS: Mapping[str, Format] = {
    "trl": TRL,
    "llama-factory": LLAMA_FACTORY,
    "axolotl": AXOLOTL,
    "openrlhf": OPENRLHF,
    "verl": VERL,
    "nemo-rl": NEMO_RL,
}
"""Training rows for trainers."""

BATTLE_FORMATS = ("alpaca-eval", "arena-hard", "arena-hard-v0.1", "chatbot-arena")
"""Battles of a run with their texts."""

PARTS = "parquet"
"""Battles of a run without their texts, in parts."""

BOARD_FORMATS = ("csv", "markdown")
"""The leaderboard."""

NAMES = (*FORMATS, *BATTLE_FORMATS, PARTS, *BOARD_FORMATS)
