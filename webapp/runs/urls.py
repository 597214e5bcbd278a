from django.urls import path

from webapp.runs import views

app_name = "runs"
urlpatterns = [
    path("", views.runs, name="list"),
    path("new/", views.new, name="new"),
    path("<uuid:pk>/", views.page, name="page"),
    path("<uuid:pk>/standing/", views.standing, name="standing"),
    path("<uuid:pk>/checkpoints/", views.checkpoints, name="checkpoints"),
    path("<uuid:pk>/checkpoints/<int:step>/", views.keeping, name="keeping"),
    path("<uuid:pk>/cancellation/", views.cancellation, name="cancellation"),
    path("<uuid:pk>/completion/", views.completion, name="completion"),
    path("<uuid:pk>/pause/", views.pause, name="pause"),
    path("<uuid:pk>/resumption/", views.resumption, name="resumption"),
    path("<uuid:pk>/name/", views.name, name="name"),
    path("<uuid:pk>/deletion/", views.deletion, name="deletion"),
    path("<uuid:pk>/restoration/", views.restoration, name="restoration"),
]
