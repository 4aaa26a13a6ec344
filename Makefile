# Every target sets up what it needs: a virtual environment in .venv, made again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test test-editors test-vllm vsix lint types format clean

help: ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(READY) ## Install keyturn and its development tools into .venv.

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(READY)

demo: $(READY) ## Show a suggestion in a real file and what each edit cost.
	$(BIN)/keyturn demo

test: lint types $(READY) ## Lint, types, floors and all tests.
	$(BIN)/python -m pytest

vsix: ## Pack the VS Code extension into editors/vscode/keyturn.vsix.
	cd editors/vscode && npm ci --ignore-scripts --no-audit --no-fund && npm run vsix

test-editors: $(READY) ## Drive VS Code and Neovim themselves; installs them into .editors.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[editors]'
	$(BIN)/python -m tests.editors.vscode.install
	$(BIN)/python -m tests.editors.neovim.install
	$(BIN)/python -m pytest -n 2 tests/editors

test-vllm: $(READY) ## Put questions to a real vLLM; installs one into .vllm.
	$(BIN)/python -m tests.vllm.install
	$(BIN)/python -m pytest --timeout 1200 tests/vllm

lint: $(READY) ## Style and import rules.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(READY) ## Strict types on the three floors.
	$(BIN)/mypy

format: $(READY) ## Format the code and mend what can be mended.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and all caches.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
