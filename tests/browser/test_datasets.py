"""Data in a real browser, on the real stack: drop, map, look, search; cuts and hostile cells do no harm."""

import pytest

from tests.datasets.cast import LABELS, WORDS

pytestmark = pytest.mark.browser
DROP = """async ([name, text]) => {
  const data = new DataTransfer()
  data.items.add(new File([text], name, {type: "text/csv"}))
  for (const type of ["dragover", "drop"])
    document.querySelector("h1").dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}))
}"""
PAYLOADS = [
    "<script>window.__pwned=1</script>",
    "<img src=x onerror=window.__pwned=1>",
    "{{constructor.constructor('window.__pwned=1')()}}",
]


def table(rows=60, more="", label=LABELS):
    lines = [f"The {WORDS[i % 10]} number {i} is what I expected,{label[i % 3]},{WORDS[i % 7]}" for i in range(rows)]
    return "\n".join(["text,label,product", *lines, more])


def arrived(page):
    page.wait_for_url("**/datasets/*-*/", timeout=30_000)


def test_a_file_dropped_anywhere_is_mapped_confirmed_and_looked_through(page, accessible):
    page.goto("/datasets/")
    accessible(page)
    page.evaluate(DROP, ["my reviews.csv", table(rows=260, more=",positive,lamp\n")])
    arrived(page)
    create = page.locator("[data-create]")
    create.wait_for(timeout=60_000)
    accessible(page)
    assert create.inner_text() == "Create version 1 (260 rows)"
    assert page.locator("[data-role]").evaluate_all("all => all.map(each => each.value)") == ["text", "label", ""]
    create.click()
    page.locator(".bars").wait_for(timeout=60_000)
    assert page.locator("table.rows tbody tr").count() == 100
    page.get_by_text("Majority class").wait_for(timeout=90_000)  # pushed by the socket, no reload by hand
    accessible(page)

    page.locator(".bars a").filter(has_text="neutral").click()
    page.wait_for_url("**label=neutral*")  # and the whole page: a click is over as soon as it begins to come
    assert page.locator("table.rows tbody tr").count() == 87
    page.fill("#q", "GARDEN number 13 ")
    page.keyboard.press("Enter")
    page.locator(".chip.on").filter(has_text="GARDEN").wait_for()
    page.locator(".chip.on").filter(has_text="neutral").click()
    page.locator(".chip.on").nth(1).wait_for(state="detached")

    page.goto(page.url.split("?")[0])
    row = page.locator("a[data-row]").nth(2)
    row.click()
    drawer = page.locator("dialog.drawer")
    drawer.get_by_role("heading", name="Row 4").wait_for()
    link = page.url
    assert "/rows/2/" in link
    drawer.get_by_text("Next").click()
    page.wait_for_url("**/rows/3/")
    page.keyboard.press("Escape")
    drawer.wait_for(state="hidden")
    page.wait_for_url("**/datasets/*-*/")
    page.goto(link)
    assert page.get_by_role("heading", name="Row 4").is_visible()
    assert page.errors == []


def test_an_upload_goes_on_after_a_cut_and_a_reload(page, tmp_path):
    offsets, cut = [], {"after": 3}

    def patched(route, request):
        if request.method == "PATCH":
            if cut["after"] <= 0:
                return route.abort("connectionreset")
            cut["after"] -= 1
            offsets.append(int(request.headers["upload-offset"]))
        return route.continue_()

    page.route("**/datasets/uploads/*", patched)
    file = tmp_path / "long.csv"
    file.write_text(table(rows=9_000))
    page.goto("/datasets/")
    smaller = "document.querySelector('file-drop').dataset.chunk = 60_000"
    page.evaluate(smaller)
    page.set_input_files("[data-input]", file)
    page.locator("[data-state]").filter(has_text="Connection lost").wait_for(timeout=20_000)
    page.reload()
    assert page.get_by_text("Not finished").is_visible()
    assert "long.csv" in page.locator(".unfinished").inner_text()
    cut["after"], before = 10_000, len(offsets)
    page.evaluate(smaller)
    page.set_input_files("[data-input]", file)
    arrived(page)
    assert offsets[before] == 180_000  # the three pieces that had arrived are not sent again
    assert len(offsets) == len(set(offsets))
    page.locator(".bars").wait_for(timeout=60_000)
    assert "9,000" in page.locator(".facts").inner_text()


def test_three_files_get_their_parts_by_name(page):
    page.goto("/datasets/")
    files = [("dev.csv", 12), ("reviews-train.csv", 60), ("test.csv", 15)]
    page.set_input_files("[data-input]", [{"name": n, "mimeType": "text/csv", "buffer": table(rows).encode()} for n, rows in files])
    assert page.locator("select[data-part]").evaluate_all("all => all.map(each => each.value)") == ["validation", "train", "test"]
    page.locator("[data-start]").click()
    arrived(page)
    page.locator("[data-create], .bars").first.wait_for(timeout=60_000)
    if page.locator("[data-create]").count():
        page.locator("[data-create]").click()
        page.locator(".bars").wait_for(timeout=60_000)
    assert "train 60" in page.locator(".facts").inner_text()


def test_the_task_is_chosen_before_the_file_or_switched_behind_it(page, accessible):
    pairs = "\n".join(["one,two", *(f"I saw the {WORDS[i % 10]} number {i}.,Ich sah Nummer {i} am Abend." for i in range(40))])
    page.goto("/datasets/")
    page.select_option("select[name=task]", "summarization")
    page.evaluate(DROP, ["pairs.csv", pairs])
    arrived(page)
    page.locator("[data-create]").wait_for(timeout=60_000)
    assert page.locator("[data-task]").input_value() == "summarization"
    assert page.locator("[data-role]").evaluate_all("all => all.map(each => each.value)") == ["document", "summary"]
    switch = page.locator("[data-switch]")
    assert not switch.is_visible()
    page.select_option("[data-task]", "translation")
    switch.click()
    page.locator("[data-role]").first.wait_for(timeout=60_000)
    page.wait_for_function("document.querySelector('[data-task]')?.value === 'translation'", timeout=60_000)
    assert page.locator("[data-role]").evaluate_all("all => all.map(each => each.value)") == ["source", "target"]
    accessible(page)
    page.locator("[data-create]").click()
    page.locator("table.rows").wait_for(timeout=60_000)
    assert page.locator("table.rows thead").inner_text().splitlines()[2:] and page.get_by_text("Translation").first.is_visible()
    assert page.locator(".bars").count() == 0
    assert page.errors == []


def test_markup_in_names_cells_and_labels_stays_text(page):
    lines = [f'"{PAYLOADS[i % 3]} {i}","{PAYLOADS[i % 3]}",lamp' for i in range(60)]
    page.goto("/datasets/")
    content = "\n".join(["text,label,product", *lines, ",x,y\n"])
    page.evaluate(DROP, ["<img src=x onerror=window.__pwned=1>.csv", content])
    arrived(page)
    page.locator("[data-create], .bars").first.wait_for(timeout=60_000)
    if page.locator("[data-create]").count():
        page.locator("[data-create]").click()
        page.locator(".bars").wait_for(timeout=60_000)
    page.locator("a[data-row]").first.click()
    page.locator("dialog.drawer dd").first.wait_for()
    assert any(payload in page.locator("dialog.drawer").inner_text() for payload in PAYLOADS)
    page.goto("/datasets/")
    assert page.evaluate("window.__pwned") is None
    assert page.errors == []


def test_a_broken_file_says_why_and_another_one_mends_it(page, accessible):
    page.goto("/datasets/")
    page.set_input_files("[data-input]", {"name": "empty.csv", "mimeType": "text/csv", "buffer": b"text,label\n"})
    arrived(page)
    page.get_by_text("Try another file").wait_for(timeout=60_000)
    accessible(page)
    page.set_input_files("[data-input]", {"name": "good.csv", "mimeType": "text/csv", "buffer": table().encode()})
    page.locator(".bars").wait_for(timeout=60_000)
    assert page.errors == []


def test_a_template_is_written_with_columns_at_hand_and_shows_what_it_makes(page, accessible):
    page.goto("/datasets/")
    rows = [f"Case {i},I saw the {WORDS[i % 10]} number {i} and it was as good as I had hoped.,{LABELS[i % 3]}" for i in range(60)]
    page.evaluate(DROP, ["cases.csv", "\n".join(["case,body,label", *rows, ",,positive", ""])])
    arrived(page)
    page.locator("[data-create]").wait_for(timeout=60_000)
    page.get_by_text("Join columns into one text").click()
    accessible(page)
    field = page.locator("template-field").first
    for column in ("case", "body"):
        field.locator(f"[data-column={column}]").click()
    assert field.locator("textarea").input_value() == "{case}\n\n{body}"
    assert field.locator("pre").inner_text() == f"Case 0\n\nI saw the {WORDS[0]} number 0 and it was as good as I had hoped."
    field.locator("textarea").fill("Label: {label}\n{nothing}")
    assert not field.locator("pre").is_visible()
    field.locator("textarea").fill("{case}: {body}")
    assert page.locator("[data-create]").inner_text() == "Create version 1"
    page.locator("[data-create]").click()
    page.get_by_text(f"Case 0: I saw the {WORDS[0]}").first.wait_for(timeout=60_000)
