"""Lists that people search, narrow, sort and page through. All of it stands in the address, so that a link shows the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest

LONGEST = 200  # characters of a search

Choices = Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class Filter:
    """One way to narrow a list: `name` in the address, a title, and by value the words for it and what it lets through."""

    name: str
    title: Any
    options: Mapping[str, tuple[Any, Q]]

    @property
    def choices(self) -> list[tuple[str, Any]]:
        return [(value, title) for value, (title, _which) in self.options.items()]


@dataclass(frozen=True)
class Listing:
    """One page of a list as the request asks for it; what it does not know it ignores."""

    page: Page[Any]
    q: str
    filters: Sequence[tuple[Filter, str]]  # with the value that is chosen, or ""
    sorts: Choices
    sort: str
    has_any: bool  # whether there is anything at all, narrowed or not
    kept: dict[str, str] = field(default_factory=dict)  # what the address says of it

    @classmethod
    def of(
        cls,
        request: HttpRequest,
        things: QuerySet[Any],
        *,
        search: Sequence[str],
        sorts: Mapping[str, tuple[Any, Any]],
        filters: Sequence[Filter] = (),
        per_page: int = 50,
        also: Any = None,
    ) -> Listing:
        """`search`: lookups of the texts in which every word must stand; `also` gives a further Q for a word. `sorts`: by name
        (words, what to order by), the usual one first."""
        given = request.GET
        q = given.get("q", "").replace("\0", "").strip()[:LONGEST]
        chosen = [(each, given.get(each.name, "") if given.get(each.name, "") in each.options else "") for each in filters]
        sort = given.get("sort", "") if given.get("sort", "") in sorts else next(iter(sorts))
        found = things
        for word in q.split():
            which = also(word) if also else Q()
            for lookup in search:
                which |= Q(**{f"{lookup}__icontains": word})
            found = found.filter(which)
        for each, value in chosen:
            if value:
                found = found.filter(each.options[value][1])
        page = Paginator(found.order_by(*sorts[sort][1]), per_page).get_page(given.get("page"))
        kept = {"q": q, **{each.name: value for each, value in chosen}, "sort": "" if sort == next(iter(sorts)) else sort}
        titles = [(name, title) for name, (title, _order) in sorts.items()]
        has_any = page.paginator.count > 0 or things.exists()
        return cls(page, q, chosen, titles, sort, has_any, {name: value for name, value in kept.items() if value})

    @property
    def is_narrowed(self) -> bool:
        return any(name != "sort" for name in self.kept)

    def address(self, **changes: Any) -> str:
        """The query of this list with changes; an empty value takes one away, and a changed list begins at its first page."""
        return "?" + urlencode({name: value for name, value in {**self.kept, **changes}.items() if value not in (None, "")})

    @property
    def before(self) -> str:
        return self.address(page=self.page.previous_page_number()) if self.page.has_previous() else ""

    @property
    def after(self) -> str:
        return self.address(page=self.page.next_page_number()) if self.page.has_next() else ""

    @property
    def chips(self) -> list[tuple[Any, str]]:
        """(what narrows the list, the address without it)."""
        words = [(f"“{self.q}”", self.address(q=""))] if self.q else []
        return words + [(each.options[value][0], self.address(**{each.name: ""})) for each, value in self.filters if value]
