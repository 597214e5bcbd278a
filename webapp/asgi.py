"""The web process: pages and API by Django, sockets by Channels, and in front of both what no request may exceed."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from django.core.asgi import get_asgi_application

pages = get_asgi_application()  # sets Django up, before anything imports a model

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from webapp.frontdoor import BodyLimit, SameOrigin  # noqa: E402
from webapp.routing import websocket_urlpatterns  # noqa: E402

sockets = SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
application = BodyLimit(ProtocolTypeRouter({"http": pages, "websocket": sockets}))
