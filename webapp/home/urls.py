from django.urls import path

from webapp.home import health, views

app_name = "home"
urlpatterns = [
    path("", views.page, name="page"),
    path("now/", views.now_running, name="now"),
    path("healthz/live", health.live, name="live"),
    path("healthz/ready", health.ready, name="ready"),
    path("healthz/deep", health.deep, name="deep"),
]
