"""The same batch through TRL's trainers: equal losses and equal gradients of every parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arenaloop.config import DPOSettings, RewardModelSettings, RLOOSettings, SFTSettings
from arenaloop.data.export import reward_client
from arenaloop.train.advantages import leave_one_out
from arenaloop.train.batches import TokenTable
from arenaloop.train.dpo import DPOObjective, reference_logprobs
from arenaloop.train.encoding import ChatEncoder, Encoded, encode_conversations, encode_pairs
from arenaloop.train.heads import load_head
from arenaloop.train.methods import training
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.reward_model import RewardObjective
from arenaloop.train.rewards import RewardModel, load_reward_model, separate_pad
from arenaloop.train.rloo import RLOOObjective
from arenaloop.train.sft import SFTObjective

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ROWS: list[dict[str, Any]] = [
    {
        "prompt": [{"role": "user", "content": question}],
        "chosen": [{"role": "assistant", "content": good}],
        "rejected": [{"role": "assistant", "content": bad}],
    }
    for question, good, bad in [
        ("hello", "hi there", "no"),
        ("what is 2", "2 is two, a number", "who knows"),
        ("a", "b", "this is a much longer answer than the other one"),
        ("say x", "x", "y"),
        ("count", "1 2 3 4 5 6 7", "1 3"),
    ]
]
COMPLETIONS = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in ROWS]


@pytest.fixture(params=["llama", "qwen2"])
def checkpoint(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_model: Callable[..., Any],
    make_tokenizer: Callable[..., Any],
) -> Path:
    make_model(request.param, seed=3, initializer_range=0.2).save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def arguments(kind: Any, out: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(out),
        per_device_train_batch_size=len(ROWS),
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        max_length=100,
        **more,
    )


def oracle(trainer: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients by the trainer's own collator and loss, on all rows in one batch."""
    (batch,) = list(trainer.get_train_dataloader())
    assert len(batch["input_ids"]) in (len(ROWS), 2 * len(ROWS))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in trainer.model.named_parameters()}


def ours(policy: Any, objective: Any, parts: list[list[int]]) -> tuple[float, dict[str, torch.Tensor]]:
    policy.module.train()
    total, whole = 0.0, np.arange(len(ROWS))
    for part in parts:
        loss, _ = objective.loss(policy, np.array(part), whole)
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in policy.module.named_parameters()}


def compare(found: tuple[float, dict[str, torch.Tensor]], expected: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert gradient.abs().max() > 1e-4, f"{name} has no gradient to compare"
        assert torch.allclose(found[1][name], gradient, atol=1e-5), name


PARTS = [[[0, 1, 2, 3, 4]], [[0, 3], [1, 2, 4]]]


@pytest.mark.parametrize("parts", PARTS)
def test_sft(checkpoint: Path, tmp_path: Path, parts: list[list[int]]) -> None:
    trainer = trl.SFTTrainer(
        model=str(checkpoint),
        args=arguments(trl.SFTConfig, tmp_path, completion_only_loss=True),
        train_dataset=datasets.Dataset.from_list(COMPLETIONS),
    )
    policy = load_policy(checkpoint, SFTSettings())
    data = encode_conversations(ChatEncoder(policy.tokenizer, 100, policy.end_ids), COMPLETIONS)
    objective = SFTObjective(TokenTable(data.rows, policy.pad_id))
    compare(ours(policy, objective, parts), oracle(trainer))


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize(
    ("nll_weight", "changes"),
    [
        (0.0, {}),
        (0.7, {}),
        (0.0, {"loss": "ipo"}),
        (0.0, {"loss": "sigmoid_norm"}),
        (0.0, {"loss": "robust", "label_smoothing": 0.2}),
        (0.7, {"loss": "robust", "label_smoothing": 0.2}),
    ],
)
def test_dpo(
    checkpoint: Path,
    tmp_path: Path,
    make_model: Callable[..., Any],
    parts: list[list[int]],
    nll_weight: float,
    changes: dict[str, Any],
) -> None:
    """The reference is another model than the policy, as it is after the first step."""
    kind = "qwen2" if "Qwen" in (checkpoint / "config.json").read_text() else "llama"
    other = make_model(kind, seed=4, initializer_range=0.2)
    kind_of_loss = changes.get("loss", "sigmoid")
    losses: dict[str, Any] = {"loss_type": [kind_of_loss], "label_smoothing": changes.get("label_smoothing", 0.0)}
    if nll_weight:
        losses |= {"loss_type": [kind_of_loss, "sft"], "loss_weights": [1.0, nll_weight]}
    trainer = trl.DPOTrainer(
        model=str(checkpoint),
        ref_model=other,
        args=arguments(trl.DPOConfig, tmp_path, beta=0.3, **losses),
        train_dataset=datasets.Dataset.from_list(ROWS),
    )
    settings = DPOSettings(beta=0.3, nll_weight=nll_weight, **changes)
    policy = load_policy(checkpoint, settings)
    table = TokenTable(encode_pairs(ChatEncoder(policy.tokenizer, 100, policy.end_ids), ROWS).rows, policy.pad_id)
    frozen = Policy(other, policy.tokenizer, policy.device, None)
    objective = DPOObjective(table, reference_logprobs(frozen, table, settings), settings)
    compare(ours(policy, objective, parts), oracle(trainer))


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("with_margin", [False, True])
def test_reward_model(checkpoint: Path, tmp_path: Path, parts: list[list[int]], with_margin: bool) -> None:
    """The head is the same in both: what TRL loads is what ours has saved."""
    settings = RewardModelSettings()
    head = load_head(checkpoint, settings)
    separate_pad(head)
    torch.manual_seed(5)
    torch.nn.init.normal_(head.module.score.weight, std=0.5)
    head.save(tmp_path / "head")
    rows = [{**row, **({"margin": 0.1 * at} if with_margin else {})} for at, row in enumerate(ROWS)]
    trainer = trl.RewardTrainer(
        model=str(tmp_path / "head"),
        args=arguments(trl.RewardConfig, tmp_path),
        train_dataset=datasets.Dataset.from_list(rows),
    )
    table = TokenTable(encode_pairs(head.encoder(settings), rows).rows, head.pad_id)
    margin = torch.tensor([0.1 * at if with_margin else 0.0 for at in range(len(rows))])
    ones, none = torch.ones(len(rows)), torch.zeros(len(table))
    objective = RewardObjective(table, RewardModel(head), none, ones, margin)
    compare(ours(head, objective, parts), oracle(trainer))


@pytest.mark.parametrize("parts", [[[0, 1, 2, 3, 4, 5]], [[0, 3], [1, 2, 4, 5]]])
def test_the_policy_term_of_ppo_and_rloo(checkpoint: Path, tmp_path: Path, parts: list[list[int]]) -> None:
    """GRPO's loss with one advantage an answer, old log-probabilities of another policy, meaned over all tokens."""
    settings = RLOOSettings(rollout_batch=6, samples=2, step_batch=6, clip=0.2)
    policy = load_policy(checkpoint, settings)
    generator = torch.Generator().manual_seed(0)
    lengths, prompts = [4, 1, 7, 3, 3, 5], [3, 2, 4, 2, 5, 3]
    answers = [torch.randint(6, 40, (n,), generator=generator).tolist() for n in lengths]
    asked = [torch.randint(6, 40, (n,), generator=generator).tolist() for n in prompts]
    rows = [
        Encoded([*prompt, *answer], [False] * len(prompt) + [True] * len(answer), truncated=False)
        for prompt, answer in zip(asked, answers, strict=True)
    ]
    table = TokenTable(rows, policy.pad_id)
    with policy.evaluating():
        now = policy.token_logprobs(table.batch(np.arange(6)))
    old = now + 0.3 * torch.randn(len(now), generator=generator)
    advantages = torch.tensor([1.0, -0.5, 0.3, 2.0, -1.5, 0.7])
    objective = RLOOObjective(table, old, advantages.double(), np.ones(6), settings)
    found = 0.0
    for part in parts:
        loss, statistics = objective.loss(policy, np.array(part), np.arange(6))
        loss.backward()
        found += loss.item()
    assert statistics["policy/clip_fraction"] > 0

    def padded(rows: list[list[int]], *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, rows))
        ids = [[0] * (width - len(row)) + row if left else row + [0] * (width - len(row)) for row in rows]
        mask = [[int(on) for on in ([0] * (width - len(row)) + [1] * len(row))] for row in rows]
        return torch.tensor(ids), torch.tensor(mask if left else [row[::-1] for row in mask])

    trainer = trl.GRPOTrainer(
        model=str(checkpoint),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=6,
            num_generations=2,
            loss_type="dapo",
            beta=0.0,
            epsilon=0.2,
            use_cpu=True,
            bf16=False,
            report_to=[],
            gradient_checkpointing=False,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": "a"}] * 6),
    )
    prompt_ids, prompt_mask = padded(asked, left=True)
    completion_ids, completion_mask = padded(answers)
    before = torch.zeros_like(completion_ids, dtype=torch.float32)
    before[completion_mask.bool()] = old
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids,
            "completion_mask": completion_mask,
            "advantages": advantages,
            "old_per_token_logps": before,
            "num_items_in_batch": completion_mask.sum(),
        },
    )
    loss.backward()
    gradients = {name: p.grad for name, p in trainer.model.named_parameters()}
    compare((found, {name: p.grad for name, p in policy.module.named_parameters()}), (loss.item(), gradients))


def test_the_first_step_of_rloo_follows_the_gradient_of_trls(checkpoint: Path, tmp_path: Path) -> None:
    """Its loss is meaned over answers and ours over tokens: the first step's gradients are one but for that factor.

    Later its ratios are those of whole answers, and ours those of tokens.
    """
    settings = RLOOSettings(rollout_batch=6, samples=3, step_batch=6)
    policy = load_policy(checkpoint, settings)
    generator = torch.Generator().manual_seed(0)
    lengths = [4, 1, 7, 3, 3, 5]
    answers = [torch.randint(6, 40, (n,), generator=generator).tolist() for n in lengths]
    asked = [[7, 8, 9]] * 3 + [[11, 12, 13]] * 3
    rows = [
        Encoded([*prompt, *answer], [False] * len(prompt) + [True] * len(answer), truncated=False)
        for prompt, answer in zip(asked, answers, strict=True)
    ]
    table = TokenTable(rows, policy.pad_id)
    scores = torch.tensor([1.0, -0.5, 0.3, 2.0, -1.5, 0.7], dtype=torch.float64)
    gained = leave_one_out(scores, torch.tensor([0, 0, 0, 1, 1, 1]))
    grouped = scores.view(2, 3)  # as TRL writes it
    assert torch.allclose(gained, (grouped - (grouped.sum(1, keepdim=True) - grouped) / 2).flatten())
    with policy.evaluating():
        old = policy.token_logprobs(table.batch(np.arange(6)))
    loss, _ = RLOOObjective(table, old, gained, np.ones(6), settings).loss(policy, np.arange(6), np.arange(6))
    (loss * (sum(lengths) / 6)).backward()
    trainer = trl.RLOOTrainer(
        model=str(checkpoint),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=trl.RLOOConfig(
            output_dir=str(tmp_path), per_device_train_batch_size=6, num_generations=3, beta=0.0, use_cpu=True,
            bf16=False, report_to=[], gradient_checkpointing=False,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": "a"}] * 6),
    )  # fmt: skip
    width = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
    trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": torch.tensor(asked),
            "prompt_mask": torch.ones(6, 3, dtype=torch.long),
            "completion_ids": torch.tensor([answer + [0] * (width - len(answer)) for answer in answers]),
            "completion_mask": mask,
            "advantages": gained.float(),
            "old_logps": torch.zeros(6).index_add(0, table.owners, old),
        },
    ).backward()
    expected = {name: p.grad for name, p in trainer.model.named_parameters()}
    for name, parameter in policy.module.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-5), name
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 0.01


def test_trl_scores_by_our_reward_model_as_we_do(checkpoint: Path, tmp_path: Path) -> None:
    """The exported classifier as ``reward_funcs``, on a batch of answers of different lengths."""
    settings = RewardModelSettings(max_steps=2, held_out=0.0, batch_size=4, learning_rate=1e-2)
    out = training("reward_model", checkpoint, ROWS, tmp_path / "rm", settings, seed=0).path
    model = load_reward_model(out, settings)
    trainer = trl.GRPOTrainer(
        model=str(checkpoint),
        reward_funcs=str(out),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "trl"), num_generations=2, use_cpu=True, bf16=False, report_to=[]
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": row["prompt"]} for row in ROWS]),
    )
    prompts, answers = [row["prompt"] for row in ROWS], [row["chosen"] for row in ROWS]
    found = trainer._calculate_rewards([{} for _ in ROWS], prompts, answers, [[] for _ in ROWS])[:, 0]
    expected: Any = model.rewards(list(zip(prompts, answers, strict=True)), settings)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert len({round(each, 4) for each in found.tolist()}) == len(ROWS)


def test_trl_takes_rewards_of_a_server_and_leaves_out_what_has_none(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exported file as ``reward_funcs``: columns, messages and None are as it and TRL expect them."""
    posted: list[dict[str, Any]] = []

    def post(body: dict[str, Any]) -> dict[str, Any]:
        posted.append(body)
        return {"scores": [None if answer == "none" else float(len(answer)) for answer in body["answers"]]}

    monkeypatch.setattr(reward_client, "_post", post)
    prompt = [{"role": "user", "content": "a"}]
    trainer = trl.RLOOTrainer(
        model=str(checkpoint),
        reward_funcs=reward_client.arenaloop_reward,
        args=trl.RLOOConfig(output_dir=str(tmp_path), num_generations=2, use_cpu=True, bf16=False, report_to=[]),
        train_dataset=datasets.Dataset.from_list([{"prompt": prompt, "prompt_id": "p"}] * 2),
    )
    answers = [[{"role": "assistant", "content": text}] for text in ("none", "four!")]
    rows = [{"prompt": prompt, "prompt_id": "p"}] * 2
    found = trainer._calculate_rewards(rows, [prompt] * 2, answers, [[], []])[:, 0]
    assert torch.isnan(found[0])
    assert found[1] == 5.0
    assert posted == [{"prompts": [prompt] * 2, "answers": ["none", "four!"], "prompt_ids": ["p", "p"]}]
    assert trainer._pending_metrics["arenaloop/failed"] == [0.5]
