"""The sockets, as a list."""

from django.urls import path

from webapp.datasets.consumers import DatasetConsumer
from webapp.runs.consumers import RunConsumer

websocket_urlpatterns = [
    path("ws/runs/<uuid:pk>", RunConsumer.as_asgi()),
    path("ws/datasets/<uuid:pk>", DatasetConsumer.as_asgi()),
]
