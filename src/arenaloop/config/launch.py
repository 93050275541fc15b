"""Settings of trainings that a recipe starts as several processes, on one node or several."""

from __future__ import annotations

import shlex
from typing import Literal, Self

from pydantic import Field, model_validator

from arenaloop.config.base import Settings

__all__ = ["LaunchSettings"]


class LaunchSettings(Settings):
    """How a recipe's trainings are started as several processes; the names are those of torchrun's own flags.

    None of it changes what is computed but the order of sums, so it may change between a run and its resumption.
    """

    launcher: Literal["torchrun", "accelerate"] = "torchrun"
    """who starts the processes of a node; `accelerate` takes a configuration by `arguments`, and wants GPUs"""
    nproc_per_node: int = Field(ge=1)
    """processes on each node: one for each of its GPUs"""
    nnodes: int = Field(default=1, ge=1)
    """nodes; the run directory has to be the same one on all of them"""
    rdzv_endpoint: str | None = None
    """HOST:PORT of one of the nodes, where they find each other; null = one node, and a free port"""
    command: str | None = None
    """what starts the launcher on every node, {command} being its own line: `srun --nodes 2 --ntasks-per-node 1
    {command}`; no shell. null = it is started here, and on further nodes by you"""
    arguments: tuple[str, ...] = ()
    """further arguments of the launcher"""

    @model_validator(mode="after")
    def _meets(self) -> Self:
        if self.nnodes > 1 and self.rdzv_endpoint is None:
            raise ValueError(f"{self.nnodes} nodes need rdzv_endpoint, the HOST:PORT of one of them where they meet")
        if self.rdzv_endpoint is not None:
            host, colon, port = self.rdzv_endpoint.rpartition(":")
            if not (host and colon and port.isdigit() and int(port) < 1 << 16):
                raise ValueError(f"rdzv_endpoint {self.rdzv_endpoint!r}: expected HOST:PORT")
        if self.command is not None:
            try:
                parts = shlex.split(self.command)
            except ValueError as error:
                raise ValueError(f"command {self.command!r}: {error}") from None
            if not any("{command}" in part for part in parts[1:]):
                raise ValueError(f"command {self.command!r}: {{command}} is missing, where the launcher's line goes")
        return self

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.nnodes * self.nproc_per_node
