"""The arena file: everything that was paid for, in one append-only SQLite database. No SQL stands outside this room."""

from arenaloop.store.reads import AskedTurn, Turn, Usage
from arenaloop.store.rows import TurnRow, recorded_key, response_key, response_keys, whole_response
from arenaloop.store.schema import SCHEMA_VERSION
from arenaloop.store.store import Store

__all__ = [
    "SCHEMA_VERSION",
    "AskedTurn",
    "Store",
    "Turn",
    "TurnRow",
    "Usage",
    "recorded_key",
    "response_key",
    "response_keys",
    "whole_response",
]
