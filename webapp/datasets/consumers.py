"""The socket of one dataset: its progress and its state, as they happen."""

from __future__ import annotations

from typing import Any

from webapp.datasets.models import Dataset
from webapp.people.access import Actor, find
from webapp.people.sockets import Following


class DatasetConsumer(Following):
    def find(self, actor: Actor) -> tuple[Dataset, dict[str, Any]]:
        dataset: Dataset = find(actor, Dataset, self.scope["url_route"]["kwargs"]["pk"])
        dataset.give_up_dropped_work()
        return dataset, {"state": dataset.state}
