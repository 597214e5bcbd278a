"""What the shell around every page needs: the theme, where we are, and the import map."""

from datetime import datetime

from django.conf import settings
from django.http import HttpRequest
from django.template import Library
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.timezone import now
from django.utils.translation import gettext as _

from webapp.people.access import WRITE

register = Library()
VENDOR = {"uplot": "vendor/uPlot.esm.js", "tus": "vendor/tus.js"}  # static/package.json brings them


@register.filter
def theme(request: HttpRequest | None) -> str:
    """The theme that the person chose, or nothing: then the system decides. Written by the server, so nothing flashes."""
    chosen = request.COOKIES.get("theme", "") if request else ""
    return chosen if chosen in ("light", "dark") else ""


@register.filter
def may_write(request: HttpRequest | None) -> bool:
    """Whether the one who looks may add things to the team whose lists are shown."""
    actor = getattr(request, "actor", None)
    return bool(actor and actor.may(WRITE, actor.team_id))


@register.simple_tag
def here(request: HttpRequest | None, path: str) -> str | SafeString:
    """Marks the entry of the rail that the page belongs to."""
    if request is None or (request.path != path if path == "/" else not request.path.startswith(path)):
        return ""
    return format_html(' aria-current="{}"', "page")


@register.filter
def modules(_nothing: str) -> list[tuple[str, str]]:
    """The import map: our js/lib by name, and what others made. A vendor file not fetched yet is left out."""
    root = settings.ROOT / "static"
    own = {f"lib/{path.stem}": f"js/lib/{path.name}" for path in sorted((root / "js/lib").glob("*.js"))}
    fetched = {name: path for name, path in VENDOR.items() if (root / path).exists()}
    return [(name, static(path)) for name, path in (own | fetched).items()]


@register.simple_tag
def when(moment: datetime | None) -> str | SafeString:
    """As "3 hours ago"; the exact time stands in `datetime`, and shell.js shows it on hover in the reader's own zone."""
    if moment is None:
        return ""
    age = now() - moment
    words = _("just now") if age.total_seconds() < 60 else _("%(span)s ago") % {"span": timesince(moment, depth=1)}
    return format_html('<time datetime="{}" data-ago>{}</time>', moment.isoformat(), words)


@register.simple_tag
def registration_is_open() -> bool:
    return bool(settings.REGISTRATION_OPEN)


@register.filter
def device(user_agent: str) -> str:
    """A browser as people call it, e.g. "Firefox on Linux"; a program by its first word."""
    browsers = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
    systems = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac OS": "macOS", "Linux": "Linux"}
    browser = next((name for mark, name in browsers.items() if mark in user_agent), "")
    system = next((name for mark, name in systems.items() if mark in user_agent), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or user_agent.partition("/")[0][:40] or _("Unknown")
