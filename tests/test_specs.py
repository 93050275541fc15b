"""SPEC texts and files: every form of the contract, and every mistake in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from arenaloop.config import JudgeSettings, ModelSettings, PriceList, PriceSettings
from arenaloop.errors import ConfigError, InputError, UserError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.local import LocalModel
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.recorded import RecordedModel
from arenaloop.models.scripted import ScriptedModel
from arenaloop.specs import contestant, judge, load_demonstrations, load_prompts, model, model_settings
from arenaloop.types import Sampling


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)


def built(text: str) -> object:
    return model(model_settings(text))


def server(text: str) -> OpenAIModel:
    found = built(text)
    assert isinstance(found, OpenAIModel)
    return found


# ---------------------------------------------------------------------- servers


def test_a_server_by_url() -> None:
    found = server("http://127.0.0.1:8000/v1#qwen")
    assert (found.base_url, found.model, found.name, found.key_env) == (
        "http://127.0.0.1:8000/v1",
        "qwen",
        "qwen",
        None,
    )


def test_adapters_of_a_server_are_models_of_their_own() -> None:
    first, second = (contestant(model_settings(f"http://h/v1#{name}")) for name in ("org/base:v2 a", "org/base:v2 b"))
    assert (first.name, second.name) == ("org/base:v2 a", "org/base:v2 b")
    assert isinstance(first.model, OpenAIModel)
    assert first.model.model == "org/base:v2 a"
    assert isinstance(second.model, OpenAIModel)
    assert first.model.fingerprint != second.model.fingerprint
    assert first.model.urls == second.model.urls


def test_a_runs_concurrency_is_that_of_models_without_one() -> None:
    def places(settings: ModelSettings) -> int:
        built = model(settings)
        assert isinstance(built, OpenAIModel)
        return built.concurrency

    settings = ModelSettings(spec="http://a/v1#m")
    assert places(settings) == 512  # as many as the server bears
    assert places(settings.with_concurrency(None)) == 512
    assert places(settings.with_concurrency(64)) == 64
    own = ModelSettings(spec="http://a/v1#m", concurrency=3)
    assert places(own.with_concurrency(64)) == 3
    members = JudgeSettings(spec="", jury=("http://a/v1#m", "http://a/v1#n")).with_concurrency(7).jury
    assert [member.concurrency for member in members] == [7, 7]


def test_replicas_and_limits_of_a_server() -> None:
    urls = ("http://b/v1/", "http://c/v1")
    found = model(ModelSettings(spec="http://a/v1#m", urls=urls, rpm=600, tpm=90_000))
    assert isinstance(found, OpenAIModel)
    assert [url.base for url in found.urls] == ["http://a/v1", "http://b/v1", "http://c/v1"]
    assert (found.limits.concurrency, found.limits.rpm, found.limits.tpm) == (None, 600, 90_000)
    assert found.fingerprint == server("http://a/v1#m").fingerprint
    for wrong in ("http://b/v1#m", "http://b/v1?key=secret"):
        with pytest.raises(ConfigError, match=r"without '#'|no query but api-version") as caught:
            model(ModelSettings(spec="http://a/v1#m", urls=(wrong,)))
        assert "secret" not in str(caught.value)


def test_a_url_sends_no_key_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("MY_KEY", "k")
    assert server("http://h/v1#m").key_env is None
    assert server("http://h/v1#m?key_env=MY_KEY").key_env == "MY_KEY"
    settings = ModelSettings(spec="http://h/v1#m?key_env=MY_OTHER_KEY", key_env="MY_KEY")
    assert getattr(model(settings), "key_env", None) == "MY_KEY"  # a setting wins over the SPEC's
    assert server("https://h/v1#org/model:tag").model == "org/model:tag"


@pytest.mark.parametrize("suffix", ["", "/", "/chat/completions", "/chat/completions/"])
def test_a_pasted_endpoint_is_trimmed(suffix: str) -> None:
    assert server(f"http://127.0.0.1:1/v1{suffix}#m").base_url == "http://127.0.0.1:1/v1"


def test_openai_reads_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        built("openai:gpt-4o")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    found = server("openai:gpt-4o")
    assert (found.base_url, found.key_env, found.model) == ("https://api.openai.com/v1", "OPENAI_API_KEY", "gpt-4o")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    assert server("openai:gpt-4o").base_url == "http://127.0.0.1:9/v1"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert server("openai:gpt-4o").key_env is None  # a server of one's own may need none


def test_a_yaml_file_holds_the_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "k")
    path = tmp_path / "model.yaml"
    path.write_text(
        "spec: http://h/v1#m\nname: file name\nsystem: be brief\nkey_env: MY_KEY\nconcurrency: 3\ntimeout: 5\n"
        "retries: 1\nsampling: {temperature: 0.7, max_tokens: 9, stop: [END]}\nprice: {input: 1, output: 2}\n"
        "extra_body: {top_k: 5}\n"
    )
    found = contestant(model_settings(str(path), "mine"))
    assert found.name == "mine"
    assert found.sampling == Sampling(0.7, 1.0, 9, ("END",))
    assert isinstance(found.model, OpenAIModel)
    assert (found.model.system, found.model.key_env, found.model.concurrency) == ("be brief", "MY_KEY", 3)
    assert (found.model.timeout, found.model.retries, found.model.extra_body) == (5, 1, {"top_k": 5})
    assert found.model.price is not None
    assert contestant(model_settings(str(path))).name == "file name"


def test_the_fingerprint_tells_servers_apart_but_not_names() -> None:
    base = model(ModelSettings(spec="http://h/v1#m"))
    assert (
        model(ModelSettings(spec="http://h/v1#m", name="x", concurrency=1, retries=0)).fingerprint == base.fingerprint
    )
    others = [
        ModelSettings(spec="http://h/v1#n"),
        ModelSettings(spec="http://g/v1#m"),
        ModelSettings(spec="http://h/v1#m", system="s"),
        ModelSettings(spec="http://h/v1#m", extra_body={"a": 1}),
    ]
    assert len({base.fingerprint, *(model(o).fingerprint for o in others)}) == 5


# ---------------------------------------------------------------------- files, local models, the sandbox


@pytest.mark.parametrize(
    ("file", "name"), [("gpt.json", "gpt"), ("a.b.jsonl", "a.b"), ("x.jsonl.gz", "x"), ("plain", "plain")]
)
def test_recorded_answers(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text("[]")
    found = built(f"file:{tmp_path / file}")
    assert isinstance(found, RecordedModel)
    assert found.name == name


def test_a_local_model(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    with pytest.raises(InputError, match="does not hold a model"):
        built(f"hf:{folder}")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="no chat template"):
        built(f"hf:{folder}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    found = built(f"hf:{folder}")
    assert isinstance(found, LocalModel)
    assert found.name == "my-model"
    with pytest.raises(InputError, match="nowhere"):
        built(f"hf:{tmp_path / 'nowhere'}")


def test_the_sandbox() -> None:
    found = contestant(model_settings("sandbox:scholar", "s"))
    assert found.name == "s"
    assert isinstance(found.model, ScriptedModel)
    settings = model_settings("sandbox:judge", kind=JudgeSettings)
    assert isinstance(settings, JudgeSettings)
    judging = judge(settings)
    assert isinstance(judging, PairwiseJudge)
    options = JudgeSettings(spec="sandbox:judge", options={"noise": 0.0, "seat_bias": 2.0})
    assert judge(options).fingerprint != judging.fingerprint
    assert judge(JudgeSettings(spec="sandbox:judge", name="other")).name == "other"


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("gpt-4o", "expected one of"),
        ("", "expected one of"),
        ("openai:", "expected one of"),
        ("hf:", "expected one of"),
        ("file:", "expected one of"),
        ("opanai:gpt-4o", "expected one of"),
        ("http://127.0.0.1:8000/v1", "URL#MODEL"),
        ("http://127.0.0.1:8000/v1#", "URL#MODEL"),
        ("http://#m", "URL of a server"),
        ("http://h:99999/v1#m", "URL of a server"),
        ("http://user:pass@h/v1#m", "password"),
        ("http://h/v1#m?key_evn=MY_KEY", "unknown option 'key_evn' (did you mean 'key_env'?)"),
        ("http://h/v1#m?key_env=MY_KEY", "MY_KEY is not set"),
        ("sandbox:scholr", "did you mean 'scholar'?"),
        ("sandbox:nobody", "known: "),
        ("file:no/such/answers.json", "answers.json: no such file"),
        ("no/such/model.yaml", "model.yaml"),
    ],
)
def test_a_wrong_spec_is_one_line(spec: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        built(spec)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (JudgeSettings(spec="sandbox:scholar"), "sandbox:judge"),
        (JudgeSettings(spec="sandbox:judge", template="pairwse"), "did you mean 'pairwise'?"),
        (JudgeSettings(spec="sandbox:judge", options={"nosie": 1}), "nosie"),
        (JudgeSettings(spec="sandbox:judge", options={"noise": -1}), "noise"),
        (JudgeSettings(spec="sandbox:judge", options={"noise": "loud"}), "noise"),
        (JudgeSettings(spec="nothing"), "expected one of"),
    ],
)
def test_a_wrong_judge_is_one_line(settings: JudgeSettings, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        judge(settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"skils": {}}, {"skills": {"reverse": 2}}, {"skills": {"revers": 1}}, {"skills": 3}]
)
def test_wrong_options_of_a_player_are_one_line(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        model(ModelSettings(spec="sandbox:scholar", options=options))
    assert "\n" not in str(caught.value)


def test_recorded_answers_cannot_judge(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ConfigError, match="cannot judge"):
        judge(JudgeSettings(spec=f"file:{tmp_path / 'a.json'}"))


def test_a_yaml_file_with_an_unknown_key(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("spec: sandbox:scholar\nsampling: {temprature: 1}\n")
    with pytest.raises(
        ConfigError, match=r"model\.yaml: unknown key 'sampling\.temprature' \(did you mean 'temperature'"
    ):
        model_settings(str(path))
    path.write_text("name: x\n")
    with pytest.raises(ConfigError, match="'spec' is missing"):
        model_settings(str(path))


# ---------------------------------------------------------------------- data


def test_prompts_of_the_sandbox() -> None:
    prompts = load_prompts("sandbox:prompts?n=20", 0)
    assert len({p.id for p in prompts}) == 20
    assert prompts == load_prompts("sandbox:prompts?n=20&seed=0&split=train", 5)
    assert prompts != load_prompts("sandbox:prompts?n=20", 1)
    test = load_prompts("sandbox:prompts?n=50&split=test", 0)
    assert not {p.id for p in load_prompts("sandbox:prompts?n=200", 0)} & {p.id for p in test}
    assert len(load_prompts("sandbox:prompts", 0)) == 100
    held = [p.last_user for p in list(prompts)[:5]]
    assert not {p.last_user for p in load_prompts("sandbox:prompts?n=20", 0, exclude=held)} & set(held)


def test_prompts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "a"}\n'))
    prompts = load_prompts(str(path), 0)
    assert [p.last_user for p in prompts] == ["a", "b"]
    assert prompts.duplicates == 1


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("sandbox:promts", "did you mean 'prompts'?"),
        ("sandbox:demonstrations?n=3", "sandbox:prompts"),
        ("sandbox:prompts?n=ten", "whole number"),
        ("sandbox:prompts?n=-1", "whole number"),
        ("sandbox:prompts?n=²", "whole number"),
        ("sandbox:prompts?n=", "whole number"),
        ("sandbox:prompts?spilt=dev", "did you mean 'split'?"),
        ("sandbox:prompts?split=tset", "did you mean 'test'?"),
        ("no/such.jsonl", "no such file"),
    ],
)
def test_wrong_prompts_are_one_line(spec: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_prompts(spec, 0)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_demonstrations(tmp_path: Path) -> None:
    rows = load_demonstrations("sandbox:demonstrations?n=5", 0)
    assert [[m["role"] for m in row["messages"]] for row in rows] == [["user", "assistant"]] * 5
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(rows[0]) + "\n")
    assert load_demonstrations(str(path), 0) == rows[:1]
    path.write_text("\n")
    with pytest.raises(InputError, match="the file is empty"):
        load_demonstrations(str(path), 0)
    with pytest.raises(ConfigError, match="sandbox:demonstrations"):
        load_demonstrations("sandbox:prompts?n=5", 0)


@pytest.mark.parametrize(
    "change", [{"system": "be brief"}, {"extra_body": {"top_k": 1}}, {"drop_params": ("stop",)}, {"send_seed": True}]
)
def test_what_only_servers_obey_is_refused_elsewhere(change: dict[str, Any]) -> None:
    (key,) = change
    with pytest.raises(ConfigError, match=f"{key} works with servers only"):
        model(ModelSettings(spec="sandbox:scholar", **change))
    with pytest.raises(ConfigError, match=f"{key} works with servers only"):
        judge(JudgeSettings(spec="sandbox:judge", **change))
    model(ModelSettings(spec="http://h/v1#m", **change))


def test_a_local_model_has_a_system_prompt_and_threads(tmp_path: Path) -> None:
    from arenaloop.sandbox.target import build_target

    spec = f"hf:{build_target(tmp_path / 'm', 0, width=16, layers=1, heads=2)}"
    built = model(ModelSettings(spec=spec, system="be brief", threads=2))
    assert isinstance(built, LocalModel)
    assert built.system == "be brief"
    assert built.fingerprint != model(ModelSettings(spec=spec, threads=1)).fingerprint
    with pytest.raises(ConfigError, match="extra_body works with servers only"):
        model(ModelSettings(spec=spec, extra_body={"top_k": 1}))


def test_a_base_url_holds_no_key() -> None:
    with pytest.raises(ConfigError, match="has no query") as caught:
        model(ModelSettings(spec="http://127.0.0.1:1/v1?api-key=sesame#m"))
    assert "sesame" not in str(caught.value)


def test_an_azure_deployment_and_headers_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "0123456789abcdef")
    url = "http://h/openai/deployments/gpt"
    settings = ModelSettings(spec=f"{url}?api-version=2024-10-21#gpt", headers={"api-key": "MY_KEY"})
    found = model(settings)
    assert isinstance(found, OpenAIModel)
    assert found.urls[0].chat == f"{url}/chat/completions?api-version=2024-10-21"
    assert (found.base_url, found.headers, found.urls[0].secrets) == (url, (("api-key", "MY_KEY"),), [])
    price = PriceSettings(input=1, output=2)
    for name in (f"{url}#gpt", f"{url}?api-version=2024-10-21#gpt", "gpt"):
        assert PriceList(prices={name: price}).of(f"{settings.spec}?key_env=K") == price
        assert PriceList(prices={name: price}).of(settings.spec) == price
    for query in ("key=abc", "api-version=1&sig=abc", "x=abc"):
        with pytest.raises(ConfigError, match="no query but api-version") as caught:
            model(ModelSettings(spec=f"{url}?{query}#gpt"))
        assert "abc" not in str(caught.value)
    with pytest.raises(ConfigError, match="NO_SUCH is not set"):
        model(ModelSettings(spec=f"{url}#gpt", headers={"api-key": "NO_SUCH"}))


def test_reasoning_tags_are_a_setting() -> None:
    found = model(ModelSettings(spec="http://h/v1#m", reasoning_tags=(("", "</think>"),)))
    assert isinstance(found, OpenAIModel)
    assert found.reader.tags == (("", "</think>"),)
    assert found.fingerprint == server("http://h/v1#m").fingerprint
