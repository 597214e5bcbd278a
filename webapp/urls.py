"""What people can do, as a list. The API is under /api/v1/, sockets are in routing.py."""

from django.urls import include, path

from webapp.api.app import api

urlpatterns = [
    path("", include("webapp.home.urls")),
    path("", include("webapp.people.urls")),
    path("datasets/", include("webapp.datasets.urls")),
    path("models/", include("webapp.catalog.urls")),
    path("runs/", include("webapp.runs.urls")),
    path("workers/", include("webapp.work.urls")),
    path("playground/", include("webapp.playground.urls")),
    path("accounts/", include("webapp.people.allauth_urls")),
    path("api/v1/", api.urls),
]

handler500 = "webapp.home.views.broken"
