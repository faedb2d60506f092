# Everything a person does here, one word each. Paths are relative, so a folder with spaces in its name is no obstacle (`make -C "some folder" demo` neither).

DEV  := .venv
DEMO := .venv-demo
ARGS :=

# The newest Python that really runs wins; PYTHON=... overrides. A pyenv shim may exist and still fail, so each is tried by running it.
PYTHON :=
CANDIDATES = $(if $(PYTHON),"$(PYTHON)",python3.14 python3.13 python3.12 python3.11 python3 python)

# An environment knows its own absolute path. Where the folder was moved or its Python is gone, it must be made anew.
ifneq ($(shell $(DEV)/bin/python -V >/dev/null 2>&1 && cat $(DEV)/ready 2>/dev/null),$(CURDIR))
.PHONY: $(DEV)/ready
endif
ifneq ($(shell $(DEMO)/bin/python -V >/dev/null 2>&1 && cat $(DEMO)/ready 2>/dev/null),$(CURDIR))
.PHONY: $(DEMO)/ready
endif

.PHONY: help demo test explore live agreement calibration lint types docs bench compiled mutants wheel lock clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile

demo: $(DEMO)/ready ## one failure under three configurations, side by side
	@$(DEMO)/bin/ksim demo $(ARGS)

test: $(DEV)/ready ## all tests that need no Kafka, on all cores (ARGS="-k sequence" chooses)
	@$(DEV)/bin/python -m pytest -n auto -m "not live" $(ARGS)

explore: $(DEV)/ready ## the property tests with examples nobody has seen (ARGS="--hypothesis-profile=thorough" takes an hour)
	@$(DEV)/bin/python -m pytest -n auto -m "hypothesis and not live" --explore $(ARGS)

live: $(DEV)/ready ## the tests against real Kafka, one after another: a selection in five minutes (needs Java 17 and Maven; ARGS="-m live" runs all)
	@$(DEV)/bin/python -m pytest -n 0 -m "live and not slow" $(ARGS)

agreement: $(DEV)/ready ## the whole agreement table: every scenario, two releases, both clients (an hour; ARGS="--only lost-ack" chooses)
	@$(DEV)/bin/python experiments/agreement/agreement.py $(ARGS)

calibration: $(DEV)/ready ## measure what broker work costs on real Kafka (a minute; needs Java 17 and Maven)
	@$(DEV)/bin/python experiments/calibration/calibrate.py $(ARGS)

lint: $(DEV)/ready ## ruff: mistakes, imports, layout
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check .

types: $(DEV)/ready ## mypy --strict over ksim, models and tests
	@$(DEV)/bin/mypy

docs: $(DEV)/ready ## run every example of README.md and docs/, compare its output
	@$(DEV)/bin/python -m pytest -n auto tests/test_docs.py $(ARGS)

bench: $(DEV)/ready ## measure speed and memory; the results page is rewritten
	@$(DEV)/bin/python experiments/performance/bench.py $(ARGS)

compiled: $(DEV)/ready ## the same simulator, half as fast again, in build/compiled: the rules compiled by mypyc (minutes; needs a C compiler)
	@$(DEV)/bin/python experiments/performance/compiled.py

mutants: $(DEV)/ready ## plant bugs in the producer's rules and count those that the tests catch (minutes; ARGS="--group brokers" chooses)
	@$(DEV)/bin/python experiments/mutation/mutants.py $(ARGS)

wheel: $(DEV)/ready ## build the wheel into dist/
	@rm -rf dist
	@$(DEV)/bin/python -m build --no-isolation --wheel --outdir dist .

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock: ## renew requirements/*.txt to the newest versions (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv on the PATH: pip install uv" >&2; exit 1; }
	@$(LOCK) --upgrade --extra plot --extra live --extra dev pyproject.toml requirements/dev.in -o requirements/dev.txt
	@$(LOCK) --upgrade --constraint requirements/dev.txt --extra plot pyproject.toml requirements/demo.in -o requirements/demo.txt

clean: ## remove the environments and everything that was built
	rm -rf $(DEV) $(DEMO) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV)/ready: requirements/dev.txt pyproject.toml
	@$(call set_up,$(DEV),requirements/dev.txt)

ifneq ($(DEMO),$(DEV))
$(DEMO)/ready: requirements/demo.txt pyproject.toml
	@$(call set_up,$(DEMO),requirements/demo.txt)
endif

# $(1) the environment, $(2) its lock. The file `ready` is written last: an interrupted set-up is begun again. An environment that works and did not move is brought up to date in place.
define set_up
set -eu; \
if ! { [ "$$(cat $(1)/place 2>/dev/null)" = "$$(pwd -P)" ] && $(1)/bin/python -m pip --version; } >/dev/null 2>&1; then \
    chosen=; lacking=; \
    for python in $(CANDIDATES); do \
        "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
        if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then chosen=$$python; break; fi; \
        lacking=$${lacking:-$$python}; \
    done; \
    if [ -z "$$chosen" ] && [ -n "$$lacking" ]; then \
        version=$$("$$lacking" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
        echo "$$lacking runs (Python $$version), but its venv has no pip. Install the package python$$version-venv (Debian, Ubuntu: apt install python$$version-venv)," >&2; \
        echo "or name another Python: make PYTHON=/path/to/python3.12" >&2; exit 1; \
    fi; \
    if [ -z "$$chosen" ]; then \
        echo 'No Python 3.11 or newer runs here (tried: $(subst ",,$(CANDIDATES))). Install one, or name it: make PYTHON=/path/to/python3.12' >&2; exit 1; \
    fi; \
    echo "Setting up $(1) with $$("$$chosen" --version), once ..."; \
    "$$chosen" -m venv --clear $(1); \
    pwd -P > $(1)/place; \
else \
    echo "Bringing $(1) up to date ..."; \
fi; \
$(1)/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes -r $(2); \
$(1)/bin/python -m pip install --quiet --no-input --disable-pip-version-check --no-deps --no-build-isolation -e .; \
pwd -P > $(1)/ready
endef
