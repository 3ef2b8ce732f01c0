"""One process or many: who this process is, and how the model is shared among them.

`torchrun -m dizuo.train FOLDER` starts many; each holds a slice of every weight, gradient and optimizer state (FSDP2,
Zhao et al. 2023) and computes a slice of the batch.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class World:
    """This process among all."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the files."""
        return self.rank == 0


def join_world() -> World:
    """Reads what torchrun says in the environment, and connects: gloo on CPUs, NCCL on GPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(int(os.environ.get("RANK", "0")), size, device)


def leave_world(world: World) -> None:
    """Disconnects, where `join_world` connected."""
    if world.size > 1:
        dist.destroy_process_group()


def shard(model: nn.Module, world: World, dtype: torch.dtype) -> None:
    """Splits the model's weights among the processes, block by block, in place. Nothing to do in a world of one."""
    if world.size == 1:
        return
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mp_policy=policy)
    fully_shard(model, mp_policy=policy)


def add_up(world: World, *numbers: float) -> list[float]:
    """Each number summed over the processes."""
    if world.size == 1:
        return list(numbers)
    total = torch.tensor(numbers, dtype=torch.float64, device=world.device)
    dist.all_reduce(total)
    return total.tolist()


def any_of(world: World, flag: bool) -> bool:
    """Whether it is so in any process: all then act alike."""
    return flag if world.size == 1 else add_up(world, float(flag))[0] > 0


def wait_for_all(world: World) -> None:
    """Returns when every process has come here."""
    if world.size > 1:
        dist.barrier()


def whole_state(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    """Weights and optimizer state by name, unsharded, on the CPU of the first process (empty in others): the same from
    one process or many, so that either can go on from the other's checkpoint."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, states = get_state_dict(model, optimizers, options=options)
    return {"model": weights, "optimizer": states}


def restore_state(model: nn.Module, optimizers: list[torch.optim.Optimizer], state: dict[str, Any]) -> None:
    """Puts what `whole_state` returned back; every process has read it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    set_state_dict(
        model,
        optimizers,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=StateDictOptions(full_state_dict=True),
    )
