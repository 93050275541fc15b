"""What a checkpoint's files say, and what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from arenaloop.models.checkpoint import checkpoint_fingerprint, load_checkpoint, load_tokenizer
from arenaloop.sandbox.target import build_target
from arenaloop.train.backbone import save_checkpoint


def test_whether_the_hub_could_be_asked_stands_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds follow from a model's fingerprint: the same training would answer otherwise on a machine without a hub."""
    start = build_target(tmp_path / "start", 0)
    found = []
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        module, tokenizer = load_checkpoint(start)
        save_checkpoint(module, tokenizer, tmp_path / f"whole {offline}")
        load_tokenizer(start).save_pretrained(tmp_path / f"words {offline}")
        words = (tmp_path / f"words {offline}" / "tokenizer_config.json").read_text("utf-8")
        found.append((checkpoint_fingerprint(tmp_path / f"whole {offline}"), words))
    assert found[0] == found[1]
