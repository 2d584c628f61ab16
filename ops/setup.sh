#!/bin/sh
# Creates .venv and installs the pinned packages into it. Called by make when they changed.
#   PYTHON=python3.12 sh ops/setup.sh    chooses the interpreter
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    echo "hint:  $2" >&2
    exit 2
}

recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

interpreter() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        if recent "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

python=$(interpreter)
if [ -z "$python" ]; then
    found=$(${PYTHON:-python3} --version 2>&1) || found="no Python at all"
    fail "Ellesmere needs Python 3.11 or later; found: $found" \
        "install a later Python and name it: make setup PYTHON=/path/to/python3.12"
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    fail "$python has no venv module" \
        "on Debian and Ubuntu: apt-get install python3-venv; elsewhere reinstall Python with ensurepip"
fi

if ! { recent .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    "$python" -m venv --clear .venv
fi
echo "installing packages into .venv (once; the versions are in ops/constraints.txt)" >&2
.venv/bin/python -m pip install -qq --disable-pip-version-check \
    -c ops/constraints.txt -e '.[demo,test]' ||
    fail "the packages could not be installed" \
        "see pip's message above; the first set-up needs a network, later runs do not"
echo "compiling kernels for this processor (once; kept in ~/.cache/ellesmere)" >&2
ELLESMERE_LOG_LEVEL=warning .venv/bin/python -m services.cpu_worker.warm ||
    echo "note:  they could not be compiled; scipy takes their place" >&2
touch .venv/.installed
