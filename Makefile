# `make demo` and `make test` start from nothing but Python, pip and a C toolchain.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check fast bench

demo: .venv/train
	$(BIN)/crossfade demo

test: .venv/dev check
	$(BIN)/python -m pytest -m "not network" -n auto --dist worksteal -q

fast: .venv/dev
	$(BIN)/python -m pytest -m "not slow and not network" -n auto --dist worksteal -q

check: .venv/dev
	scripts/check

# Writes docs/benchmarks.md; hours at full size, `make bench SIZE=--small` minutes.
bench: .venv/dev
	$(BIN)/python scripts/benchmarks/suite $(SIZE)

.venv/train: pyproject.toml .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv --upgrade-deps .venv
	$(BIN)/python -m pip install -q -c .ci/constraints.txt -e '.[train,serve]'
	touch $@

.venv/dev: pyproject.toml .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv --upgrade-deps .venv
	$(BIN)/python -m pip install -q -c .ci/constraints.txt -e '.[all,dev]'
	touch $@ .venv/train
