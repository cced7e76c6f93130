# Each target works from a fresh clone with Python and make alone: scripts/setup.sh makes .venv, once.
# Variables: PYTHON=python3.12   TORCH_INDEX=<index of torch builds>   PYTEST_ARGS='-n 2 -k loss'
export PYTHON TORCH_INDEX PYTEST_ARGS

.PHONY: help demo test docs format clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: ## set up, run the whole loop on an embedded task, leave a report
	@sh scripts/setup.sh demo
	@.venv/bin/guerdon demo

test: ## set up, run every check that CI runs
	@sh scripts/check.sh

docs: ## build the documentation into site/
	@sh scripts/setup.sh test
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
	@echo "open site/index.html"

format: ## sort imports, format, mend what ruff can mend
	@sh scripts/setup.sh test
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

clean: ## remove caches and built files; keeps .venv and runs/
	rm -rf site dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
