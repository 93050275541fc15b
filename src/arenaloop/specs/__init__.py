"""SPEC (text or mapping) → object: the only place that knows every kind of model, judge and data source.

A SPEC names its kind before the first colon: ``openai:gpt-4o``, ``http://127.0.0.1:8000/v1#qwen?key_env=MY_KEY``,
``hf:org/model``, ``file:answers.json``, ``sandbox:scholar``, or the path of a YAML file that holds the mapping. Nothing
is asked of a server and no weights are loaded here; files are opened when they are read. What recipes need to run is
loaded with `specs.recipes`, and not before.
"""

from arenaloop.specs.data import load_demonstrations, load_prompts
from arenaloop.specs.judges import judge
from arenaloop.specs.models import contestant, model, model_settings
from arenaloop.specs.panels import outside_sandbox, self_preference

__all__ = [
    "contestant",
    "judge",
    "load_demonstrations",
    "load_prompts",
    "model",
    "model_settings",
    "outside_sandbox",
    "self_preference",
]
