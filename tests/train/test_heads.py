"""A scalar head: what it reads, that it is an ordinary classifier, and that a reward can be learned with it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification

from arenaloop.config import OptimSettings
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import encode_pairs
from arenaloop.train.heads import ScalarHead, load_head
from arenaloop.train.optim import build_optimizer

SETTINGS = OptimSettings(learning_rate=3e-3, weight_decay=0.1)


def pairs(n: int, seed: int) -> list[dict[str, Any]]:
    """Of two words of a to f, the one with more vowels is preferred."""
    r = random.Random(seed)
    out: list[dict[str, Any]] = []
    while len(out) < n:
        first, second = ("".join(r.choices("abcdef", k=r.randint(2, 7))) for _ in range(2))
        vowels = [sum(letter in "ae" for letter in word) for word in (first, second)]
        if vowels[0] != vowels[1]:
            best, worst = (first, second) if vowels[0] > vowels[1] else (second, first)
            sides = {"chosen": best, "rejected": worst}
            answers = {name: [{"role": "assistant", "content": text}] for name, text in sides.items()}
            out.append({"prompt": [{"role": "user", "content": "go"}], **answers})
    return out


def table_of(head: ScalarHead, rows: list[dict[str, Any]]) -> TokenTable:
    return TokenTable(encode_pairs(head.encoder(SETTINGS), rows).rows, head.pad_id)


@pytest.fixture
def head(start: Path) -> ScalarHead:
    """A head with weights of its own."""
    head = load_head(start, SETTINGS)
    torch.manual_seed(1)
    torch.nn.init.normal_(head.module.score.weight)
    return head


def test_scores_are_those_of_the_saved_classifier_on_a_padded_batch(head: ScalarHead, tmp_path: Path) -> None:
    head.save(tmp_path)
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    table = table_of(head, pairs(10, 0))
    assert len(set(table.lengths)) > 3
    batch = table.batch(np.arange(len(table)), whole=True)
    mask = torch.arange(batch.inputs.shape[1]) < torch.from_numpy(table.lengths)[:, None]
    with torch.no_grad():
        expected = saved(input_ids=batch.inputs, attention_mask=mask.long()).logits[:, 0]
        assert torch.allclose(head.scores(batch), expected, atol=1e-5)
        again = load_head(tmp_path, SETTINGS)
        assert torch.equal(again.scores(batch), head.scores(batch))
    assert expected.std() > 0.1


def test_token_values_stand_where_the_labelled_tokens_are_predicted(head: ScalarHead) -> None:
    table = table_of(head, pairs(6, 0))
    with torch.no_grad():
        for whole in (False, True):
            batch = table.batch(np.arange(len(table)), whole=whole)
            values = head.token_values(batch)
            assert len(values) == table.labelled.sum()
            for at in range(len(table)):
                ids = table.batch(np.array([at]), whole=True).inputs
                hidden = head.module.model(ids).last_hidden_state[0, -table.labelled[at] - 1 : -1]
                expected = head.module.score(hidden)[:, 0]
                assert torch.allclose(values[batch.row == at], expected, atol=1e-5)


def test_a_new_head_says_nothing_and_disturbs_nobody(start: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    head = load_head(start, SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)
    assert head.scores(table_of(head, pairs(3, 0)).batch(np.arange(6), whole=True)).eq(0).all()
    assert (head.end_ids, head.pad_id, head.window) == ({1}, 0, 128)


def test_a_reward_model_of_bradley_and_terry_is_learned(start: Path) -> None:
    head = load_head(start, SETTINGS)
    table, optimizer = table_of(head, pairs(320, 0)), build_optimizer([head.module], SETTINGS)
    names = {id(parameter): name for name, parameter in head.module.named_parameters()}

    def margins(table: TokenTable, rows: np.ndarray) -> torch.Tensor:
        chosen, rejected = head.scores(table.batch(np.concatenate([rows, rows + len(table) // 2]), whole=True)).chunk(2)
        return chosen - rejected

    for step in range(60):
        rows = np.random.default_rng(step).permutation(320)[:32]
        (-logsigmoid(margins(table, rows)).mean()).backward()
        optimizer.clip()
        optimizer.step(1.0)
        optimizer.zero_grad()
    held_out = table_of(head, pairs(200, 1))
    with head.evaluating():
        assert (margins(held_out, np.arange(200)) > 0).float().mean() > 0.9
    muon = build_optimizer([head.module], SETTINGS.model_copy(update={"optimizer": "muon"})).parts[1]
    assert "score.weight" not in {names[id(p)] for group in muon.param_groups for p in group["params"]}
