# Needs Python 3.11 (to 3.14) with venv, and this make. Everything else is fetched from the package registries.
PYTHON ?= $(or $(shell command -v python3.11),python3)
PY = .venv/bin/python
.DEFAULT_GOAL = help
.PHONY: help up demo test check bench install install-dev

help:
	@echo "make up      start Tunebench and print a sign-in link (Ctrl-C stops it)"
	@echo "make demo    from a file to a tuned model that answers, without a browser"
	@echo "make test    run all tests        make check   format, lint, types, contracts"
	@echo "make bench   measure against the alternatives"

install:
	@$(PYTHON) -I webapp/install.py

install-dev:
	@$(PYTHON) -I webapp/install.py dev

up: install
	@exec $(PY) manage.py up

demo: install
	@exec $(PY) manage.py demo

test: install-dev
	@$(PY) manage.py assets
	@$(PY) -m pytest -n $(or $(JOBS),2) --dist loadgroup $(ARGS)

check: install-dev
	@$(PY) -m ruff format --check -q .
	@$(PY) -m ruff check -q .
	@$(PY) -m mypy webapp worker
	@.venv/bin/lint-imports --no-logo 2>/dev/null || .venv/bin/lint-imports
	@.venv/bin/djlint templates --lint --quiet
	@$(PY) manage.py makemigrations --check --dry-run
	@HTTPS=1 FORWARDED_ALLOW_IPS=127.0.0.1 $(PY) manage.py check --deploy --fail-level WARNING

bench: install-dev
	@$(PY) -m benchmarks $(ARGS)
