from django.urls import path

from webapp.catalog import views

app_name = "catalog"
urlpatterns = [
    path("", views.models, name="list"),
    path("<uuid:pk>/", views.page, name="page"),
    path("<uuid:pk>/standing/", views.standing, name="standing"),
    path("<uuid:pk>/fetching/", views.fetching, name="fetching"),
    path("<uuid:pk>/deletion/", views.deletion, name="deletion"),
    path("<uuid:pk>/restoration/", views.restoration, name="restoration"),
    path("<uuid:pk>/download/", views.download, name="download"),
]
