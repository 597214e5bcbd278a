"""The playground in Chromium, in the shape of every kind of answer: real pages and elements, a server that says what a model would."""

import json

import pytest

from tests.browser.desk import ANSWERS, DOCUMENT, GREETING, NOTHING, PASSAGE, STORY, TASKS, Desk, models
from webapp.playground.models import Prediction
from worker.nlp import TASKS as KNOWN

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(autouse=True, scope="module")
def rows_beside_playwright():
    """Playwright's event loop stands in this thread; Django would refuse it the database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture
def made(team, tmp_path, monkeypatch):
    for slug, task in TASKS.items():
        monkeypatch.setitem(KNOWN, slug, task)
    return models(team, tmp_path)


@pytest.fixture
def desk(alice, made):
    with Desk(alice) as desk:
        yield desk


@pytest.fixture
def tab(desk, browser):
    """A wide page; nothing may appear in its console."""
    tab = browser.new_page(base_url=desk.base, viewport=WIDE)
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda m: m.type == "error" and "Failed to load resource" not in m.text and errors.append(m.text))
    yield tab
    assert not errors, errors


def take_the_example(tab, address):
    tab.goto(address)
    tab.locator("try-it .chip").first.click()
    tab.locator("[data-answer]:visible").first.wait_for()
    settled(tab)


def settled(tab):
    """Nobody is being asked any more."""
    tab.wait_for_selector("model-reply[aria-busy]", state="detached")


def on_desk(made, name, *others):
    return f"/playground/?model={made[name].pk}" + "".join(f"&with={getattr(made.get(other), 'pk', other)}" for other in others)


@pytest.mark.parametrize("slug", TASKS)
def test_every_kind_of_answer_is_drawn_wide_and_on_a_phone(slug, tab, made, accessible):
    take_the_example(tab, on_desk(made, slug))
    assert (ANSWERS[slug].get("text") or ANSWERS[slug]["answer"]) in tab.locator("model-reply").inner_text()
    assert "18 ms" in tab.locator("[data-latency]").inner_text()
    accessible(tab)
    tab.set_viewport_size(NARROW)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.emulate_media(color_scheme="dark")
    accessible(tab)


@pytest.mark.parametrize("slug", TASKS)
def test_the_same_drawing_stands_beside_a_model(slug, tab, made, accessible):
    take_the_example(tab, f"/models/{made[slug].pk}/")
    assert tab.locator("aside [data-answer]").is_visible() and tab.get_by_role("link", name="Open in playground").is_visible()
    accessible(tab)


# --- answers --------------------------------------------------------------------------------------------------------------


def test_a_translation_names_its_languages_shows_other_versions_and_is_swapped(tab, desk, made):
    take_the_example(tab, on_desk(made, "toy_translation"))
    assert tab.locator("[data-language]").all_inner_texts() == ["English", "Chinese"]
    assert not tab.locator("[data-foreign]").is_visible() and not tab.locator("[data-cut]").is_visible()
    assert tab.locator("[data-list] li").all_inner_texts() == ["各位早安。\n0.64"]
    desk.answers["toy_translation"] = {
        "text": GREETING,
        "source_lang": "zh",
        "target_lang": "en",
        "n_best": [],
        "seen_lang": "en",
        "cut": 0,
    }
    tab.get_by_role("button", name="Swap the languages").click()
    tab.locator(".written").get_by_text(GREETING).wait_for()
    assert desk.asked[-1][1]["inputs"] == {"source": "大家早上好。"} and desk.asked[-1][1]["parameters"] == {"direction": "back"}
    assert tab.locator("[data-language]").all_inner_texts() == ["Chinese", "English"]
    assert tab.locator("[data-foreign]").inner_text() == "This looks like English; the model was trained on Chinese."


def test_chosen_sentences_are_marked_in_the_document_by_characters(tab, made):
    take_the_example(tab, on_desk(made, "toy_summary"))
    assert DOCUMENT.startswith("😀")
    assert tab.locator("[data-marks] mark").all_inner_texts() == ["Boats came in at dawn.", "By noon the market was full."]
    assert "Chosen sentences: 2. 51 characters, 50 % of the document" in tab.locator("model-reply").inner_text()
    assert tab.locator("[data-cut]").inner_text() == "The text is too long for the model and was cut. Tokens cut: 120."
    tab.locator("textarea").press("End")
    tab.keyboard.type(" More.")
    assert tab.locator("[data-marks] mark").count() == 0


def test_an_answer_is_marked_in_its_passage_and_another_one_when_it_is_pressed(tab, made):
    take_the_example(tab, on_desk(made, "toy_span"))
    passage = tab.locator("[data-text]")
    assert passage.inner_text() == PASSAGE.strip() or passage.text_content() == PASSAGE
    assert passage.locator("mark").inner_text() == "1987" and passage.locator("mark").is_visible()
    assert passage.evaluate("box => box.scrollTop") > 0
    tab.get_by_role("button", name="after the flood").click()
    assert passage.locator("mark").inner_text() == "after the flood"
    assert tab.locator("[data-rank][aria-pressed=true]").inner_text() == "after the flood\n0.07"


def test_no_answer_is_an_answer(tab, desk, made):
    desk.answers["toy_span"] = NOTHING
    take_the_example(tab, on_desk(made, "toy_span"))
    assert tab.locator(".found").inner_text() == "No answer 0.90"
    assert tab.get_by_text("The model found no answer in the passage.").is_visible() and tab.locator("mark").count() == 0


def test_a_text_grows_while_it_is_written_and_tells_of_each_token(tab, desk, made):
    desk.pause_s = 0.2
    tab.goto(on_desk(made, "toy_stream"))
    tab.locator("try-it .chip").first.click()
    tab.locator(".written").get_by_text("Once upon").wait_for()
    assert tab.locator("[data-stop]").is_visible() and not tab.locator("[data-ask]").is_visible()
    tab.locator("[data-speed]").wait_for()
    assert tab.locator(".written").text_content() == STORY
    assert tab.locator("[data-speed]").inner_text().startswith("First token after 42 ms, then 61.5 tokens/s. 4 tokens read, 7 written.")
    tab.locator("[data-token]").nth(5).hover()
    assert tab.locator("[data-tip] .bar").all_inner_texts() == [" the\n0.47", " fox\n0.05"]
    tab.locator("[data-token]").first.focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("[data-token]:focus").inner_text() == " upon" and "0.99" in tab.locator("[data-tip]").inner_text()
    tab.get_by_label("Highlight unlikely tokens").check()
    assert "heat" in tab.locator(".written").get_attribute("class")


def test_escape_stops_a_text_and_the_server_hears_of_it(tab, desk, made):
    desk.pause_s = 0.4
    tab.goto(on_desk(made, "toy_stream"))
    tab.locator("textarea").fill("Tell me.")
    tab.keyboard.press("Control+Enter")
    tab.locator(".written").get_by_text("Once").wait_for()
    tab.keyboard.press("Escape")
    assert tab.locator("[data-ask]").is_visible() and tab.locator("[data-speed]").inner_text() == "Stopped."
    assert desk.left.wait(10)
    assert STORY not in tab.locator(".written").text_content()
    tab.locator("[data-token]").first.hover()  # what was written is still told of, and can be copied
    assert tab.locator("[data-tip] .bar").count() > 0
    assert tab.get_by_role("button", name="Copy").is_visible() and not tab.locator("[data-link]").is_visible()


# --- parameters and inputs ------------------------------------------------------------------------------------------------


def test_only_changed_parameters_are_sent_and_idle_ones_are_grey(tab, desk, made):
    take_the_example(tab, on_desk(made, "toy_translation"))
    assert "parameters" not in desk.asked[-1][1]
    tab.get_by_role("spinbutton", name="Length penalty").fill("1.5")
    assert tab.locator("input[type=range][data-number=length_penalty]").input_value() == "1.5"
    assert tab.locator("span[data-changed]").inner_text() == "1 changed"
    tab.get_by_role("slider", name="Beams").fill("1")
    assert tab.get_by_role("spinbutton", name="Length penalty").is_disabled()
    tab.locator("textarea").press("Control+Enter")
    settled(tab)
    assert desk.asked[-1][1]["parameters"] == {"beams": 1}
    tab.get_by_role("button", name="Reset to defaults").click()
    assert tab.get_by_role("spinbutton", name="Beams").input_value() == "4" and tab.locator("span[data-changed]").inner_text() == ""


def test_an_optional_input_stands_there_for_models_that_use_it(tab, made):
    tab.goto(on_desk(made, "toy_text"))
    assert tab.locator("try-it textarea").count() == 2
    (made["toy_text"].path / "config.json").write_text("{}")
    tab.reload()
    tab.locator("try-it textarea").wait_for()
    assert tab.locator("try-it textarea").count() == 1


def test_the_code_has_the_changed_parameters_and_a_streaming_variant(tab, made):
    tab.goto(on_desk(made, "toy_stream"))
    tab.locator("textarea").fill("It's")
    tab.get_by_label("Say the prompt again").check()
    tab.get_by_role("button", name="View code").click()
    code = tab.locator("[data-code]").all_inner_texts()
    assert len(code) == 5
    assert '"parameters": {"echo": True}' in code[1] and '"parameters":{"echo":true}' in code[2]
    for python in (code[1], code[3]):
        compile(python, "shown", "exec")
    assert "text/event-stream" in code[3] and "curl -N" in code[4]


# --- beside each other ----------------------------------------------------------------------------------------------------


def test_models_are_compared_on_one_question_and_what_differs_is_marked(tab, desk, made, accessible):
    desk.answers["toy_translation other"] = {**ANSWERS["toy_translation"], "text": "大家晚上好。"}
    take_the_example(tab, on_desk(made, "toy_translation"))
    tab.get_by_text("Compare", exact=True).click()
    tab.get_by_role("searchbox", name="Find a model to compare with").fill("other")
    tab.keyboard.press("Enter")
    tab.locator("model-reply").nth(1).locator(".written").get_by_text("大家晚上好。").wait_for()
    assert tab.url.endswith(on_desk(made, "toy_translation", "toy_translation other"))
    tab.get_by_text("Compare", exact=True).click()
    tab.get_by_role("link", name="The untuned base model").click()
    assert tab.url.endswith("&with=base")
    tab.locator("model-reply").nth(2).locator(".written").wait_for()
    asked = len(desk.asked)
    tab.locator("[data-ask]").click()
    settled(tab)
    assert sorted((name, question["untuned"]) for name, question in desk.asked[asked:]) == [
        ("toy_translation", False),
        ("toy_translation", True),
        ("toy_translation other", False),
    ]
    tab.get_by_label("Show differences").check()
    other = tab.locator("model-reply").nth(1)
    assert other.locator("del").all_inner_texts() == ["早"] and other.locator("ins").all_inner_texts() == ["晚"]
    accessible(tab)
    tab.get_by_label("Show differences").uncheck()
    assert other.locator("ins").count() == 0
    tab.reload()
    assert tab.locator("model-reply").count() == 3
    assert tab.locator("textarea").input_value() == GREETING  # what was written is still there
    for _ in range(2):
        tab.get_by_role("button", name="Remove from comparison").first.click()
    assert tab.url.endswith(on_desk(made, "toy_translation")) and not tab.locator("[data-head]").is_visible()


def test_one_model_that_fails_leaves_the_others_their_answers(tab, desk, made):
    tab.route(
        "**/predictions",
        lambda route: (
            route.fulfill(status=503, json={"detail": "Nobody is there."})
            if str(made["toy_text other"].pk) in route.request.url
            else route.continue_()
        ),
    )
    tab.goto(on_desk(made, "toy_text", "toy_text other"))
    tab.locator("textarea").first.fill("Anything.")
    tab.locator("[data-ask]").click()
    tab.locator("model-reply").nth(1).get_by_text("Nobody is there.").wait_for()
    assert tab.locator("model-reply").first.locator(".written").inner_text() == "An answer."
    tab.unroute("**/predictions")
    tab.get_by_role("button", name="Try again").click()
    tab.locator("model-reply").nth(1).locator(".written").get_by_text("An answer.").wait_for()


def test_one_model_is_asked_again_while_another_one_goes_on_writing(tab, desk, made):
    desk.pause_s = 0.4
    other = str(made["toy_stream other"].pk)
    tab.route("**/predictions", lambda route: route.abort() if other in route.request.url else route.continue_())
    tab.goto(on_desk(made, "toy_stream", "toy_stream other"))
    tab.locator("textarea").fill("Tell me.")
    tab.keyboard.press("Control+Enter")
    tab.get_by_role("button", name="Try again").wait_for()
    tab.unroute("**/predictions")
    tab.get_by_role("button", name="Try again").click()
    assert tab.locator("[data-stop]").is_visible()
    for reply in tab.locator("model-reply").all():
        reply.locator("[data-speed]").get_by_text("tokens/s").wait_for()
        assert reply.locator(".written").text_content() == STORY
    settled(tab)


def test_a_model_says_whether_it_is_loaded_and_is_once_it_has_answered(tab, made):
    tab.goto(on_desk(made, "toy_text"))
    state = tab.locator(".toolbar .about [data-warm]")
    assert state.inner_text() == "not loaded"
    tab.locator("try-it .chip").first.click()
    settled(tab)
    assert state.inner_text() == "loaded"


def test_words_and_chinese_characters_are_told_apart(tab, made):
    tab.goto(on_desk(made, "toy_text"))
    found = tab.evaluate("""async () => {
      const { diff } = await import("lib/diff")
      const told = (a, b) => diff(a, b).map(part => [part.kind, part.text])
      return [told("a quick fox", "a slow fox runs"), told("他很好", "她很好"), told("", "new"), told("same", "same"), told("x ".repeat(3000), "y ".repeat(3000)).length]
    }""")
    assert found[0] == [["same", "a "], ["gone", "quick"], ["new", "slow"], ["same", " fox"], ["new", " runs"]]
    assert found[1] == [["gone", "他"], ["new", "她"], ["same", "很好"]]
    assert found[2:4] == [[["new", "new"]], [["same", "same"]]] and found[4] >= 2


# --- models, tabs, shared questions ---------------------------------------------------------------------------------------


def test_a_model_is_found_by_typing_and_what_was_written_stays(tab, made):
    tab.goto(on_desk(made, "toy_text"))
    tab.locator("textarea").first.fill("Keep me.")
    tab.locator("model-picker summary").first.click()
    tab.locator("model-picker input:focus").wait_for()
    tab.keyboard.type("nonsense")
    assert tab.locator("model-picker").first.get_by_text("No model matches.").is_visible()
    tab.locator("model-picker input:focus").fill("text other")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**{on_desk(made, 'toy_text other')}")
    assert tab.locator("model-picker summary").first.inner_text().strip() == "toy_text other"
    assert tab.locator("textarea").first.input_value() == "Keep me."


def test_a_task_without_a_model_leads_to_data(tab, made, accessible):
    tab.goto("/playground/?task=classification")
    assert tab.get_by_role("link", name="Add data").is_visible() and "text,label" in tab.locator(".sample").inner_text()
    accessible(tab)


def test_a_shared_question_stands_there_as_it_was_answered_and_is_asked_again(tab, desk, made, alice, team, accessible):
    model = made["toy_translation"]
    asked = Prediction.objects.create(
        team=team,
        created_by=alice,
        model=model,
        inputs={"source": GREETING},
        parameters={"beams": 2},
        answer=ANSWERS["toy_translation"],
        latency_ms=31.0,
        state="done",
    )
    tab.goto(on_desk(made, "toy_translation"))
    tab.get_by_role("button", name="History").click()
    tab.get_by_role("link", name="Link").click()
    tab.wait_for_url(f"**/playground/predictions/{asked.pk}/")
    tab.locator(".written").get_by_text("大家早上好。").wait_for()
    assert tab.locator("textarea").input_value() == GREETING and tab.get_by_role("spinbutton", name="Beams").input_value() == "2"
    assert tab.locator("[data-latency]").inner_text() == "31 ms" and not desk.asked
    accessible(tab)
    tab.get_by_role("button", name="Ask again").click()
    tab.locator("[data-latency]").get_by_text("18 ms").wait_for()
    assert desk.asked == [("toy_translation", {"inputs": {"source": GREETING}, "parameters": {"beams": 2}, "untuned": False})]


def test_a_question_of_the_past_fills_fields_and_parameters(tab, desk, made, alice, team):
    model = made["toy_span"]
    question = {"question": "Who?", "context": "The mayor."}
    Prediction.objects.create(
        team=team, created_by=alice, model=model, inputs=question, parameters={"n_best": 7}, answer=NOTHING, latency_ms=1, state="done"
    )
    tab.goto(on_desk(made, "toy_span"))
    tab.get_by_role("button", name="History").click()
    tab.locator(".past [data-again]").click()
    tab.locator(".found").wait_for()
    assert json.dumps(desk.asked[-1][1], sort_keys=True) == json.dumps(
        {"inputs": question, "parameters": {"n_best": 7}, "untuned": False}, sort_keys=True
    )


@pytest.mark.parametrize(("unknown", "said"), [(0.82, "82 % of it means nothing to the model"), (0.01, "")])
def test_what_the_model_cannot_read_is_said_beside_its_answer(tab, made, desk, unknown, said):
    desk.answers["toy_text"] = {"text": "An answer.", "cut": 0, "unknown": unknown}
    take_the_example(tab, on_desk(made, "toy_text"))
    assert tab.locator("[data-unknown]").is_visible() == bool(said) and said in tab.locator("[data-unknown]").text_content()


RUNS_LEFT = """() => [...document.querySelectorAll("try-it *")]
  .filter(each => [...each.childNodes].some(node => node.nodeType === 3 && /[\u0590-\u08ff]/.test(node.data)) || /[\u0590-\u08ff]/.test(each.value ?? ""))
  .filter(each => each.checkVisibility() && !each.closest("option"))
  .map(each => [each.localName, getComputedStyle(each).direction])"""


@pytest.mark.parametrize("slug", TASKS)
def test_arabic_questions_and_answers_run_from_right_to_left(slug, tab, made, desk):
    text, other = "هذا كتاب جيد جدا", "كتاب ممتاز"
    found = {"answer": text, "start": 0, "end": len(text), "score": 0.8}
    desk.answers[slug] = {
        "toy_translation": {"text": text, "n_best": [{"text": text, "score": 0.8}, {"text": other, "score": 0.1}]},
        "toy_summary": {"text": text, "sentences": [], "ratio": 0.5},
        "toy_span": {**found, "no_answer": False, "no_answer_score": 0, "n_best": [found, {**found, "answer": other, "end": len(other)}]},
        "toy_stream": {
            "text": text,
            "tokens": [{"text": text, "p": 0.5, "top": [[text, 0.5], [other, 0.4]]}],
            "finish": "end",
            "first_ms": 1,
        },
        "toy_text": {"text": text},
    }[slug]
    tab.goto(on_desk(made, slug))
    for field in tab.locator("try-it form [data-most]").all():
        field.fill(f"{text} {other}")
    tab.locator("[data-ask]").click()
    tab.locator("[data-answer]:visible").first.wait_for()
    settled(tab)
    directions = tab.evaluate(RUNS_LEFT)
    assert len(directions) >= 2 and not [each for each in directions if each[1] != "rtl"]
