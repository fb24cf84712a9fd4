# Everything a user or a developer does, one word each. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# two processes take whole files, in the order of tests/conftest.py: the long ones first
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder
LOCKS := $(addprefix requirements/,$(addsuffix .lock,build packages torch torch-cpu))
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps
TOOLS := .venv-tools/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export HF_HUB_OFFLINE ?= 1
export KEDRO_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-all coverage check docs fuzz bench bench-peers gpu viz report store lock audit clean

help: ## list what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(STAMP): pyproject.toml $(LOCKS)
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ": call make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (two minutes the first time)"
	@$(INSTALL) --require-hashes -r requirements/build.lock
	@$(INSTALL) --require-hashes --no-index -r requirements/torch-cpu.lock 2>/dev/null || $(INSTALL) --require-hashes -r requirements/torch.lock
	@$(INSTALL) --require-hashes --no-build-isolation -r requirements/packages.lock
	@$(INSTALL) --no-build-isolation -e .
	@touch $(STAMP)

run: $(STAMP) ## the whole study on the embedded default, then the report (conf/base)
	@$(BIN)/python -m rep_kedro run
	@echo "report: data/08_reporting/report.html"

test: $(STAMP) ## the tests without the slow ones and the browser: about six minutes
	@$(BIN)/python -m pytest $(IN_TWO) -m "not slow and not browser"

test-all: $(STAMP) ## all tests that this machine can run
	@$(BIN)/python -m pytest $(IN_TWO)

coverage: $(STAMP) ## all tests, then the lines that none of them ran (build/coverage/index.html)
	@$(BIN)/python -m pytest $(IN_TWO) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

docs: $(STAMP) ## the documentation site, warnings as errors (build/docs/index.html)
	@$(BIN)/sphinx-build -q -W --keep-going -j auto docs build/docs
	@echo "documentation: build/docs/index.html"

check: $(STAMP) ## format, lint, types, import contracts, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/kedro dvc-sync --check
	@$(BIN)/kedro tables --check

fuzz: $(STAMP) ## two minutes of spoiled files (FUZZ_ARGS="--seed 1 --seconds 600 --kind image")
	@$(BIN)/python -m tests.fuzz.fuzz $(FUZZ_ARGS)

bench: $(STAMP) ## speed against the machine's floor and against peers, as ratios
	@for file in $$(ls benchmarks/bench_*.py | grep -v -e bench_peers -e bench_layers); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-peers: $(STAMP) ## ours against published packages, installed into .venv-peers
	@test -x .venv-peers/bin/python || $(BIN)/python -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -q --disable-pip-version-check --no-deps rsatoolbox==0.3.2 thingsvision==2.7.3 pytorch-cka==1.1.3 POT==0.9.7.post1 torchtyping==0.1.5 typeguard==2.13.3 h5py numba llvmlite scikit-image lazy-loader
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$(.venv-peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth"
	@PEERS_PYTHON=.venv-peers/bin/python $(BIN)/python benchmarks/bench_peers.py
	@PEERS_PYTHON=.venv-peers/bin/python $(BIN)/python benchmarks/bench_layers.py

gpu: ## check and time a GPU (PYTHON= takes any Python with torch, numpy and scipy; installs nothing)
	@PYTHONPATH=src $(if $(wildcard $(STAMP)),$(BIN)/python,$(PYTHON)) benchmarks/on_gpu.py

viz: $(STAMP) ## open the graph in Kedro-Viz; Ctrl-C ends it
	@PYTHONWARNINGS=ignore:::kedro_viz.api.apps $(BIN)/kedro viz run $(VIZ_ARGS) & viz=$$!; \
	trap 'trap "" INT TERM; pkill -TERM -P $$viz; kill -TERM $$viz 2>/dev/null; wait $$viz; exit 0' INT TERM HUP; \
	wait $$viz

report: $(STAMP) ## make the report again from the results that are there
	@$(BIN)/kedro run --pipelines=reporting

store: $(STAMP) ## bring dvc.lock and the shipped store up to date (after results changed)
	@$(BIN)/kedro dvc-sync
	@$(BIN)/dvc repro
	@$(BIN)/dvc push
	@$(BIN)/dvc gc --workspace --cloud --force --quiet

$(TOOLS)/pip-audit: Makefile
	@test -x $(TOOLS)/python || $(BIN)/python -m venv .venv-tools
	@$(TOOLS)/python -m pip install -q --disable-pip-version-check uv==0.13.9 pip-audit==2.10.1

lock: $(STAMP) $(TOOLS)/pip-audit ## write requirements/*.lock again (after constraints.txt or pyproject.toml changed)
	@UV_FIND_LINKS= $(BIN)/python tools/lock.py $(TOOLS)/uv

audit: $(STAMP) $(TOOLS)/pip-audit ## ask the advisory database about every locked package (needs the network)
	@$(TOOLS)/pip-audit --strict --disable-pip --require-hashes $(addprefix -r ,$(filter-out %-cpu.lock,$(LOCKS))) || (echo "make audit: known vulnerabilities above, or the advisory database did not answer for every package" >&2; exit 1)

clean: ## remove results and caches, not the environment
	@rm -rf data/0* data/test .dvc/cache .dvc/tmp .pytest_cache .mypy_cache .ruff_cache
