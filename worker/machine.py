"""What this machine offers: asked without torch, which the workers' parents never import."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
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


def has_memory_for_a_spare(needed_mb: int = 1_500) -> bool:
    return bool(psutil.virtual_memory().available // 2**20 >= needed_mb)
