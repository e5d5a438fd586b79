# `make demo` and `make test` do everything on a fresh machine with Python 3.11, make and git.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AIRFLOW_STAMP := .venv-airflow/.installed

# The tests start thousands of processes, and without its cache each would compile the toolkit again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test test-frameworks test-frameworks-short test-long quick lint lint-types lint-code lint-yard lint-workflows e2e e2e-short e2e-all e2e-forge site-test airflow e2e-up e2e-down e2e-status infrastructure bench error-rates lock locks image dist tag released-from-main release docs golden clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP) ## install everything the other targets need, in .venv

demo: $(STAMP) ## play the whole path of a version on real data, in ./demo
	$(BIN)/python scripts/demo/play.py

# Three workers on two cores: there is always one that waits for a process or a server.
test: $(STAMP) ## run every check and every test, without Kubernetes and without network
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

# The runtimes first, by their names: on a new machine they take most of the time.
test-frameworks: $(STAMP) ## run the tests that install other libraries, and so need a package index: this takes minutes
	$(BIN)/python tests/frameworks/runtimes.py build
	$(BIN)/python -m pytest -q -m frameworks -n 2 --dist loadfile

FRAMEWORKS := tests/frameworks/test_
test-frameworks-short: $(STAMP) ## of these only LightGBM from a CSV to production, and XGBoost with other pins than the platform's
	$(BIN)/python tests/frameworks/runtimes.py build xgboost
	$(BIN)/python -m pytest -q -m frameworks -n 2 --dist loadfile $(FRAMEWORKS)readme_framework.py \
	  "$(FRAMEWORKS)models_of_other_libraries.py::test_a_server_in_its_own_runtime_is_verified_and_answers_as_its_library[xgboost]" \
	  "$(FRAMEWORKS)models_of_other_libraries.py::test_a_runtime_may_have_other_versions_than_the_platform[xgboost-pandas]"

test-long: $(STAMP) ## run what `make test` leaves out: dear tests, and every case where it takes a sample
	$(BIN)/python -m pytest -q -m long -n 3 --dist loadfile --no-loadscope-reorder

quick: $(STAMP) ## run the fast tests
	$(BIN)/python -m pytest -q -m "not slow and not long and not frameworks" -n 2 --dist loadfile

lint: $(STAMP) ## check formatting, types, layers, specs and workflows
	$(MAKE) --no-print-directory -j 2 lint-types lint-code lint-yard lint-workflows

lint-types: $(STAMP)
	$(BIN)/mypy --no-error-summary

lint-code: $(STAMP)
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/lint-imports --no-cache > $(VENV)/layers.log || { cat $(VENV)/layers.log; exit 1; }

lint-yard: $(STAMP)
	$(BIN)/modelyard validate
	$(BIN)/modelyard render --check
	$(BIN)/modelyard render --check --platform

lint-workflows: $(STAMP)
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/actionlint .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-actions .github/actions/*/action.yml

FLIGHTS := tests/e2e/test_flights.py
e2e: $(STAMP) ## play the whole path on a Kubernetes that is started for it and stopped afterwards
	$(BIN)/python -m pytest -q -x -s $(FLIGHTS)::test_a_model_of_flights_sets_out tests/e2e/test_journey.py $(FLIGHTS) \
	  tests/e2e/test_runtimes.py tests/e2e/test_profile_shards.py

e2e-short: $(STAMP) ## only one version: train, promote, abort, revert
	$(BIN)/python -m pytest -q -x -s tests/e2e/test_journey.py

e2e-all: $(STAMP) ## the whole path, twenty rollbacks and every fault; an hour or more
	$(BIN)/python -m pytest -q -s $(addprefix tests/e2e/test_, journey.py rounds.py flights.py runtimes.py profile_shards.py faults.py promotion.py)

e2e-forge: $(STAMP) ## play what needs a real forge on a Gitea, and the workflows of .github on its runner and on act
	$(BIN)/python tests/e2e/forge/programs.py build
	$(BIN)/python -m pytest -q -x -m "not frameworks" tests/e2e/forge

site-test: $(STAMP) ## look at the pages of `modelyard site` in Chromium, and check them with axe-core
	$(BIN)/python tests/e2e/site/axe.py
	$(BIN)/python -m pytest -q tests/e2e/site

airflow: $(STAMP) $(AIRFLOW_STAMP) ## play workflows, faults and the tour on an Airflow that is started for it
	$(BIN)/python -m pytest -q -x -s tests/e2e/airflow

e2e-up: $(STAMP) ## start the Kubernetes of the end-to-end tests and keep it running
	$(BIN)/python tests/e2e/cluster/cluster.py up

e2e-down: $(STAMP) ## stop it
	$(BIN)/python tests/e2e/cluster/cluster.py down

e2e-status: $(STAMP) ## list what of it runs
	$(BIN)/python tests/e2e/cluster/cluster.py status

infrastructure: $(STAMP) ## test environments/platform/aws with OpenTofu, without an account
	$(BIN)/python tests/infrastructure/programs.py build
	$(BIN)/python -m pytest -q -n 2 tests/infrastructure

bench: $(STAMP) ## run the benchmarks and print JSON
	for file in tests/benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

error-rates: $(STAMP) ## simulate how often the gate, the judge and drift are wrong, and write docs/statistics.md; ONLY=gate for one
	PYTHONPATH=tests $(BIN)/python -m error_rates.run $(ONLY)

# First what models run in: a new version of what only developers use must not change it.
lock: $(STAMP) ## write the lock files again from pyproject.toml
	$(BIN)/modelyard runtime lock --platform
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --group dev --group demo --group docs --universal \
	  --constraint requirements-runtime.lock \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header -o requirements.lock
	echo hatchling | $(BIN)/uv pip compile -q pyproject.toml - --extra serving --extra sklearn \
	  --constraint requirements.lock \
	  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header -o requirements-image.lock
	$(BIN)/uv pip compile -q --group airflow --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header -o requirements-airflow.lock

LOCK ?= requirements-runtime.lock
IMAGE ?= localhost/modelyard
PUSH ?=
export LOCK IMAGE PUSH BUILT

image: ## build the image of a lock (LOCK=..., IMAGE=name); with PUSH=true push it, with its SBOM
	@$(PYTHON) scripts/image/build.py

locks: ## list the locks that an image is built of, as JSON
	@$(PYTHON) scripts/image/build.py list

dist: $(STAMP) ## build the package in ./dist, with the packages it was locked with
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	cp requirements-image.lock dist/

tag: $(STAMP) ## make the tag TAG of the main branch, with the credentials of the tool
	@PYTHONPATH=scripts $(BIN)/python -m release.tag

released-from-main: ## check that the checked out commit is on the main branch, where it was reviewed
	@git merge-base --is-ancestor HEAD refs/remotes/origin/main || { \
	  echo "error: $$(git rev-parse HEAD) is not on origin/main: nothing is released of it; hint: merge it, and tag the merge" >&2; \
	  exit 1; \
	}

release: ## publish ./dist as the release of the tag GITHUB_REF_NAME
	gh release create "$$GITHUB_REF_NAME" dist/* --verify-tag --notes-file CHANGELOG.md

docs: $(STAMP) ## build the documentation as one site, in build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q -f scripts/documentation/mkdocs.yml

golden: $(STAMP) ## accept the renderer's present output as the golden trees
	$(BIN)/python -m pytest -q tests/golden --update-golden

clean: ## remove the output of demo and tests, but not .venv
	rm -rf demo build .pytest_cache .mypy_cache .ruff_cache

$(STAMP): requirements.lock requirements-uv.lock pyproject.toml
	@echo "installing the packages of requirements.lock into $(VENV): a minute, or more on a slow line"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock requirements-uv.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $(STAMP)

# Airflow asks for an older fastapi than modelyard's environment has.
$(AIRFLOW_STAMP): requirements-airflow.lock | $(STAMP)
	$(PYTHON) -m venv --clear .venv-airflow
	$(BIN)/uv pip sync -q --compile-bytecode --python .venv-airflow/bin/python --require-hashes requirements-airflow.lock
	touch $@
