"""What a user may set: pydantic models, read from YAML, `--set key=value` overrides and nothing else.

Every model forbids unknown keys and names the nearest valid one. Environment variables carry endpoints and keys, never
methods. The resolved settings are saved as ``config.yaml`` in every run directory.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Settings"]


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, defaults checked, field docstrings kept as descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)
