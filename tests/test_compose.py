"""docker-compose.yml and the Dockerfile against the code: without a Docker engine, each command, variable and port is compared."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from django.conf import settings

from webapp import stack
from webapp.home.management.commands import assets

ROOT = settings.ROOT
SETTINGS = (ROOT / "webapp" / "settings.py").read_text()
GIVEN = {"POSTGRES_PASSWORD": "pg-secret", "REDIS_PASSWORD": "redis-secret"}
OURS = ("web", "train", "train-gpu", "data", "serve")
NOT_OURS = {"OMP_WAIT_POLICY", "OMP_NUM_THREADS", "POLARS_MAX_THREADS", "TOKENIZERS_PARALLELISM"}


def interpolate(text, given):
    """The compose file's ${NAME:-default} and ${NAME:?message}, as docker compose reads them."""

    def value(match):
        name, rule, rest = match["name"], match["rule"] or "", match["rest"] or ""
        if name in given and (given[name] or not rule.startswith(":")):
            return given[name]
        if "?" in rule:
            raise KeyError(rest)
        return rest if "-" in rule else ""

    return re.sub(r"\$\{(?P<name>[A-Z_]+)(?P<rule>:?[-?])?(?P<rest>[^}]*)\}", value, text)


def compose(**given):
    return yaml.safe_load(interpolate((ROOT / "docker-compose.yml").read_text(), GIVEN | given))


def instructions():
    """The Dockerfile as (word, rest) pairs, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def of(word):
    return [rest for found, rest in instructions() if found == word]


@pytest.mark.parametrize("name", ["web", "train", "data", "serve"])
def test_each_service_runs_the_very_command_that_make_up_runs(name):
    values = {"host": "0.0.0.0", "port": "8000", "train_queues": "train.cpu"}
    wanted = ["python", *(a.format(**values) for a in stack.COMMANDS[name])]
    assert compose()["services"][name]["command"] == wanted


def test_the_gpu_worker_differs_from_the_cpu_worker_in_its_queues_only():
    gpu = compose()["services"]["train-gpu"]
    values = {"train_queues": "train.gpu,train.cpu"}
    assert gpu["command"] == ["python", *(a.format(**values) for a in stack.COMMANDS["train"])]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


@pytest.mark.parametrize("name", ["web", "train", "data", "serve"])
def test_each_service_gets_the_threads_that_make_up_gives_it(name):
    environment = compose()["services"][name]["environment"]
    assert {k: v for k, v in environment.items() if k in stack.QUIET_THREADS} == stack.ENVIRONMENT[name]


@pytest.mark.parametrize("name", ["setup", *OURS])
def test_every_variable_of_a_service_is_read_by_the_settings_or_a_library(name):
    for variable in compose()["services"][name]["environment"]:
        assert variable in NOT_OURS or f'"{variable}"' in SETTINGS, f"nobody reads {variable}"


LIMITS = ("TEAM_QUOTA", "PURGE_DAYS", "PREDICTION_DAYS", "TRAIN_MEMORY", "SERVE_MEMORY", "HUB_TOKEN")


@pytest.mark.parametrize("variable", LIMITS)
def test_what_an_operator_may_set_reaches_every_container_and_is_the_default_else(variable):
    given, wanted = compose(**{variable: "7"}), re.search(rf'env\.\w+\("{variable}", default=(.+?)\)  #', SETTINGS)
    for name in ("setup", *OURS):
        assert given["services"][name]["environment"][variable] == "7"
        assert (compose()["services"][name]["environment"][variable] or '""') in (wanted[1], str(number(wanted[1])))
    assert f"# {variable}=" in (ROOT / ".env.example").read_text()


def number(text):
    """A default as the settings write it: 2 * 1024**3."""
    return f"{eval(text):.0f}" if text != '""' else text


def test_the_advice_about_the_proxy_holds_with_docker_compose_too():
    environ = {name: value for name, value in os.environ.items() if name not in ("FORWARDED_ALLOW_IPS", "DJANGO_SETTINGS_MODULE")}
    done = subprocess.run(
        [sys.executable, "-c", "import webapp.settings"], cwd=ROOT, env=environ | {"HTTPS": "1"}, capture_output=True, text=True
    )
    network = re.search(r"# FORWARDED_ALLOW_IPS=(\S+)", (ROOT / ".env.example").read_text())[1]
    assert f"{network} with Docker Compose" in done.stderr


def test_every_service_shares_one_environment_and_one_volume():
    services = compose()["services"]
    for name in OURS:
        assert services[name]["volumes"] == ["home:/data"]
        assert services[name]["environment"].items() >= services["setup"]["environment"].items()
    assert services["setup"]["environment"]["TUNEBENCH_HOME"] == "/data"


def test_compose_names_databases_that_its_own_services_answer_to():
    services, environment = compose()["services"], compose()["services"]["web"]["environment"]
    postgres = services["postgres"]["environment"]
    assert environment["DATABASE_URL"] == (
        f"postgres://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}@postgres:5432/{postgres['POSTGRES_DB']}"
    )
    password = services["redis"]["command"][services["redis"]["command"].index("--requirepass") + 1]
    assert environment["REDIS_URL"] == f"redis://:{password}@redis:6379/0"
    assert "noeviction" in services["redis"]["command"]


@pytest.mark.parametrize("secret", ["POSTGRES_PASSWORD", "REDIS_PASSWORD"])
def test_compose_refuses_to_start_without_its_passwords(secret):
    with pytest.raises(KeyError):
        interpolate((ROOT / "docker-compose.yml").read_text(), {k: v for k, v in GIVEN.items() if k != secret})


def test_only_the_web_is_published_and_only_on_loopback_unless_told():
    services = compose()["services"]
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]
    assert [name for name, service in services.items() if "ports" in service] == ["web"]
    assert compose(BIND="0.0.0.0", PORT="80")["services"]["web"]["ports"] == ["0.0.0.0:80:8000"]


def test_every_lasting_service_has_a_health_check_that_asks_what_exists():
    for name, service in compose()["services"].items():
        check = service["healthcheck"]
        if name == "setup":
            assert check == {"disable": True}
            continue
        words = " ".join(check["test"])
        if name == "web":
            assert "http://127.0.0.1:8000/healthz/live" in words
        elif name in OURS:
            assert check["test"] == ["CMD", "python", "manage.py", "up", "--alive", name.removesuffix("-gpu")]
        else:
            assert {"postgres": "pg_isready", "redis": "redis-cli"}[name] in words


def test_nothing_of_ours_starts_before_setup_is_through():
    services = compose()["services"]
    assert services["setup"]["command"] == ["python", "manage.py", "up", "--prepare"]
    for name in OURS:
        assert services[name]["depends_on"]["setup"] == {"condition": "service_completed_successfully"}


def test_the_address_of_the_health_check_exists():
    from django.urls import resolve

    assert resolve("/healthz/live")


def test_the_image_runs_as_nobody_special_and_listens_where_compose_looks():
    assert of("USER") == ["tunebench"]
    assert of("EXPOSE") == ["8000"]
    assert json.loads(of("CMD")[-1]) == compose()["services"]["web"]["command"]
    assert instructions().index(("USER", "tunebench")) > max(i for i, (word, _) in enumerate(instructions()) if word == "RUN")


def test_every_file_that_the_image_copies_is_in_the_repository_and_let_through():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for rest in of("COPY"):
        words = shlex.split(rest)
        if words[0].startswith("--from"):
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in allowed, source


def test_the_image_fetches_the_browser_libraries_by_the_lock_alone():
    assert any("npm ci --ignore-scripts" in rest for rest in of("RUN"))
    lock = json.loads((ROOT / "static" / "package-lock.json").read_text())
    named = {source.split("/")[0] for source in assets.FILES.values()}
    assert named == set(lock["packages"][""]["dependencies"])
    assert "resolved" not in (ROOT / "static" / "package-lock.json").read_text()
    for name, package in lock["packages"].items():
        assert not name or package["integrity"].startswith("sha512-")
