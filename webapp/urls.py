"""What people can do, as a list. API under /api/v1/, sockets in routing.py."""

from django.urls import include, path

urlpatterns = [
    path("", include("webapp.home.urls")),
    path("", include("webapp.people.urls")),
    path("datasets/", include("webapp.datasets.urls")),
    path("models/", include("webapp.catalog.urls")),
    path("runs/", include("webapp.runs.urls")),
    path("playground/", include("webapp.playground.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/mfa/", include("allauth.mfa.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
]
