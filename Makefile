# make demo    the whole suite on real data, in about a minute; writes demo-report/
# make test    every test, on two processes; compiles first what set-up leaves out: kernels for several threads
# make test-silicon   the kernels on the card's instruction set, without a card; needs clang-19 and libclc-19
# make up      keep the stack running on this machine; Ctrl-C stops it
# make check   format, lint, types and the rules of the house
# make bench   measure a request's way through the suite
# The first call installs into .venv; PYTHON=... chooses the interpreter, ARGS=... goes to the command.

BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-silicon up check bench

setup: $(STAMP)

$(STAMP): pyproject.toml ops/constraints.txt ops/setup.sh
	@PYTHON="$(PYTHON)" sh ops/setup.sh

demo: setup
	@$(BIN)/ellesmere demo $(ARGS)

test: setup
	@ELLESMERE_LOG_LEVEL=warning ELLESMERE_THREADS=2 $(BIN)/python -m services.cpu_worker.warm
	@$(BIN)/pytest -q -n 2 --dist loadfile $(ARGS)

test-silicon: setup
	@$(BIN)/pytest -q tests/silicon $(ARGS)

up: setup
	@$(BIN)/ellesmere up $(ARGS)

check: setup
	@sh ops/check.sh

bench: setup
	@$(BIN)/ellesmere bench $(ARGS)
