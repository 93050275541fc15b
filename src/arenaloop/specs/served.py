"""`target.server` → the models of a recipe's checkpoints behind that server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.config import TargetSettings
from arenaloop.specs.models import server_model

if TYPE_CHECKING:
    from arenaloop.models.base import Model

__all__ = ["TargetServer", "server_of"]


class TargetServer:
    """The server that answers in this process's place: one for all roles and stages of a run."""

    def __init__(self, target: TargetSettings) -> None:
        from arenaloop.models.served import Loader

        assert target.server is not None
        self._settings, self._revision = target.server, target.revision
        self._loader = None if target.server.load is None else Loader(target.server.load, target.server.unload)

    def model(self, name: str, checkpoint: Path) -> Model:
        """The model of a stage."""
        from arenaloop.models.checkpoint import checkpoint_fingerprint
        from arenaloop.models.served import ServedModel, filled_in

        path = str(checkpoint.resolve() if checkpoint.is_dir() else checkpoint)
        spec = filled_in(self._settings.spec, name, path)
        return server_model(
            self._settings.model_copy(update={"spec": spec, "name": name}),
            ServedModel,
            weights=checkpoint_fingerprint(checkpoint, self._revision),
            checkpoint=path,
            loader=self._loader,
        )


def server_of(target: TargetSettings) -> TargetServer | None:
    """The target's server; None of one that answers in this process."""
    return None if target.server is None else TargetServer(target)
