# mypy: disable-error-code="no-untyped-call"
"""Where the arithmetic happens. Accelerate finds the device and the precision; nothing else asks what machine this is."""

from __future__ import annotations

import os
import random
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator


def pick_device(wanted: str, threads: int, deterministic: bool) -> Accelerator:
    """A GPU computes in bf16 where it can; a processor always in fp32 (bf16 is many times slower there)."""
    use_cuda = wanted != "cpu" and torch.cuda.is_available()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    if use_cuda and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    precision = "bf16" if use_cuda and torch.cuda.is_bf16_supported() else "no"
    return Accelerator(cpu=not use_cuda, mixed_precision=precision)


def device_name(accelerator: Any) -> str:
    return torch.cuda.get_device_name() if accelerator.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def memory_mb() -> float:
    """What is in use now: on the GPU if there is one, else of this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.memory_allocated() / 2**20
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
