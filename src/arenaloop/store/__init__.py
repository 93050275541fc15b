"""The arena file: everything that was paid for, in one append-only SQLite database. No SQL stands outside this room."""

from arenaloop.store.schema import SCHEMA_VERSION, recorded_key, response_key, response_keys, whole_response
from arenaloop.store.store import Store, Usage

__all__ = ["SCHEMA_VERSION", "Store", "Usage", "recorded_key", "response_key", "response_keys", "whole_response"]
