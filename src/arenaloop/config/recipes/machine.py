"""Settings of what a recipe runs on: the GPU and its speed, for the hours and the memory that a plan tells."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from arenaloop.config.base import Settings

__all__ = ["GPUS", "GPUSettings", "MachineSettings"]


class GPUSettings(Settings):
    """What one GPU has, by its data sheet."""

    name: str = "GPU"
    """what it is called"""
    memory: float = Field(gt=0)
    """10⁹ bytes"""
    tflops: float = Field(gt=0)
    """10¹² operations a second in bfloat16, dense matrices"""
    bandwidth: float = Field(gt=0)
    """10¹² bytes of its memory a second"""


GPUS = {
    name: GPUSettings(name=name, memory=memory, tflops=tflops, bandwidth=bandwidth)
    for name, memory, tflops, bandwidth in (
        ("l4", 24, 121, 0.3),
        ("rtx-4090", 24, 165, 1.008),
        ("l40s", 48, 362, 0.864),
        ("a100-40gb", 40, 312, 1.555),
        ("a100-80gb", 80, 312, 2.039),
        ("h100", 80, 989, 3.35),
        ("h200", 141, 989, 4.8),
        ("mi300x", 192, 1307, 5.3),
    )
}
"""Data sheets' figures of GPUs that are known by name (of those with several forms, the SXM one)."""


def _named(value: object) -> object:
    if not isinstance(value, str):
        return value
    known = GPUS.get(value.lower())
    if known is None:
        raise ValueError(f"{value!r} is not known; known: {', '.join(GPUS)}; or {{memory: …, tflops: …, bandwidth: …}}")
    return known


class MachineSettings(Settings):
    """What a recipe runs on, for `--dry-run`; what was measured in the run directory goes before it."""

    gpu: Annotated[GPUSettings | None, BeforeValidator(_named)] = None
    """the GPU of training and of answers that are written here: l4, rtx-4090, l40s, a100-40gb, a100-80gb, h100, h200,
    mi300x, or {name, memory, tflops, bandwidth}; null = unknown"""
    mfu: float = Field(0.4, gt=0, le=1)
    """share of the GPU's operations that training and reading prompts sustain"""
    mbu: float = Field(0.2, gt=0, le=1)
    """share of the bandwidth of the GPU's memory that writing answers sustains; servers' is several times as large"""
    parameters: float | None = Field(None, gt=0)
    """of the target; null = as its weights or its name say (Qwen2.5-0.5B)"""
    config: str | None = None
    """a directory with the target's config.json, for the memory; null = the target's own, or what its name says"""
    training_tflops: float | None = Field(None, gt=0)
    """10¹² floating-point operations a second that training sustains here; null = as `gpu` and `mfu` say"""
    sampling_tflops: float | None = Field(None, gt=0)
    """the same of sampling, which waits for memory and has a small part of it; null = as `gpu`, `mfu` and `mbu` say"""
    sampling_tokens: float | None = Field(None, gt=0)
    """tokens a second that are written here, all rows together and reading counted in; goes before the others"""
    call_seconds: float | None = Field(None, gt=0)
    """seconds of one call to a server; null = unknown"""
