"""What this machine offers: asked without torch, which the workers' parents never import."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil


@cache
def gpus() -> list[dict[str, Any]]:
    """[{"name", "memory_mb"}]"""
    if not (program := shutil.which("nvidia-smi")):
        return []
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    found = [line.rsplit(",", 1) for line in lines if "," in line]
    return [{"name": name.strip(), "memory_mb": int(memory)} for name, memory in found if memory.strip().isdigit()]


def cores() -> int:
    return len(os.sched_getaffinity(0))


def trainer_threads() -> int:
    """All cores but one, which is left to the web and to answers; a GPU's feeders may have all."""
    return cores() if gpus() else max(cores() - 1, 1)


def device() -> dict[str, Any]:
    """For the list of workers."""
    if found := gpus():
        return {"kind": "cuda", "name": found[0]["name"], "count": len(found), "memory_mb": found[0]["memory_mb"], "threads": cores()}
    memory_mb = psutil.virtual_memory().total // 2**20
    return {"kind": "cpu", "name": processor(), "threads": trainer_threads(), "memory_mb": memory_mb}


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def memory() -> int:
    """Bytes that all processes here may have together: the machine's, or those of our container where they are fewer."""
    total: int = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def trainer_memory(wished: int) -> int:
    """Bytes that one trainer may take: those of the setting, else three quarters of what there is."""
    return wished or memory() * 3 // 4


def serving_memory(weights: int) -> int:
    """Bytes that a serving process may take which keeps so many bytes of `weights`: twice as many while one is opened or moves
    to a faster engine, and room for the answers."""
    return min(2 * weights + 4 * 2**30, memory() * 3 // 4)


def kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since the start."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("oom_kill ")))
    return 0


def limit_memory(most: int) -> None:
    """From now on this process fails by itself where it asks for more than `most` bytes, before the kernel has to choose whom to
    kill. Not where there is a GPU: its driver reserves more than there is, and the supervisor watches instead."""
    if most and sys.platform == "linux" and not gpus():
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def ran_out(problem: BaseException) -> bool:
    """Whether it says that there was not enough memory, of the machine or of a GPU."""
    words = str(problem).lower()
    return isinstance(problem, MemoryError) or any(said in words for said in ("out of memory", "allocate memory", "bad alloc", "bad_alloc"))


def has_memory_for_a_spare(needed_mb: int = 1_500) -> bool:
    return bool(psutil.virtual_memory().available // 2**20 >= needed_mb)
