"""The torch layer: pure losses over one shared session on ordinary `transformers` modules.

Checkpoints are Hugging Face directories with `safetensors` weights. The places that decide about device, wrapping and
saving are all in `backbone`; `processes` is how several of them train together. `methods` names every way to train.
"""

from __future__ import annotations

from importlib.util import find_spec

from arenaloop.errors import MissingExtraError

if find_spec("torch") is None or find_spec("transformers") is None:
    raise MissingExtraError("training", "train")
