from django.urls import path

from webapp.playground import views

app_name = "playground"
urlpatterns = [
    path("", views.page, name="page"),
    path("models/<uuid:pk>/try/", views.panel, name="try"),
    path("models/<uuid:pk>/history/", views.history, name="history"),
    path("predictions/", views.questions, name="questions"),
    path("predictions/<uuid:pk>/", views.prediction, name="prediction"),
]
