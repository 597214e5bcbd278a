from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


def register_starters(using: str, **_: Any) -> None:
    """After each `migrate`, unless that took the table away."""
    from webapp.catalog.models import ModelVersion

    if ModelVersion._meta.db_table in connections[using].introspection.table_names():
        ModelVersion.register_starters()


class CatalogConfig(AppConfig):
    name = "webapp.catalog"

    def ready(self) -> None:
        post_migrate.connect(register_starters, sender=self, dispatch_uid="catalog.starters")
