"""What another trainer wrote: where the model is, and whether its files are whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from arenaloop.errors import InputError
from arenaloop.models.foreign import different_shapes, found_model, model_files, read_config


def model(path: Path, **config: object) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    save_file({"a": torch.zeros(3, 2), "b": torch.ones(1)}, path / "model.safetensors")
    return path


@pytest.mark.parametrize("below", ["", "global_step20_hf", "global_step_4/actor/huggingface", "checkpoint-500"])
def test_the_one_model_of_a_directory_is_found(below: str, tmp_path: Path) -> None:
    wanted = model(tmp_path / "out" / below)
    assert found_model(tmp_path / "out") == wanted


def test_of_several_models_one_has_to_be_named(tmp_path: Path) -> None:
    for step in (9, 10):
        model(tmp_path / f"checkpoint-{step}")
    with pytest.raises(InputError, match=r"holds 2 models; name one of them \(checkpoint-9, checkpoint-10\)"):
        found_model(tmp_path)


def touched(name: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()

    return make


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (touched("README.md"), "no model in Hugging Face form"),
        (touched("pytorch_model.bin"), r"pytorch_model\.bin is a pickle, which can run code"),
        (touched("actor/model_world_size_8_rank_0.pt"), "put them together first .*model_merger"),
        (touched("global_step5/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"), "DeepSpeed's state"),
    ],
)
def test_where_there_is_none_it_is_said_why(make: Callable[[Path], None], why: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(InputError, match=why):
        found_model(tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        found_model(tmp_path / "none")


def test_files_of_weights_are_whole(tmp_path: Path) -> None:
    path = model(tmp_path / "m")
    assert model_files(path) == [path / "model.safetensors"]
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "model.safetensors").rename(path / "model-1.safetensors")
    with pytest.raises(InputError, match=r"model-2\.safetensors: No such file"):
        model_files(path)
    whole = (path / "model-1.safetensors").read_bytes()
    for content, why in (
        (whole[:-1], "was cut, or is still being written"),
        (whole + b"x", "bytes"),
        (whole[:12], "no file of safetensors"),
        (b"", "no file of safetensors"),
        (b"\xff" * 20, "no file of safetensors"),
        (b"\x02" + b"\0" * 7 + b"{}", "no file of safetensors"),
    ):
        (path / "model-2.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=why):
            model_files(path)
    (path / "model-2.safetensors").write_bytes(whole)
    assert model_files(path) == [path / "model-1.safetensors", path / "model-2.safetensors"]
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    with pytest.raises(InputError, match="names no files"):
        model_files(path)


def test_what_runs_code_or_is_quantised_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="code of its own"):
        read_config(model(tmp_path / "a", auto_map={"AutoModel": "x.Y"}))
    with pytest.raises(InputError, match="quantised"):
        read_config(model(tmp_path / "b", quantization_config={"bits": 4}))
    assert read_config(model(tmp_path / "c")) == {"model_type": "llama"}
    (tmp_path / "c" / "config.json").write_text("[]")
    with pytest.raises(InputError, match="no JSON object"):
        read_config(tmp_path / "c")


def test_another_architecture_is_named() -> None:
    own = {"model_type": "llama", "hidden_size": 8, "vocab_size": 10}
    assert different_shapes(own, {**own, "dtype": "bfloat16"}) is None
    told = different_shapes(own, {"model_type": "qwen2", "hidden_size": 8, "vocab_size": 12})
    assert told == "model_type qwen2 (the run's model: llama), vocab_size 12 (the run's model: 10)"
