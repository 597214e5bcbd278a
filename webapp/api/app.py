"""The public API, version 1: thin routers, one per app; the pages call the same verbs."""

from importlib import import_module
from importlib.util import find_spec

from django.conf import settings
from ninja import NinjaAPI

from webapp.api.door import Session, Token, guard

api = NinjaAPI(
    title="Tunebench",
    version=settings.VERSION,
    description="From your own labelled text to your own language model.",
    auth=[Token(), Session()],
    urls_namespace="api",
)
guard(api)
for name in ("people", "tasks", "datasets", "runs", "models"):
    if find_spec(f"webapp.api.{name}"):
        api.add_router("", import_module(f"webapp.api.{name}").router, tags=[name])
