# SPDX-License-Identifier: MIT
# Every command a developer types. Bare `make` prints the list; the words come from the ## comments below.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Two environments, so that `make up` on a user's machine does not wait for linters and test tools.
# They are remade by themselves when their lock changes.
VENV := .venv
CONTROLLER_VENV := .venv-controller
BIN := $(VENV)/bin
CONTROLLER_BIN := $(CONTROLLER_VENV)/bin

# One worker per core of the smallest machine we test on. A file is one worker's, in its order: tests that share a thing
# stand in one file. (Groups by mark do nothing with pytest 9.2 and xdist 3.8, and say nothing: pytest-xdist#1386.)
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=
PYTEST := $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

# The resolver is only needed to refresh locks, so it is no part of any of them.
UV_VERSION := 0.13.8
LOCK_VENV := .venv-lock
# One set of versions on every Python (fewest), wheels only, and nothing about the index that served them.
UV_COMPILE = $(LOCK_VENV)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--fork-strategy fewest --only-binary :all: --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) $(if $(UPGRADE_PACKAGE),--upgrade-package $(UPGRADE_PACKAGE))

##@ Start

.PHONY: help
help: ## Print this help
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / && $$0 != section { section = $$0; printf "\n%s\n", substr($$0, 5) } \
		/^[a-zA-Z0-9_-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nPYTHON=… picks the interpreter (3.11 to 3.13), PYTEST_ARGS=… goes to pytest.\n'

.PHONY: venv
venv: $(VENV)/.installed ## Make .venv with everything for development

.PHONY: venv-controller
venv-controller: $(CONTROLLER_VENV)/.installed ## Make .venv-controller with Ansible only (make up does it by itself)

# The stamp is written last: an interrupted installation is done again. `python=$(…)` on a line of its own keeps its
# failure; within an argument it would be lost.
$(VENV)/.installed: locks/dev.txt pyproject.toml tools/make_venv.py
	@python="$$(tools/find_python)"; "$$python" tools/make_venv.py $(VENV) locks/dev.txt --editable .
	@touch $@

$(CONTROLLER_VENV)/.installed: locks/controller.txt tools/make_venv.py
	@python="$$(tools/find_python)"; "$$python" tools/make_venv.py $(CONTROLLER_VENV) locks/controller.txt
	@touch $@

##@ Check

.PHONY: test
test: lint ## Lint, then every test that is not marked slow
	$(PYTEST) -m "not slow and not docker" $(PYTEST_ARGS) tests

.PHONY: test-unit
test-unit: venv ## Unit tests only: seconds, no root, no Docker
	$(PYTEST) -m "not slow" $(PYTEST_ARGS) tests/unit

.PHONY: test-slow
test-slow: venv ## Only the tests marked slow (those that need Docker: make test-docker)
	$(PYTEST) -m "slow and not docker" $(PYTEST_ARGS) tests

.PHONY: lint
lint: lint-python lint-ansible ## Style, types, import contracts, YAML, Ansible

.PHONY: lint-python
lint-python: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# ansible-lint finds ansible-playbook on PATH. It only looks at the Ansible half once there is one.
.PHONY: lint-ansible
lint-ansible: venv
	$(BIN)/yamllint --strict .
	@if [ -d roles ] || [ -d playbooks ]; then \
		PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --profile production; \
	fi

.PHONY: format
format: venv ## Format Python and apply the safe fixes of the linter
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

##@ Maintain

# dev comes first and is the constraint of the others: a version is tested before it is shipped. Pins stay as they are
# unless UPGRADE=1 (all) or UPGRADE_PACKAGE=name is given. The packages left out of dev.txt are what scikit-learn
# would import; it only lends us its photographs (locks/dev.in).
.PHONY: lock
lock: $(LOCK_VENV)/.installed ## Refresh locks/ from pyproject.toml and locks/*.in (UPGRADE=1 takes newer versions)
	$(UV_COMPILE) --extra host --extra vision pyproject.toml locks/controller.in locks/dev.in -o locks/dev.txt \
		--no-emit-package scipy --no-emit-package joblib --no-emit-package threadpoolctl \
		--no-emit-package narwhals --no-emit-package cloudpickle
	$(UV_COMPILE) --constraint locks/dev.txt --extra host pyproject.toml -o locks/host.txt
	$(UV_COMPILE) --constraint locks/dev.txt pyproject.toml -o locks/container.txt
	$(UV_COMPILE) --constraint locks/dev.txt --extra vision pyproject.toml -o locks/vision.txt
	$(UV_COMPILE) --constraint locks/dev.txt locks/controller.in -o locks/controller.txt

.PHONY: lock-check
lock-check: $(LOCK_VENV)/.installed ## Prove that each pin has a hashed wheel for aarch64 and x86-64, Python 3.11-3.13
	$(LOCK_VENV)/bin/python tools/check_locks.py locks/container.txt locks/vision.txt locks/host.txt locks/controller.txt locks/dev.txt

$(LOCK_VENV)/.installed: Makefile
	@python="$$(tools/find_python)"; "$$python" -m venv $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: uv==$(UV_VERSION) packaging
	@touch $@

.PHONY: clean
clean: ## Remove environments, caches and build results (var/, the local appliance's data, stays)
	rm -rf $(VENV) $(CONTROLLER_VENV) $(LOCK_VENV) $(VENV).lock $(CONTROLLER_VENV).lock
	rm -rf build dist appliance/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find appliance tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# appliance.mk: up, down, status, logs. quality.mk: torture, bench.
-include make/*.mk
