"""``ray-vllm:`` SPECs: what they name, and every mistake in one line. None of this needs Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arenaloop.calls.engines import ray_cluster
from arenaloop.calls.open_weights import pool
from arenaloop.calls.open_weights.base import VLLM, Adapter
from arenaloop.calls.open_weights.model import RayWeights
from arenaloop.config import ModelSettings
from arenaloop.errors import ConfigError, InputError, MissingExtraError
from arenaloop.specs import model


@pytest.fixture(autouse=True)
def _there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: name)
    monkeypatch.setattr(pool, "_POOLS", [])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (folder := tmp_path / "weights").mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    for name, rank in (("tuned", 12), ("other", 4)):
        (lora := tmp_path / name).mkdir()
        told = {"r": rank, "rank_pattern": {"q": rank + 1}, "base_model_name_or_path": str(folder)}
        (lora / "adapter_config.json").write_text(json.dumps(told))
        (lora / "adapter_model.safetensors").write_bytes(name.encode())
    return folder


def built(spec: str, **more: object) -> RayWeights:
    found = model(ModelSettings(spec=spec, **more))
    assert isinstance(found, RayWeights)
    return found


def test_options_and_settings(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "env.yaml").write_text("env_vars: {A: b}")
    query = f"tp=2&engines=3&address=10.0.0.1:6379&max_model_len=4096&dtype=bfloat16&env={tmp_path}/env.yaml"
    found = built(f"ray-vllm:{weights}?{query}", options={"gpu_memory_utilization": 0.8})
    wanted = found.pool.wanted
    settings = wanted.settings
    assert (wanted.engine, wanted.engines, wanted.gpus, wanted.address) == (VLLM, 3, 2, "10.0.0.1:6379")
    assert (settings.model, settings.tp, settings.dtype, settings.max_model_len) == (
        str(weights), 2, "bfloat16", 4096,
    )  # fmt: skip
    assert (wanted.environment, settings.more) == ({"env_vars": {"A": "b"}}, {"gpu_memory_utilization": 0.8})
    assert (found.name, found.concurrency) == ("weights", 768)
    assert built(f"ray-vllm:{weights}?env=vllm").pool.wanted.environment == {"conda": "vllm"}
    assert built("ray-vllm:Qwen/Qwen3-8B").name == "Qwen/Qwen3-8B"


def test_models_of_the_same_weights_share_engines_and_have_keys_of_their_own(weights: Path) -> None:
    base = built(f"ray-vllm:{weights}?engines=2")
    tuned = built(f"ray-vllm:{weights}?engines=2&lora=mine={weights.parent / 'tuned'}")
    other = built(f"ray-vllm:{weights}?engines=2&lora={weights.parent / 'other'}")
    assert base.pool is tuned.pool is other.pool
    assert (tuned.name, other.name) == ("mine", "other")
    assert base.pool._adapters == {
        Adapter("mine", str(weights.parent / "tuned")), Adapter("other", str(weights.parent / "other")),
    }  # fmt: skip
    assert len({one.fingerprint for one in (base, tuned, other)}) == 3
    assert built(f"ray-vllm:{weights}?engines=4&gpus=2").fingerprint == base.fingerprint
    changed = [built(f"ray-vllm:{weights}?max_model_len=99"), built(f"ray-vllm:{weights}", system="Be brief.")]
    before = base.fingerprint
    (weights / "model.safetensors").write_bytes(b"other weights")
    changed.append(built(f"ray-vllm:{weights}?tp=2"))
    assert len({before, *(one.fingerprint for one in changed)}) == 4


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("tb=2", r"unknown option 'tb' \(did you mean 'tp'\?\)"),
        ("tp=", "tp has no value"),
        ("tp=0", "tp=0: expected a whole number, at least 1"),
        ("engines=two", "engines=two: expected a whole number, at least 1"),
        ("dtype=int3", "dtype=int3: expected one of auto, float32, bfloat16, float16"),
        ("address=host", "expected ray:HOST:PORT"),
        ("engine=mine", "engine=mine: expected MODULE:CLASS"),
    ],
)
def test_wrong_options(query: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        built(f"ray-vllm:org/model?{query}")
    assert "\n" not in str(error.value)


def test_what_is_not_there(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="expected ray-vllm:MODEL"):
        built("ray-vllm:?tp=2")
    with pytest.raises(InputError, match="is not a directory"):
        built(f"ray-vllm:{tmp_path}/nowhere")
    with pytest.raises(InputError, match=r"config\.json is needed"):
        built(f"ray-vllm:{tmp_path}")
    with pytest.raises(InputError, match=r"lora: .* is not a directory"):
        built(f"ray-vllm:{weights}?lora=mine=/nowhere")
    with pytest.raises(InputError, match="no adapter"):
        built(f"ray-vllm:{weights}?lora={weights}")
    with pytest.raises(ConfigError, match="rpm works with servers only"):
        built(f"ray-vllm:{weights}", rpm=3)
    with pytest.raises(ConfigError, match="code that comes with weights is not run"):
        built(f"ray-vllm:{weights}", options={"trust_remote_code": True})
    with pytest.raises(ConfigError, match="dtype is set by the SPEC"):
        built(f"ray-vllm:{weights}", options={"dtype": "half"})
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as error:
        built(f"ray-vllm:{weights}")
    assert str(error.value) == "ray-vllm: needs an optional dependency: pip install 'arenaloop[ray]'"
