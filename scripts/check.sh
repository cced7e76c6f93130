#!/bin/sh
# Every check that CI runs, in order, up to the first that fails. PYTEST_ARGS goes to pytest in place of -n 2: PYTEST_ARGS="-k reduce".
set -eu
cd "$(dirname "$0")/.."
start=$(date +%s)

step() {
    name=$1 && shift
    began=$(date +%s)
    printf '\n== %s\n' "$name"
    "$@" || { printf '== %s failed after %s s\n' "$name" "$(($(date +%s) - start))" >&2 && exit 1; }
    printf '== %s: %s s\n' "$name" "$(($(date +%s) - began))"
}

step "set-up" sh scripts/setup.sh test
step "ruff check" .venv/bin/ruff check .
step "ruff format" .venv/bin/ruff format --check .
step "mypy" .venv/bin/mypy
# shellcheck disable=SC2086 # several arguments
step "pytest" .venv/bin/python -m pytest --durations=15 ${PYTEST_ARGS:--n 2}
step "docs" env NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
printf '\nAll checks passed in %s s.\n' "$(($(date +%s) - start))"
