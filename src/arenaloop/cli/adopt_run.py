"""`arenaloop adopt`, at work: the checkpoint is found, compared, copied and written into the run's account."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from arenaloop.cli.directory import ARENA
from arenaloop.config import RecipeSettings, read_yaml, validate
from arenaloop.errors import ConfigError, InputError, StorageError, nearest
from arenaloop.jsonl import read_rows, write_json
from arenaloop.models import adapters
from arenaloop.models.checkpoint import checkpoint_fingerprint, holds_model, load_tokenizer, require_reward_model
from arenaloop.models.foreign import different_shapes, found_model, model_files, read_config
from arenaloop.models.kept_checkpoint import make_room, move_checkpoint
from arenaloop.recipes.adopted import RECORD, learns_reward
from arenaloop.specs.recipes import recipe_named
from arenaloop.specs.start import Start, start
from arenaloop.store import Store
from arenaloop.terminal import counted, say
from arenaloop.types import Message

__all__ = ["execute"]

Conversation = tuple[list[Message], list[Message]]
_ANSWERS = 32  # that are read by both models
_TEMPLATES = ("run", "checkpoint")
_BESIDE = ("config.json", "generation_config.json", adapters.CONFIG, adapters.MODEL_CONFIG)


@dataclass(frozen=True)
class _Place:
    """A stage of a run: whose model is to come, and what it starts from."""

    run: Path
    stage: str
    own: str
    revision: str | None
    later: Sequence[str]

    @property
    def path(self) -> Path:
        return self.run / "checkpoints" / self.stage


def execute(
    directory: Path,
    checkpoint: Path,
    stage: str | None,
    *,
    base: Path | None,
    template: str | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Take a checkpoint as a stage's model; arguments as of the command.

    Raises:
        ConfigError: no recipe's run, no such stage, or a model stands there.
        InputError: the checkpoint cannot be read, or does not fit the run.
        StorageError: it cannot be copied.
    """
    if template not in (None, *_TEMPLATES):
        raise ConfigError(f"--template {template}: expected run or checkpoint{nearest(template, list(_TEMPLATES))}")
    settings = _recipe_of(directory)
    messages = Console(stderr=True)
    with Store(directory / ARENA) as store:  # as a writer: no run is to go on meanwhile
        place = _place(directory, settings, stage)
        taken = holds_model(place.path)
        if taken and not replace:
            raise ConfigError(f"{place.path} holds a model; --replace has this one take its place, and keeps it beside")
        source = found_model(checkpoint)
        if source.resolve() == place.path.resolve():
            raise ConfigError(f"{source} is where the stage's model goes; name the trainer's own directory")
        answers = _answers(store) or _demonstrated(place)
        record = _taken(place, source, _checked(place, source, answers, base, template), answers)
        say(messages, f"{place.stage}: {_words(record)}", fold=True)
        store.put_note("adopted", place.stage, record)
    if later := [name for name in place.later if holds_model(directory / "checkpoints" / name)]:
        say(messages, f"note: {', '.join(later)} will be worked again, as they come after it", fold=True)
    if as_json:
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
    else:
        say(Console(), f"{place.path}: adopted from {source}; `arenaloop run` goes on from it", fold=True)


def _recipe_of(directory: Path) -> RecipeSettings:
    file = directory / "config.yaml"
    if not (directory / ARENA).is_file() or not file.is_file():
        raise ConfigError(f"{directory}: no run directory (config.yaml, {ARENA}); `arenaloop run` makes it")
    values = read_yaml(file)
    if "recipe" not in values:
        raise ConfigError(f"{directory} is no run of a recipe: there is no stage to adopt a model for")
    return validate(recipe_named(values["recipe"], str(file)).settings, values, str(file))


def _place(directory: Path, settings: RecipeSettings, stage: str | None) -> _Place:
    """The stage, and the newest model before it that answers."""
    names = list(recipe_named(settings.recipe, "config.yaml").stages(settings))
    if stage is None:
        stage = next((name for name in names if not holds_model(directory / "checkpoints" / name)), None)
        if stage is None:
            raise ConfigError(f"{directory}: all its stages have models ({', '.join(names)}); --stage names one")
    if stage not in names:
        raise ConfigError(f"--stage {stage}: no stage that trains{nearest(stage, names)}; there are {', '.join(names)}")
    at = names.index(stage)
    before = [directory / "checkpoints" / name for name in names[:at] if not learns_reward(name)]
    found = next((path for path in reversed(before) if holds_model(path)), None)
    if found is not None:
        return _Place(directory, stage, str(found), None, names[at + 1 :])
    origin: Start = start(settings.target, settings.seed, directory)
    origin.prepare()
    return _Place(directory, stage, origin.path, settings.target.revision, names[at + 1 :])


def _answers(store: Store) -> list[Conversation]:
    """Stored answers, at most one of a prompt, with what was asked."""
    found: list[Conversation] = []
    for prompt in islice(store.prompts(), 20 * _ANSWERS):
        said = next((one for one in store.responses_of(prompt).values() if one.battles and one.texts), None)
        if said is not None:
            found.append((prompt.conversation(()), [{"role": "assistant", "content": said.texts[0]}]))
        if len(found) == _ANSWERS:
            break
    return found


def _demonstrated(place: _Place) -> list[Conversation]:
    """Where nothing has been answered yet: rows that the stage was to learn from."""
    for file in (place.run / "elsewhere" / f"{place.stage}.jsonl", place.run / "data" / f"{place.stage}.jsonl"):
        if file.is_file():
            rows = [row.get("messages") for _, row in islice(read_rows(file), _ANSWERS)]
            return [(turns[:-1], turns[-1:]) for turns in rows if isinstance(turns, list) and len(turns) > 1]
    return []


def _checked(
    place: _Place, source: Path, answers: Sequence[Conversation], base: Path | None, template: str | None
) -> dict[str, Any]:
    """What is found out of a checkpoint by its files, before any weights are read.

    Raises:
        InputError: it does not fit.
    """
    model_files(source)
    rewards = learns_reward(place.stage)
    found: dict[str, Any] = {"stage": place.stage, "from": str(source.resolve()), "kind": "model"}
    if adapters.is_adapter(source):
        found |= {"kind": "adapter", "base": _base(place, source, base)}
    else:
        if base is not None:
            raise ConfigError(f"--base {base}: {source} is a whole model, no adapter")
        config = read_config(source)
        if (different := different_shapes(_config_of(place.own), config)) is not None and not rewards:
            raise InputError(f"{source} is of another architecture than the run's model: {different}")
        if rewards:
            require_reward_model(source)
        elif any("ForCausalLM" not in str(name) for name in config.get("architectures") or ()):
            raise InputError(f"{source} is no causal language model ({', '.join(map(str, config['architectures']))})")
    found["weights"] = checkpoint_fingerprint(source)
    found["template"], found["renders"] = (
        ("its own", None) if rewards else _read_alike(place, source, answers, template)
    )
    return found


def _tried(place: _Place, copied: Path, answers: Sequence[Conversation]) -> dict[str, Any] | None:
    """What the model makes of stored answers, as it will stand in the run; None where there are none.

    Raises:
        InputError: weights are missing or no numbers, or it is far from what the stage starts from.
    """
    from arenaloop.train.adoption import probe, probe_rewards, refuse_weights

    if learns_reward(place.stage):
        refuse_weights(copied, kind="AutoModelForSequenceClassification")
        scores = probe_rewards(copied, answers)
        return _figures(len(scores), {"mean score": sum(scores) / len(scores)}) if scores else None
    refuse_weights(copied)
    found = probe(place.own, copied, answers, place.revision) if answers else None
    if found is None:
        return None
    return _figures(found.answers, {f"log-probability a token, {place.stage}": found.other, "before": found.own})


def _figures(answers: int, figures: dict[str, float]) -> dict[str, Any]:
    return {"answers": answers, "figures": {name: round(value, 4) for name, value in figures.items()}}


def _config_of(own: str) -> dict[str, Any]:
    """The configuration of the run's model; empty of a hub id that is not here, which loading it compares."""
    with suppress(OSError, ValueError, InputError):
        return read_config(Path(own)) if Path(own).is_dir() else {}
    return {}


def _base(place: _Place, source: Path, given: Path | None) -> str:
    """The run's model that an adapter belongs beside.

    Raises:
        InputError: it was trained beside another one, or that cannot be known.
    """
    named, revision = adapters.base_of(source)
    beside = str(given or named)
    if beside == place.own and not Path(beside).is_dir():
        return place.own  # both are the same id of a hub
    if not Path(beside).is_dir():
        raise InputError(
            f"{source}: the adapter was trained beside {named}, which is not here to be compared with {place.own}; "
            "--base DIR says where it is now"
        )
    if checkpoint_fingerprint(beside, revision) != checkpoint_fingerprint(place.own, place.revision):
        raise InputError(
            f"{source}: the adapter was trained beside {beside}, which is not what {place.stage} starts from "
            f"({place.own})"
        )
    return place.own


def _read_alike(
    place: _Place, source: Path, answers: Sequence[Conversation], template: str | None
) -> tuple[str, str | None]:
    """How the chat template is beside the run's, and the template itself where it is to be the checkpoint's.

    Raises:
        InputError: tokenizer or template are not the run's.
    """
    from arenaloop.train.adoption import compared_templates, refuse_other_tokenizer

    if not any(source.glob("tokenizer*")):
        return "missing, as the tokenizer is; the run's", None
    own, other = load_tokenizer(place.own, place.revision), load_tokenizer(source)
    texts = [str(turn["content"]) for prompt, answer in answers for turn in (*prompt, *answer)]
    refuse_other_tokenizer(own, other, ["Hello, world!\n\n1234 naïve", *texts], source)
    found = compared_templates(own, other, answers)
    if not found.startswith("differs"):
        return found, None
    if template is None:
        raise InputError(
            f"{source}: its chat template {found}; --template run keeps the run's, --template checkpoint takes its own"
        )
    return f"{found}; the {template}'s is taken", other.chat_template if template == "checkpoint" else None


def _words(told: dict[str, Any]) -> str:
    parts = [f"{told['kind']} in {told['from']}", f"chat template {told['template']}"]
    if (probe := told["probe"]) is not None:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in probe["figures"].items())
        parts.append(f"{counted(probe['answers'], 'stored answer')}: {figures}")
    else:
        parts.append("no stored answer to try it on")
    return "; ".join(parts)


# ---------------------------------------------------------------------- copied


def _taken(place: _Place, source: Path, told: dict[str, Any], answers: Sequence[Conversation]) -> dict[str, Any]:
    """Put a copy into the stage's place, with a record; what stood there is kept beside it.

    Raises:
        InputError: the model does not fit; nothing has changed then.
        StorageError: it cannot be copied.
    """
    aside = place.path.with_name(f"{place.path.name}.adopting")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        _copy(place, source, aside, told)
        record = {name: value for name, value in told.items() if name != "renders"}
        record |= {"probe": _tried(place, aside, answers), "fingerprint": checkpoint_fingerprint(aside)}
        write_json(aside / RECORD, record)
        make_room(place.path, record["fingerprint"])  # one that was trained here comes back if this one is removed
        if place.path.exists():
            number = next(n for n in range(1, 10_000) if not _kept(place, n).exists())
            move_checkpoint(place.path, _kept(place, number))
        aside.rename(place.path)
    except InputError as error:
        raise InputError(str(error).replace(str(aside), str(source))) from error
    except OSError as error:
        raise StorageError(f"{place.path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return record


def _kept(place: _Place, number: int) -> Path:
    return place.path.with_name(f"{place.path.name}.replaced-{number}")


def _copy(place: _Place, source: Path, out: Path, told: dict[str, Any]) -> None:
    """Weights and configuration of the checkpoint; tokenizer and template of the run, unless it scores."""
    index = [source / "model.safetensors.index.json"]
    beside = [source / name for name in _BESIDE]
    rewards = learns_reward(place.stage)
    words = [*source.glob("tokenizer*"), *source.glob("special_tokens_map.json"), *source.glob("chat_template*")]
    for file in [*model_files(source), *index, *beside, *(words if rewards else ())]:
        if file.is_file():
            shutil.copyfile(file, out / file.name)
    if not rewards:
        tokenizer = load_tokenizer(place.own, place.revision)
        if told["renders"] is not None:
            tokenizer.chat_template = told["renders"]
        tokenizer.save_pretrained(out)
    ends = Path(place.own) / "generation_config.json"
    if not rewards and ends.is_file() and not (out / ends.name).exists():
        shutil.copyfile(ends, out / ends.name)
    if told["kind"] == "adapter":
        config = json.loads((out / adapters.CONFIG).read_text("utf-8"))
        config["base_model_name_or_path"] = (
            str(Path(told["base"]).resolve()) if os.path.isdir(told["base"]) else told["base"]
        )
        config["revision"] = place.revision
        write_json(out / adapters.CONFIG, config)
