"""A model card is drawn for people, and nothing of it is ever markup."""

import pytest

from tests.runs import made
from webapp.catalog.card import Block, blocks

CARD = """---
license: mit
language: [en]
---
# A model

Fine-tuned from **base** with <script>alert(1)</script> and a [link](https://example.com).

| metric | value |
|---|---|
| F1 | 0.9 |

* one
* two `code`

```
pip install
```
"""


def test_a_card_becomes_blocks_without_its_head():
    assert blocks(CARD) == [
        Block("heading", "A model"),
        Block("paragraph", "Fine-tuned from base with <script>alert(1)</script> and a link."),
        Block("table", rows=[["metric", "value"], ["F1", "0.9"]]),
        Block("list", rows=["one", "two code"]),
        Block("code", "pip install\n"),
    ]


@pytest.mark.parametrize("card", ["", "---", "---\nnever ends", "| broken | table", "> > > deep", "* " * 500, "[" * 5_000])
def test_any_text_is_a_card(card):
    blocks(card)


@pytest.mark.django_db
def test_the_page_of_a_model_draws_its_card(signed_in, alice, team, settings):
    folder = settings.FILES / "models" / "with-card"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    model = made.base(name="mine", kind="hub", team=team, folder="models/with-card")
    page = signed_in(alice).get(f"/models/{model.pk}/").content.decode()
    assert "license: mit" not in page and "|---|" not in page
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page and "example.com" not in page
    assert '<td dir="auto">0.9</td>' in page
