"""The public API, version 1: thin routers, one per app; the pages call the same verbs."""

from django.conf import settings
from ninja import NinjaAPI

from webapp.api import datasets, models, people, runs, tasks
from webapp.api.docs import Docs
from webapp.api.door import Session, Token, guard

api = NinjaAPI(
    title="Tunebench",
    version=settings.VERSION,
    description="From your own labelled text to your own language model.",
    auth=[Token(), Session()],
    docs=Docs(),
    urls_namespace="api",
)
guard(api)
for room in (people, tasks, datasets, runs, models):
    api.add_router("", room.router, tags=[room.__name__.rpartition(".")[2]])
