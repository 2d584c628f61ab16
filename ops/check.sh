#!/bin/sh
# Format, lint, types and the rules of the house, in under a minute: run it before every commit.
set -u
cd "$(dirname "$0")/.."
bin=.venv/bin
status=0

step() {
    name=$1
    shift
    if "$@"; then
        echo "ok    $name"
    else
        echo "FAIL  $name: $*"
        status=1
    fi
}

step format "$bin/ruff" format --check --quiet .
step lint "$bin/ruff" check --quiet .
step types "$bin/mypy" --no-error-summary
step house "$bin/pytest" -q --no-header tests/architecture
exit $status
