"""A model whose weights, gradients and optimiser state are spread over several processes (FSDP2).

Each decoder layer is one part and all else another. A part is gathered when a pass comes to it and let go of after it,
and its gradient is summed where its share lies, in every pass: that is what keeps memory small. So no pass may be read
past the module that is spread: `spread` gives the one that every pass has to go through.

States are saved whole, as those of one process are, so that a training may go on with another number of them; the
first process alone ever holds one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

__all__ = ["SMALL", "Passes", "spread", "spread_like", "weights", "whole"]


SMALL = 1024
"""Floats in a tensor of a state that every process may hold whole."""


class Passes(nn.Module):
    """What every pass of a spread model goes through, whatever is read in it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """What `read` says of the arguments, all weights outside the layers being there."""
        return read(*arguments)


def spread(module: nn.Module, device: torch.device) -> nn.Module:
    """Spread a module's weights, wherever they are, over the devices of all processes."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    passes = Passes(module)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for part in module.modules():
        if isinstance(part, GradientCheckpointingLayer):  # what transformers calls a layer
            fully_shard(part, mesh=mesh)
    # let go of after each pass too: weights that change between two passes would not be seen by the second
    fully_shard(passes, mesh=mesh, reshard_after_forward=True)
    return passes


def whole(value: Any, wanted: bool = True) -> Any:
    """A state with every spread tensor put together on the CPU.

    All processes have to ask; who does not want it, for the room that it takes, has None in the tensors' places.
    """
    if isinstance(value, dict):
        return {name: whole(each, wanted) for name, each in value.items()}
    if isinstance(value, list):
        return [whole(each, wanted) for each in value]
    if not hasattr(value, "full_tensor"):
        return value
    found = value.full_tensor()
    return found.cpu() if wanted else None


def weights(module: nn.Module, wanted: bool = True) -> dict[str, Any]:
    """A module's state, put together as `whole` does; what is one weight under two names stays one."""
    same = {name: id(each) for name, each in module.named_parameters(remove_duplicate=False)}
    found: dict[Any, Any] = {}
    for name, value in (state := module.state_dict()).items():
        at = same.get(name, name)
        found[at] = found[at] if at in found else whole(value, wanted)
        state[name] = found[at]
    return state


def spread_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Share a tensor of the first process out, where the parameter is spread and of its shape; else the tensor."""
    if not hasattr(parameter, "full_tensor") or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    mesh = parameter.device_mesh
    here = torch.empty_like(value, device=mesh.device_type) if value.is_meta else value.to(mesh.device_type)
    return distribute_tensor(here, mesh, parameter.placements)
