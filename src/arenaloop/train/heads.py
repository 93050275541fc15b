"""A scalar head on a backbone: the reward of a sequence, or the value of every state on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from arenaloop.config import OptimSettings
from arenaloop.models.checkpoint import no_progress_bars
from arenaloop.train.backbone import Backbone
from arenaloop.train.batches import Batch

__all__ = ["ScalarHead", "load_head"]


@dataclass(slots=True)
class ScalarHead(Backbone):
    """A sequence classifier of `transformers` with one label: a backbone and a linear map from its last hidden state.

    Shapes: B rows, N labelled tokens. The batches that it is given are on its device.
    """

    def token_values(self, batch: Batch) -> Tensor:
        """The scalar at each position that a labelled token is predicted from: (N,) float32."""
        return self._scalars(batch)[:, -batch.keep :].flatten().index_select(0, batch.at)

    def scores(self, batch: Batch) -> Tensor:
        """The scalar at each row's last token, whatever it is: (B,) float32.

        Args:
            batch: with every row's last token among its inputs (``TokenTable.batch(rows, whole=True)``).
        """
        return self._scalars(batch).gather(1, batch.last[:, None])[:, 0]

    def begin_at_zero(self) -> None:
        """Make the head say 0 everywhere."""
        nn.init.zeros_(self.module.score.weight)

    def answer_means(self, batch: Batch) -> Tensor:
        """The mean of the scalars that each row's labelled tokens are predicted from: (B,) float32."""
        values = self.token_values(batch)
        sums = values.new_zeros(len(batch.inputs)).index_add(0, batch.row, values)
        return sums / torch.bincount(batch.row, minlength=len(batch.inputs)).clamp(min=1)

    def _scalars(self, batch: Batch) -> Tensor:
        """The scalar at every position: (B, T) float32."""
        with self.lower_precision():
            hidden = self.module.base_model(input_ids=batch.inputs, use_cache=False).last_hidden_state
            return self.module.score(hidden)[..., 0].float()


def load_head(model: str | Path, settings: OptimSettings, revision: str | None = None) -> ScalarHead:
    """Load what a `ScalarHead` has saved, or a causal language model with a new head that says 0 everywhere.

    Errors are those of `Backbone.load`.
    """
    # what is missing in the checkpoint is drawn first, and reported
    with torch.random.fork_rng(devices=[]), no_progress_bars(errors_only=True):
        head = ScalarHead.load(model, settings, revision, kind="AutoModelForSequenceClassification", num_labels=1)
    if not any("SequenceClassification" in name for name in head.module.config.architectures or ()):
        head.begin_at_zero()
    return head
