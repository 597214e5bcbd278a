from django.urls import path

from webapp.work import views

app_name = "work"
urlpatterns = [path("", views.workers, name="list")]
