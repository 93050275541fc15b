"""Settings: every user error is one line that says what and where, with the nearest valid key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import arenaloop
from arenaloop.config import (
    METHODS,
    ArenaLearningSettings,
    BattleSettings,
    CleaningSettings,
    DPOSettings,
    JudgeSettings,
    ModelSettings,
    PPOSettings,
    QuarkSettings,
    RLOOSettings,
    RolloutSettings,
    SFTSettings,
    dump_yaml,
    override,
    read_yaml,
    validate,
)
from arenaloop.errors import ConfigError, InputError
from arenaloop.types import Sampling

RECIPE: dict[str, Any] = {
    "recipe": "arena_learning",
    "target": {"model": "sandbox:target"},
    "opponents": ["sandbox:scholar", {"spec": "sandbox:novice", "sampling": {"temperature": 0.5}}],
    "judge": "sandbox:judge",
    "data": {"demonstrations": "d.jsonl", "prompts": "p.jsonl", "test": "t.jsonl"},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_name_is_that_of_its_file(name: str) -> None:
    assert name.isidentifier(), f"{name}: a method is called as its module is, with underscores"
    assert (Path(arenaloop.__file__).parent / "train" / f"{name}.py").is_file(), f"train/{name}.py is missing"


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


# ---------------------------------------------------------------------- defaults that papers fix


def test_defaults_of_arena_learning() -> None:
    """Luo et al. 2024 (arXiv 2407.10627), section 4, and our thresholds."""
    s = validate(ArenaLearningSettings, RECIPE, "recipe.yaml")
    assert (s.rounds, s.stages, s.battle_mode) == (3, ("sft", "dpo", "ppo"), "all_pairs")
    assert (s.merge, s.rejected, s.rm_pairs, s.k_rm) == ("mean", "worst", "both", (0.0,))
    assert (s.reward_model.epochs, s.reward_model.learning_rate, s.ppo.learning_rate) == (1, 1e-6, 1e-7)
    assert (s.k_sft, s.k_dpo) == ((3.0, 1.0, 1.0), (2.0, 2.0, 2.0))
    assert (s.sft_init, s.accumulate, s.allow_truncated_chosen) == ("base", True, False)
    assert (s.sft.epochs, s.sft.learning_rate, s.sft.batch_size, s.sft.max_length) == (3, 5e-6, 128, 4096)
    assert (s.dpo.epochs, s.dpo.learning_rate, s.dpo.batch_size, s.dpo.beta) == (2, 5e-7, 64, 0.3)
    assert (s.sft.schedule, s.sft.warmup_ratio) == ("cosine", 0.03)
    assert (s.judge.sampling.temperature, s.judge.sampling.max_tokens, s.judge.reask) == (0.0, 512, 2)
    assert s.opponents[0].spec == "sandbox:scholar"  # a bare SPEC stands for its mapping
    assert s.opponents[1].sampling.build() == Sampling(0.5)


def test_defaults_of_cleaning() -> None:
    """Luo et al. 2024 (arXiv 2407.10627), section 3.2, where it gives a number; the units are ours."""
    s = CleaningSettings()
    assert (s.min_len, s.min_len_unit, s.prefix, s.prefix_unit) == (10, "char", 10, "word")
    assert (s.ngram, s.perms, s.jaccard, s.decontam_k, s.lang, s.toxic) == (5, 128, 0.7, 5, "en", None)
    assert validate(ArenaLearningSettings, RECIPE, "recipe.yaml").data.cleaning is None
    said = override(RECIPE, ["data.cleaning={}"])
    assert validate(ArenaLearningSettings, said, "recipe.yaml").data.cleaning == s


def test_every_setting_is_described() -> None:
    """`arenaloop` shows these texts; a setting without one is a riddle."""
    for kind in (
        ArenaLearningSettings,
        BattleSettings,
        CleaningSettings,
        ModelSettings,
        JudgeSettings,
        SFTSettings,
        DPOSettings,
    ):
        assert [name for name, field in kind.model_fields.items() if not field.description] == []


def test_execution_settings_are_no_part_of_the_method() -> None:
    plain, busy = SFTSettings(), SFTSettings(threads=1, device="cpu", micro_batch=2, log_every=1, checkpoint_every=5)
    assert plain.method() == busy.method()
    assert plain.method() != SFTSettings(batch_size=64).method()
    assert set(SFTSettings.EXECUTION) <= set(SFTSettings.model_fields)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SFTSettings().epochs = 1.0  # type: ignore[misc]


# ---------------------------------------------------------------------- user errors


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ruonds": 2}, "unknown key 'ruonds' (did you mean 'rounds'?)"),
        ({"target": {"model": "x", "samplng": {}}}, "unknown key 'target.samplng' (did you mean 'sampling'?)"),
        ({"dpo": {"betta": 1}}, "unknown key 'dpo.betta' (did you mean 'beta'?)"),
        (
            {"opponents": [{"spec": "x", "sampling": {"temprature": 1}}]},
            "unknown key 'opponents.0.sampling.temprature' (did you mean 'temperature'?)",
        ),
        ({"judge": {"spec": "x", "tempalte": "y"}}, "unknown key 'judge.tempalte' (did you mean 'template'?)"),
        ({"data": {"prompts": "a", "test": "b"}}, "'data.demonstrations' is missing"),
        ({"rounds": -1}, "rounds: "),
        ({"rounds": "many"}, "rounds: "),
        ({"opponents": []}, "opponents: "),
        ({"stages": []}, "at least one"),
        ({"stages": ["sft", "sft"]}, "at most once"),
        ({"stages": ["rlhf"]}, "stages.0: "),
        ({"k_sft": []}, "k_sft: "),
        ({"merge": "best"}, "merge: "),
        ({"judge": {"spec": "x", "sampling": {"temperature": -1}}}, "judge.sampling.temperature: "),
        ({"judge": 3}, "judge: "),
        ({"judge": None}, "judge: "),
        ({"anchor": "gpt"}, "anchor"),
    ],
)
def test_a_wrong_setting_is_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(ArenaLearningSettings, RECIPE | change, "recipe.yaml")
    message = one_line(caught)
    assert message.startswith("recipe.yaml: ")
    assert says in message


@pytest.mark.parametrize("missing", ["target", "opponents", "judge", "data", "recipe"])
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"recipe.yaml: '{missing}' is missing"):
        validate(ArenaLearningSettings, {k: v for k, v in RECIPE.items() if k != missing}, "recipe.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("just text", "expected a mapping"),
        ("a: [1, 2\nb: 3\n", "line"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("a: !!timestamp 2020-13-45\n", "recipe.yaml"),
        ("[" * 5000, "recipe.yaml"),
        ("a: !!python/object:os.system {}\n", "line 1"),
        ("? {a: b}\n: c\n", "line 1"),
        ("a: \x00", "recipe.yaml"),
    ],
)
def test_no_mapping_of_settings(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    message = one_line(caught)
    assert str(path) in message
    assert says in message


def test_a_byte_order_mark_is_no_part_of_a_setting(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" * 2 + b"system: be brief\r\nprice: {input: 1}\r\n")
    assert read_yaml(tmp_path / "a.yaml") == {"system": "be brief", "price": {"input": 1}}


def test_no_such_file_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_yaml(tmp_path / "latin.yaml")


# ---------------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("rounds=1", ("rounds",), 1),
        ("name=2026-01-31", ("name",), "2026-01-31"),
        ("dpo.beta=0.1", ("dpo", "beta"), 0.1),
        ("sft.learning_rate=1e-5", ("sft", "learning_rate"), 1e-5),
        ("k_sft=[1, 2]", ("k_sft",), (1.0, 2.0)),
        ("judge=openai:gpt-4o", ("judge", "spec"), "openai:gpt-4o"),
        ("judge.sampling.max_tokens=64", ("judge", "sampling", "max_tokens"), 64),
        ("opponents.0.sampling.temperature=0.7", ("opponents", 0, "sampling", "temperature"), 0.7),
        ("opponents.1=hf:org/model", ("opponents", 1, "spec"), "hf:org/model"),
        ("target.options.width=16", ("target", "options", "width"), 16),
        ("data.test=other=file.jsonl", ("data", "test"), "other=file.jsonl"),
        ("data.max_prompts_per_slice=", ("data", "max_prompts_per_slice"), None),
        ("anchor=[scholar, 1100]", ("anchor",), ("scholar", 1100.0)),
    ],
)
def test_override(assignment: str, path: tuple[Any, ...], value: object) -> None:
    settings = validate(ArenaLearningSettings, override(RECIPE, [assignment]), "recipe.yaml")
    node: Any = settings
    for part in path:
        node = node[part] if isinstance(node, dict | tuple) else getattr(node, part)
    assert node == value


def test_overrides_keep_the_rest_and_the_original() -> None:
    before = yaml.safe_dump(RECIPE)
    changed = override(RECIPE, ["judge.reask=0", "judge.template=pairwise"])
    assert changed["judge"] == {"spec": "sandbox:judge", "reask": 0, "template": "pairwise"}
    assert {k: v for k, v in changed.items() if k != "judge"} == {k: v for k, v in RECIPE.items() if k != "judge"}
    assert yaml.safe_dump(RECIPE) == before


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("rounds", "expected key=value"),
        ("=3", "expected key=value"),
        ("", "expected key=value"),
        ("opponents.7.spec=x", "there is no setting '7'"),
        ("opponents.x.spec=y", "there is no setting 'x'"),
        ("opponents.9=y", "there is no setting '9'"),
        ("rounds.x.y=1", "rounds"),
        ("k_sft=[1", "no YAML"),
        ("name=!!timestamp 2020-13-45", "no YAML"),
    ],
)
def test_a_wrong_override_is_one_line(assignment: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(ArenaLearningSettings, override(RECIPE | {"rounds": 2}, [assignment]), "recipe.yaml")
    assert says in one_line(caught)


@pytest.mark.parametrize(
    "assignment", ["ruonds=1", "dpo.betta=1", "data.test.x=1", "target.samplng.top_p=1", "k_sft.0=1"]
)
def test_an_override_of_nothing_is_refused_by_the_settings(assignment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(ArenaLearningSettings, override(RECIPE, [assignment]), "recipe.yaml")
    assert assignment.split(".")[0].split("=")[0] in one_line(caught)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc: -#'\"\n", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), PLAIN, max_size=4))
def test_no_override_is_a_deep_copy(values: dict[str, Any]) -> None:
    assert override(values, []) == values


# ---------------------------------------------------------------------- what is saved with a run


def test_the_saved_settings_read_back_the_same(tmp_path: Path) -> None:
    settings = validate(ArenaLearningSettings, override(RECIPE, ["name=ünï", "anchor=[a, 1]"]), "recipe.yaml")
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(settings))
    assert validate(ArenaLearningSettings, read_yaml(path), "config.yaml") == settings


def test_keys_are_never_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    settings = validate(ArenaLearningSettings, override(RECIPE, ["judge.key_env=MY_KEY"]), "recipe.yaml")
    assert "MY_KEY" in dump_yaml(settings)
    assert "sk-secret" not in dump_yaml(settings)


def test_an_override_changes_one_place_of_a_yaml_anchor() -> None:
    values = yaml.safe_load("a: &shared {x: 1}\nb: *shared\n")
    assert override(values, ["a.x=2"]) == {"a": {"x": 2}, "b": {"x": 1}}
    assert values == {"a": {"x": 1}, "b": {"x": 1}}


def test_an_override_keeps_the_order_of_keys() -> None:
    assert list(override({"b": 1, "a": 2}, ["c=3"])) == ["b", "a", "c"]


def test_batches_that_are_not_set_fit_the_prompts() -> None:
    def batches(settings: RolloutSettings, prompts: int) -> tuple[int, int]:
        fit = settings.sized(prompts)
        return fit.rollout_batch, fit.step_batch

    assert batches(PPOSettings(), 10_000) == (512, 256)
    assert batches(PPOSettings(), 40) == (40, 40)
    assert batches(PPOSettings(samples=3), 10_000) == (510, 256)  # whole groups of samples
    assert batches(PPOSettings(samples=600), 10_000) == (600, 256)
    assert batches(RLOOSettings(), 100) == (400, 400)
    assert batches(RLOOSettings(), 10_000) == (512, 512)
    assert batches(PPOSettings(rollout_batch=64), 40) == (
        64,
        64,
    )  # what is set stays, and is refused where it cannot be
    assert batches(PPOSettings(step_batch=100), 40) == (40, 40)
    assert batches(QuarkSettings(), 5) == (5, 5)
    with pytest.raises(ConfigError, match="3 prompts with 1 answers each cannot be cut into 4 bins"):
        QuarkSettings().sized(3)
    assert PPOSettings().within(4096).max_new_tokens == 300
    assert PPOSettings().within(256).max_new_tokens == 128
    assert PPOSettings(max_new_tokens=300).within(256).max_new_tokens == 300


@pytest.mark.parametrize("name", ["top_p", "top_k", "stop"])
def test_what_is_sampled_in_training_is_not_filtered(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--set: {name} cannot be set: answers are drawn from the whole distr"):
        validate(RLOOSettings, {name: 1}, "--set")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_settings_are_read_in_utf_8_and_in_utf_16_with_a_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "run.yaml"
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path.write_bytes(f"{mark}name: Grüße\r\nseed: 3\r\n".encode(encoding))
    assert read_yaml(path) == {"name": "Grüße", "seed": 3}
