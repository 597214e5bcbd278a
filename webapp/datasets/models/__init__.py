"""Uploads, imports, datasets and their immutable versions."""

from webapp.datasets.models.dataset import PARTS, Dataset, task_called
from webapp.datasets.models.imports import Import, NotNow
from webapp.datasets.models.upload import ChecksumMismatch, TooLarge, Upload, WrongOffset
from webapp.datasets.models.version import DatasetVersion

__all__ = [
    "PARTS",
    "ChecksumMismatch",
    "Dataset",
    "DatasetVersion",
    "Import",
    "NotNow",
    "TooLarge",
    "Upload",
    "WrongOffset",
    "task_called",
]
