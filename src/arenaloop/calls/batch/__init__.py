"""Judging through batches of a server's Batch API, or through files that are carried by hand: the same units, later."""

from arenaloop.calls.batch.requests import server_of
from arenaloop.calls.batch.rounds import Round
from arenaloop.calls.batch.state import batch_seconds, forget_batches, open_batches
from arenaloop.calls.batch.trial import try_logprobs

__all__ = ["Round", "batch_seconds", "forget_batches", "open_batches", "server_of", "try_logprobs"]
