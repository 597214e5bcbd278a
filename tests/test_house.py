"""The rules of the house, checked: who imports whom, what is never written, what a page must have."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = [path for folder in ("webapp", "worker") for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = [path for folder in ("elements", "lib") for path in (ROOT / "static/js" / folder).glob("*.js")]
SHEETS = sorted((ROOT / "static/css").glob("*.css"))


def short(path):
    return str(path.relative_to(ROOT))


def found(pattern, paths, but=()):
    """Every "file:line: text" that matches."""
    return [
        f"{short(path)}:{number}: {line.strip()}"
        for path in paths
        if short(path) not in but
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]


# --- who imports whom ----------------------------------------------------------------------------------------------------


def test_the_rooms_import_only_what_they_may():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_web_starts_without_torch(tmp_path):
    heavy = "{'torch', 'transformers', 'sklearn', 'scipy', 'peft', 'accelerate'}"
    code = f"import sys, webapp.asgi, webapp.urls; print(sorted({heavy} & set(sys.modules)))"
    environment = {"TUNEBENCH_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_every_migration_that_is_needed_is_written():
    done = subprocess.run(
        [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- what is never written -----------------------------------------------------------------------------------------------


def test_no_room_but_the_tasks_asks_which_task_this_is():
    outside = [path for path in PYTHON if "nlp" not in path.parts]
    assert not found(r"""\b(if|elif|case|match)\b.*\btask(\.slug)?\s*(==|!=|in)\s*[(\[{]*["'][a-z]""", outside)
    assert not found(r"""{%\s*(el)?if[^%]*\btask(\.slug)?\s*(==|!=|in)\s*["'][a-z]""", TEMPLATES)


def test_data_enters_a_page_as_text_only():
    assert not found(r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function", SCRIPTS)
    assert not found(r"\bmark_safe\(|@.*is_safe|SafeString\(", PYTHON)
    assert not found(r"\|\s*safe\b|{%\s*autoescape off", TEMPLATES)


def test_no_page_has_script_or_style_of_its_own():
    inline = r"""<style\b|\son\w+\s*=\s*["']|javascript:|hx-on|hx-vals=["']js:"""
    assert not found(inline, TEMPLATES)
    without_source = [line for line in found(r"<script\b", TEMPLATES) if "src=" not in line and 'type="importmap" nonce=' not in line]
    assert not [line for line in without_source if 'type="application/json"' not in line]


def test_nothing_runs_the_code_of_a_model():
    assert not found(r"trust_remote_code\s*=\s*True|weights_only\s*=\s*False|\btorch\.load\(|pickle\.loads?\(|\byaml\.load\(", PYTHON)


def test_no_celery_message_waits_for_a_time():
    assert not found(r"\b(eta|countdown)\s*=", [path for path in PYTHON if "trainer" not in path.parts])


def test_no_page_fetches_from_another_site():
    assert not found(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//(?!www\.w3\.org)""", [*TEMPLATES, *SCRIPTS, *SHEETS])


def test_what_is_written_for_spreadsheets_is_defused():
    assert not found(r"\bcsv\.(writer|DictWriter)\(|\bwrite_csv\(|\bto_csv\(", [p for p in PYTHON if p.name != "spreadsheet.py"])


def test_no_file_names_a_layer_instead_of_a_thing():
    named = {"services", "utils", "helpers", "core", "common", "misc"}
    assert not [short(path) for path in PYTHON if named & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}]


# --- what a page must have -----------------------------------------------------------------------------------------------


def test_every_template_that_is_named_exists():
    names = r"""{%\s*(?:include|extends)\s+["']([^"']+)["']"""
    missing = [
        f"{short(path)}: {name}"
        for path in TEMPLATES
        for name in re.findall(names, path.read_text())
        if not (ROOT / "templates" / name).exists() and not name.startswith("allauth/")
    ]
    named = [(path, name) for path in PYTHON for name in re.findall(r"""["']([\w/]+\.html)["']""", path.read_text())]
    missing += [f"{short(path)}: {name}" for path, name in named if not (ROOT / "templates" / name).exists()]
    assert not missing


def test_every_template_compiles():
    from django.template.loader import get_template

    for path in TEMPLATES:
        get_template(str(path.relative_to(ROOT / "templates")))


def test_every_static_file_that_is_named_exists():
    named = [(path, name) for path in TEMPLATES for name in re.findall(r"""{%\s*static\s+["']([^"']+)["']""", path.read_text())]
    assert named
    missing = [f"{short(path)}: {name}" for path, name in named if not (ROOT / "static" / name).exists() and not name.startswith("vendor/")]
    assert not missing


def test_every_bare_import_of_a_script_is_in_the_import_map():
    known = {f"lib/{path.stem}" for path in (ROOT / "static/js/lib").glob("*.js")} | {"uplot", "tus"}
    imports = [(path, name) for path in SCRIPTS for name in re.findall(r"""(?:from|import)\s*\(?\s*["']([^"']+)["']""", path.read_text())]
    assert not [f"{short(path)}: {name}" for path, name in imports if name not in known]


def words(text):
    """What a reader would see of a template that is not marked for translation."""
    for block in ("blocktranslate", "blocktrans"):
        text = re.sub(rf"{{%\s*{block}\b.*?{{%\s*end{block}\s*%}}", " ", text, flags=re.S)
    text = re.sub(r"{%\s*block width\s*%}.*?{%\s*endblock\s*%}", " ", text)  # class names
    text = re.sub(r"{%\s*comment.*?endcomment\s*%}|{#.*?#}|<!--.*?-->", " ", text, flags=re.S)
    text = re.sub(r"<(script|svg|code|kbd|pre)\b.*?</\1>", " ", text, flags=re.S)
    shown = re.findall(r"""\b(?:aria-label|title|placeholder|alt)="([^"]*)\"""", re.sub(r"{[%{].*?[%}]}", "", text, flags=re.S))
    text = re.sub(r"{%.*?%}|{{.*?}}", " ", text, flags=re.S)
    text = re.sub(r"<[^>]*>", "\n", text, flags=re.S)
    text = re.sub(r"&\w+;", " ", text)
    return [line.strip() for line in [*text.splitlines(), *shown] if re.search(r"[A-Za-z]{3,}", line)]


@pytest.mark.parametrize("path", TEMPLATES, ids=short)
def test_every_word_for_people_can_be_translated(path):
    names = {
        "Tunebench",
        "CSV",
        "JSON",
        "JSON Lines",
        "Parquet",
        "PNG",
        "SHA-256",
        "UTC",
        "curl",
        "Python",
        "JavaScript",
        "OpenAPI",
        "google-bert/bert-base-uncased",
    }
    assert not [line for line in words(path.read_text()) if not set(line.split("  · ")) <= names and line.strip("· ") not in names]


def test_the_two_ways_into_the_dark_agree():
    sheet = (ROOT / "static/css/tokens.css").read_text()
    by_system = re.search(r':root:not\(\[data-theme="light"\]\) {(.*?)}', sheet, re.S).group(1).split()
    by_choice = re.search(r':root\[data-theme="dark"\] {(.*?)}', sheet, re.S).group(1).split()
    assert by_system == by_choice and len(by_choice) > 40


def test_every_sheet_stands_in_a_layer_and_all_of_them_are_small():
    layers = {"tokens": "@layer tokens", "base": "@layer base"}
    for path in SHEETS:
        assert layers.get(path.stem, "@layer parts") in path.read_text(), short(path)
    assert sum(path.stat().st_size for path in SHEETS) < 64_000


@pytest.mark.parametrize(("ink", "ground", "least"), [
    ("ink", "card", 7), ("ink-2", "card", 4.5), ("ink-2", "paper", 4.5), ("ink-2", "sunk", 4.5), ("ink-3", "card", 4.5),
    ("accent", "card", 4.5), ("accent", "accent-soft", 4.5), ("accent-ink", "accent", 4.5), ("edge", "card", 3),
    ("good", "good-soft", 4.5), ("warn", "warn-soft", 4.5), ("bad", "bad-soft", 4.5), ("live", "live-soft", 4.5), ("c1", "card", 3), ("c2", "card", 3),
])  # fmt: skip
def test_words_stand_out_from_their_ground_in_light_and_dark(ink, ground, least):
    sheet = (ROOT / "static/css/tokens.css").read_text()
    for block in (re.search(r":root {(.*?)}", sheet, re.S), re.search(r':root\[data-theme="dark"\] {(.*?)}', sheet, re.S)):
        colours = dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block.group(1)))
        light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, f"{ink} on {ground}"


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
