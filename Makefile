# What a clone can do, from one command each. Python 3.11 or newer must be there; everything else goes into .venv.

PYTHONS := python3 python3.13 python3.12 python3.14 python3.11
VENV := .venv
BIN := $(VENV)/bin
# Errors only: indexes and warnings about them differ from machine to machine.
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
CHECKED := src tests examples bench docs/site changelog.d
# Most tests use one core; a file stays in one process, so that each server is started twice at most.
IN_PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
QUICK := tests/test_names.py tests/checks tests/api tests/store tests/cli tests/train
# Old releases warn about what newer ones took away; what tensors need is tested with the pinned releases only.
LOWEST := .venv-lowest
TRACKERS := .venv-trackers
# Its pillow is older than the pinned one, so it has an environment of its own, over the other packages of .venv.
TRACKIO := trackio==0.43.0
# 490 MB, which no other test needs, so it has an environment of its own too.
RAY_VENV := .venv-ray
RAY := ray[tune]==2.60.0
# Frameworks have pins of their own, so their scripts are tried in an environment of their own.
FRAMEWORKS := .venv-frameworks
# vLLM's pins exclude ours.
VLLM := .venv-vllm
OF_VLLM := tests/samplers tests/vllm_server
# What only looks for faults: a fuzzer with a compiler's runtime in it, and a client made from the server's description.
FUZZ := .venv-fuzz
FUZZERS := atheris==3.0.0 schemathesis==4.32.5
FUZZ_SECONDS ?= 120
FUZZ_TARGETS := documents files places trained requests
OF_LOWEST := tests/test_names.py tests/test_visible.py tests/store tests/cli tests/ops
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-long fuzz reliability test-lowest test-trackers test-ray test-frameworks test-vllm check style bench gpu clean

help:  ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*##\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/demo-installed  ## train a real model, wreck it, fork it from its last good step (2 minutes)
	@$(BIN)/python examples/demo.py

test: style  ## every check and every test
	@echo "== tests"
	@$(BIN)/python -m pytest $(IN_PARALLEL) --durations=12 $(PYTEST_ARGS)

test-long: $(VENV)/test-installed  ## what takes minutes: examples on the real model, a kill at every request to a bucket (long)
	@$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

test-lowest: $(VENV)/test-installed  ## the program's and the store's tests with the oldest releases that pyproject.toml allows
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	@VIRTUAL_ENV=$(LOWEST) $(BIN)/uv pip install --quiet --resolution lowest-direct --group dev -e .
	@$(LOWEST)/bin/python -m pytest -q -m "not slow and not root" -W ignore::DeprecationWarning $(OF_LOWEST) $(PYTEST_ARGS)

test-trackers: $(VENV)/test-installed  ## what every tracker promises, asked of trackio too, which .venv cannot hold
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(TRACKERS)
	@VIRTUAL_ENV=$(TRACKERS) $(BIN)/uv pip install --quiet '$(TRACKIO)'
	@for site in $(TRACKERS)/lib/python*/site-packages; do \
		echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" > $$site/rest.pth; \
	done
	@$(TRACKERS)/bin/python -m pytest -q tests/trackers $(PYTEST_ARGS)

test-ray: $(VENV)/test-installed  ## branches on real raylets: executor, kills, Ray Tune (4 minutes)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(RAY_VENV)
	@VIRTUAL_ENV=$(RAY_VENV) $(BIN)/uv pip install --quiet '$(RAY)'
	@for site in $(RAY_VENV)/lib/python*/site-packages; do \
		echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" > $$site/rest.pth; \
	done
	@$(RAY_VENV)/bin/python -m pytest -q tests/branches/test_ray.py tests/branches/test_tune.py $(PYTEST_ARGS)

test-frameworks: $(VENV)/test-installed  ## the script of every agent framework and seven notebooks, with real packages (10 minutes; 6 GB the first time)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FRAMEWORKS)
	@VIRTUAL_ENV=$(FRAMEWORKS) $(BIN)/uv pip install --quiet --group frameworks -e .
	@if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit --prefix $(FRAMEWORKS) openai; fi
	@LITELLM_LOCAL_MODEL_COST_MAP=True NODE_PATH=$(CURDIR)/$(FRAMEWORKS)/node_modules \
		$(FRAMEWORKS)/bin/python -m pytest -q -W ignore tests/frameworks tests/specification/test_scripts.py tests/specification/test_notebooks.py \
		tests/rewards tests/api/test_drawn_in_jupyter.py tests/api/test_langgraph.py tests/api/test_parquet.py tests/api/test_benchmarking.py $(PYTEST_ARGS)

test-vllm: $(VENV)/test-installed $(VLLM)/made  ## sampling with a real vLLM server, on the CPU (10 minutes)
	@VLLM_PYTHON=$(abspath $(VLLM))/bin/python $(BIN)/python -m pytest -m vllm --timeout 1200 $(OF_VLLM) $(PYTEST_ARGS)

$(VLLM)/made: $(VENV)/made tests/vllm_server/install.sh tests/vllm_server/requirements.txt
	@echo "== installing vLLM into $(VLLM) (2 GB)"
	@tests/vllm_server/install.sh $(BIN)/python $(VLLM)

fuzz: $(FUZZ)/made  ## look for more faults in what comes from outside, for FUZZ_SECONDS (default 120)
	@for target in $(FUZZ_TARGETS); do \
		echo "== $$target"; \
		(cd tests && HF_HUB_OFFLINE=1 ../$(FUZZ)/bin/python -m fuzz.run $$target $$(($(FUZZ_SECONDS) / $(words $(FUZZ_TARGETS))))) || exit 1; \
	done
	@$(FUZZ)/bin/python -m pytest -q tests/fuzz/test_door.py

reliability: $(VENV)/test-installed  ## count every figure of docs/reliability.md; ONLY=power counts one part (20 minutes)
	@$(BIN)/python bench/reliability.py $(addprefix --only ,$(ONLY))

check: style  ## the checks and the quick tests, for the inner loop (2 minutes)
	@echo "== quick tests"
	@$(BIN)/python -m pytest $(IN_PARALLEL) -q -m "not slow and not root" $(QUICK) $(PYTEST_ARGS)

style: $(VENV)/test-installed
	@echo "== style and formatting"
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)
	@echo "== types"
	@$(BIN)/pyright
	@echo "== imports point down"
	@$(BIN)/lint-imports --no-cache

docs: $(VENV)/test-installed  ## the site with its search and the API from the docstrings, in build/site
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs/site -b html -d build/doctrees . build/site
	@echo "build/site/index.html"

gpu: $(VENV)/test-installed  ## everything that needs a CUDA device: tests, exactness, learning, figures (under 10 minutes)
	@$(BIN)/python -m pytest -q -m gpu tests/gpu $(PYTEST_ARGS)
	@$(BIN)/python bench/gpu.py

.PHONY: changelog
changelog:  ## CHANGELOG.md, from changelog.d/
	@for python in $(BIN)/python $(PYTHONS); do $$python changelog.d/build.py && break; done

bench: $(VENV)/test-installed  ## every benchmark; bench/README.md says what each one shows
	@for script in bench/bench_*.py; do echo "== $$script" && $(BIN)/python $$script || exit 1; done

clean:  ## remove .venv and what the tools left; the cache of models stays
	rm -rf $(VENV) $(LOWEST) $(TRACKERS) $(RAY_VENV) $(FRAMEWORKS) $(VLLM) $(FUZZ) .azurite build dist demo-out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/made:
	@for python in $(PYTHONS); do \
		if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "== creating $(VENV) with $$($$python --version)"; \
			$$python -m venv $(VENV) && $(PIP) install --upgrade 'pip>=25.1' && touch $@; \
			exit; \
		fi; \
	done; \
	echo "No Python 3.11 or newer with its venv module was found; install one (Debian: python3 python3-venv)." >&2; exit 1

$(VENV)/demo-installed: $(VENV)/made pyproject.toml constraints.txt
	@echo "== installing artfork and its demo extra (torch is large: a few minutes the first time)"
	@$(PIP) install -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/test-installed: $(VENV)/demo-installed
	@echo "== installing the tools of the tests"
	@$(PIP) install -c constraints.txt -e '.[demo,4bit,aws,mcp,sign,wandb,mlflow,tensorboard]' --group dev --group agents
	@touch $@

$(FUZZ)/made: $(VENV)/test-installed
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FUZZ)
	@VIRTUAL_ENV=$(FUZZ) $(BIN)/uv pip install --quiet $(FUZZERS)
	@for site in $(FUZZ)/lib/python*/site-packages; do \
		echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" > $$site/rest.pth; \
	done
	@touch $@
