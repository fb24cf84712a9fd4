# Everything a user or a developer does, one word each. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export HF_HUB_OFFLINE ?= 1
export KEDRO_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-peers viz report store clean

help: ## list what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ": call make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (two minutes the first time)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(STAMP)

run: $(STAMP) ## the whole study on the embedded default, then the report (conf/base)
	@$(BIN)/python -m rep_kedro run
	@echo "report: data/08_reporting/report.html"

test: $(STAMP) ## all tests that this machine can run
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP) ## format, lint, types, import contracts, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/kedro dvc-sync --check

bench: $(STAMP) ## speed against the machine's floor and against peers, as ratios
	@for file in $$(ls benchmarks/bench_*.py | grep -v bench_peers); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-peers: $(STAMP) ## ours against published packages, installed into .venv-peers
	@test -x .venv-peers/bin/python || $(BIN)/python -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -q --disable-pip-version-check --no-deps rsatoolbox==0.3.2 thingsvision==2.7.3 pytorch-cka==1.1.3 POT==0.9.7.post1 torchtyping==0.1.5 typeguard==2.13.3 h5py numba llvmlite scikit-image lazy-loader
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$(.venv-peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth"
	@PEERS_PYTHON=.venv-peers/bin/python $(BIN)/python benchmarks/bench_peers.py

viz: $(STAMP) ## open the graph in Kedro-Viz; Ctrl-C ends it
	@PYTHONWARNINGS=ignore:::kedro_viz.api.apps $(BIN)/kedro viz run $(VIZ_ARGS) & viz=$$!; \
	trap 'trap "" INT TERM; pkill -TERM -P $$viz; kill -TERM $$viz; wait $$viz; exit 0' INT TERM HUP; \
	wait $$viz

report: $(STAMP) ## make the report again from the results that are there
	@$(BIN)/kedro run --pipelines=reporting

store: $(STAMP) ## bring dvc.lock and the shipped store up to date (after results changed)
	@$(BIN)/kedro dvc-sync
	@$(BIN)/dvc repro
	@$(BIN)/dvc push
	@$(BIN)/dvc gc --workspace --cloud --force --quiet

clean: ## remove results and caches, not the environment
	@rm -rf data/0* data/test .dvc/cache .dvc/tmp .pytest_cache .mypy_cache .ruff_cache
