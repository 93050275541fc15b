"""SPECs of no kind: what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from arenaloop.config import JudgeSettings, ModelSettings
from arenaloop.errors import ConfigError
from arenaloop.specs.models import model, model_settings


def test_a_path_that_exists_is_told_by_what_it_is_likely_to_be(tmp_path: Path) -> None:
    answers = tmp_path / "new.json"
    answers.write_text("[]")
    weights = tmp_path / "weights"
    weights.mkdir()
    for settings, meant in (
        (ModelSettings(spec=str(answers)), f"; did you mean file:{answers}?"),
        (JudgeSettings(spec=str(answers)), f"; did you mean labels:{answers}?"),
        (ModelSettings(spec=str(weights)), "best_of_n:FILE.yaml"),
        (ModelSettings(spec="gpt-4"), "best_of_n:FILE.yaml"),
    ):
        with pytest.raises(ConfigError) as caught:
            model(settings)
        assert str(caught.value).endswith(meant)
    (weights / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"did you mean hf:\S+weights\?$"):
        model(ModelSettings(spec=str(weights)))


def test_a_spec_of_no_kind_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("spec: gpt-4\n")
    with pytest.raises(ConfigError, match=r"m\.yaml: SPEC 'gpt-4': expected one of openai:MODEL, "):
        model_settings(str(file))
