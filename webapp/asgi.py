"""The web process: pages and API by Django, sockets by Channels, and in front of both what no request may exceed."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from django.core.asgi import get_asgi_application

pages = get_asgi_application()  # sets Django up, before anything imports a model

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.urls import re_path  # noqa: E402
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware  # noqa: E402

from webapp import disk  # noqa: E402
from webapp.frontdoor import BodyLimit, SameOrigin, nowhere  # noqa: E402
from webapp.routing import websocket_urlpatterns  # noqa: E402

sockets = SameOrigin(AuthMiddlewareStack(URLRouter([*websocket_urlpatterns, re_path("", nowhere)])))  # type: ignore[arg-type]
application: Any = BodyLimit(ProtocolTypeRouter({"http": pages, "websocket": sockets}))
if settings.FORWARDED_ALLOW_IPS:  # else anybody would say where they come from
    application = ProxyHeadersMiddleware(application, settings.FORWARDED_ALLOW_IPS)
held = disk.held_open(settings.DATABASES["default"])
