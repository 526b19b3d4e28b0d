SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
VENV := .venv/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Make .venv from requirements.lock; quick when nothing changed
	@deploy/setup/venv.sh

.PHONY: demo
demo: setup ## Run everything on samples, or FILES="a.dcm b.jpeg"; KEEP=1 leaves the server running
	@$(VENV)/lobar demo $(if $(filter 1,$(KEEP)),--keep) $(FILES)

.PHONY: viewer
viewer: setup ## Look at the samples' reports in OHIF and Orthanc, or at those of FILES="a.dcm b.jpeg"
	@deploy/setup/peers.sh orthanc orthanc-dicomweb npm
	@deploy/setup/ohif.sh
	@$(VENV)/python deploy/viewer/show.py $(FILES)

PEERS := orthanc or ohif or dcmtk or postgresql or dciodvfy or pixelmed or openid or data

.PHONY: test-fast
test-fast: setup ## The unit tests that need no peer and no training: about a minute
	OMP_NUM_THREADS=1 $(VENV)/pytest -n 2 --dist worksteal -m "not slow and not ($(PEERS))" tests/unit

# A file of tests goes to one process, in the order of collection (tests/conftest.py).
PYTEST = OMP_NUM_THREADS=1 $(VENV)/pytest $(FULL) --dist loadfile --no-loadscope-reorder

# Four processes for two cores, as tests wait for their peers most of the time.
.PHONY: test
test: setup ## Check everything: the peers' packages, the static checks, every test
	@deploy/setup/peers.sh
	@deploy/setup/ohif.sh
	@deploy/setup/openid.sh
	@$(MAKE) -j2 --output-sync=target test-bundle check
	$(PYTEST) -n 4 tests/e2e tests/faults tests/integration tests/unit

# In a run of its own: its tests import the bundle's scripts as another bundle's would be.
.PHONY: test-bundle
test-bundle: setup ## The tests of the MONAI bundle by itself
	$(PYTEST) -n 2 tests/bundle

.PHONY: test-full
test-full: ## The same with the whole report matrix, every viewer case and long property runs
	@$(MAKE) test FULL=--full

.PHONY: fuzz
fuzz: setup ## Say hostile things to the listener and the pages for SECONDS=60, from SEED=n on
	FUZZ_SECONDS=$(or $(SECONDS),60) FUZZ_SEED=$(SEED) $(VENV)/pytest -q --timeout=0 tests/faults/fuzz

.PHONY: soak
soak: setup ## Load and flood a whole service for SECONDS=1800; nothing of it may grow
	@deploy/setup/peers.sh dcmtk
	OMP_NUM_THREADS=1 $(VENV)/pytest -s --soak-seconds=$(or $(SECONDS),1800) tests/faults/floods/test_soak.py

.PHONY: chaos
chaos: setup ## Judge the whole service under faults: SECONDS=120 SEED=1 INSTANCES=960 DATABASE=sqlite
	@deploy/setup/peers.sh orthanc dcmtk postgresql libfaketime
	@PYTHONPATH=tests OMP_NUM_THREADS=1 $(VENV)/python -m faults.chaos \
		--seconds $(or $(SECONDS),120) --seed $(or $(SEED),1) --database $(or $(DATABASE),sqlite) \
		$(if $(INSTANCES),--instances $(INSTANCES)) $(if $(EVERY),--every $(EVERY)) $(if $(KINDS),--kinds $(KINDS)) \
		$(if $(WITHOUT),--without $(WITHOUT)) $(if $(OUTPUT),--output $(OUTPUT)) $(if $(LOG),--log $(LOG))

.PHONY: check types types-of-tests lint
check: types types-of-tests lint ## The static checks: lint, format, types, who may import whom

types: setup
	$(VENV)/mypy

types-of-tests: setup
	$(VENV)/mypy --config-file tests/mypy.ini tests

lint: setup
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/lint-imports

.PHONY: evaluate
evaluate: setup ## Measure the shipped weights: docs/evaluation.md; AGAIN=1 runs the test set again
	@cd monai_bundle && ../$(VENV)/python -m scripts.evaluation $(if $(filter 1,$(AGAIN)),--again)

.PHONY: screenshots
screenshots: setup ## Take the pictures of docs/pages anew, of a service with synthetic samples
	@deploy/setup/peers.sh dcmtk chromium
	@PYTHONPATH=tests $(VENV)/python -m support.screenshots

.PHONY: wheel
wheel: setup ## Build dist/lobar-*.whl: the service, the bundle and the samples
	@rm -rf build dist # setuptools also packs what an earlier build left
	@$(VENV)/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist .
	@rm -rf build
	@ls dist/*.whl

.PHONY: lock
lock: ## Write requirements.lock anew from pyproject.toml, keeping the versions that still fit
	@deploy/setup/lock.sh

.PHONY: clean
clean: ## Remove what tools and tests left here; .venv and state stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find service workers monai_bundle tests -type d -name __pycache__ -prune -exec rm -rf {} +
