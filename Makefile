# Two commands do everything: `make quickstart` trains and evaluates, `make test` tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKDIR ?= runs/quickstart
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all test-real test-tpu test-browser bench lint format docs constraints clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

quickstart: $(VENV)/.installed  ## Train and evaluate MobileNetV2 on generated flowers (2 cores: 8 min, with the installation).
	$(BIN)/python train.py --config configs/quickstart.py --workdir $(WORKDIR)
	$(BIN)/python eval.py --workdir $(WORKDIR)
	@echo "Look at $(WORKDIR)/curves.png and $(WORKDIR)/report.html"

test: $(VENV)/.installed-dev  ## Run the fast tests (7 min on 2 cores).
	$(BIN)/python -m pytest -m "not real_data and not slow and not tpu_aot and not browser" $(PARALLEL)

test-all: test  ## Run the slow tests and the browser tests as well.
	$(BIN)/python -m pytest -m "not real_data and slow and not tpu_aot and not browser" $(PARALLEL)
	$(MAKE) test-browser

test-real: $(VENV)/.installed-dev  ## Run the tests on real photographs, in $$NETZOO_FLOWER_PHOTOS.
	$(BIN)/python -m pytest -m real_data

test-tpu: $(VENV)/.installed-dev  ## Compile small networks with the TPU compiler (a few minutes; no TPU needed).
	$(BIN)/python -m pip install --quiet --editable '.[tpu-aot]'
	$(BIN)/python -m pytest -m tpu_aot

test-browser: $(VENV)/.installed-dev  ## Open pages in headless Chromium (root gets Debian's package; without it, tests skip).
	@command -v chromium >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
	  echo "Chromium could not be installed"
	$(BIN)/python -m pip install --quiet --editable '.[browser]' || echo "the extra browser could not be installed"
	$(BIN)/python -m pytest -m browser -rs

bench: $(VENV)/.installed  ## Measure MobileNetV2 against other libraries, in $$PEER_PYTHON's environment if set.
	$(BIN)/python -m benchmarks.throughput --out runs/bench $(if $(PEER_PYTHON),--peer-python $(PEER_PYTHON))

lint: $(VENV)/.installed-dev  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## Apply style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs  ## Build the documentation into site/, and check its links.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Within the bounds of setup.cfg, for Python 3.11.
COMPILE = $(VENV)-constraints/bin/uv pip compile --quiet --no-annotate --python-version 3.11 \
  --custom-compile-command "make constraints" --extra dev --extra docs --extra translate setup.py

constraints:  ## Write the newest libraries into constraints.txt, and with hashes into requirements.lock.
	$(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/python -m pip install --quiet 'uv>=0.13,<1'
	$(COMPILE) --upgrade --output-file constraints.txt
	$(COMPILE) --constraint constraints.txt --generate-hashes --output-file requirements.lock

clean:  ## Remove the virtual environment, caches and site; runs stay.
	rm -rf $(VENV) $(VENV)-constraints site .mypy_cache .pytest_cache .ruff_cache *.egg-info

# Python compiles a module when it first imports it. pip would compile 11,000, most of them unused.
INSTALL = $(BIN)/python -m pip install --quiet --no-compile --editable

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("netzoo needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg setup.py pyproject.toml | $(BIN)/python
	@echo "Installing netzoo and its libraries into $(VENV) (about a minute) ..."
	@$(INSTALL) .
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "Installing what builds the documentation into $(VENV) ..."
	@$(INSTALL) '.[docs]'
	@touch $@

$(VENV)/.installed-dev: setup.cfg setup.py pyproject.toml | $(BIN)/python
	@echo "Installing netzoo, its libraries and the test tools into $(VENV) (about a minute) ..."
	@$(INSTALL) '.[dev]'
	@touch $(VENV)/.installed $@
