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

PEERS := orthanc or ohif or dcmtk or postgresql or dciodvfy or pixelmed or openid or systemd or containers or fhir or data

.PHONY: test-fast
test-fast: setup ## The unit tests that need no peer and no training: about a minute
	OMP_NUM_THREADS=1 $(VENV)/pytest -n 2 --dist worksteal -m "not slow and not ($(PEERS))" tests/unit

# Each of thousands of tests has a spool of 512 folders and waits for fsync. They lie in memory where
# 8 GB of it are to be had for that, except those of the full run, which builds images.
IN_MEMORY = $(shell test "$$(df --output=avail -BG /dev/shm 2>/dev/null | tr -dc 0-9)0" -ge 80 && \
	awk '/^MemAvailable/ { exit $$2 < 12000000 }' /proc/meminfo && \
	! grep -q ' /dev/shm .*noexec' /proc/mounts && echo PYTEST_DEBUG_TEMPROOT=/dev/shm)

# A file of tests goes to one process, in the order of collection (tests/conftest.py). Bytecode is
# kept also where the environment forbids it: hundreds of processes would compile Lobar anew.
PYTEST = $(if $(FULL),,$(IN_MEMORY)) PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 \
	$(VENV)/pytest $(FULL) --dist loadfile --no-loadscope-reorder

# Four processes for two cores, as tests wait for their peers most of the time; PROCESSES=5 for others.
.PHONY: test
test: setup ## Check everything: the peers' packages, the static checks, every test
	@deploy/setup/peers.sh
	@deploy/setup/ohif.sh
	@deploy/setup/openid.sh
	@deploy/setup/fhir.sh
	@deploy/setup/mermaid.sh
	@$(MAKE) -j2 --output-sync=target test-bundle check
	$(PYTEST) -n $(or $(PROCESSES),4) tests/e2e tests/faults tests/integration tests/unit

# In a run of its own: its tests import the bundle's scripts as another bundle's would be.
.PHONY: test-bundle
test-bundle: setup ## The tests of the MONAI bundle by itself
	$(PYTEST) -n 2 tests/bundle

.PHONY: test-full
test-full: ## The same with the whole report matrix, every viewer case and long property runs
	@$(MAKE) test FULL=--full

# Each path that is faster than a plain one has a setting that leaves it out (docs/performance.md).
WHOLE := tests/e2e/test_main_job.py tests/e2e/test_revisions.py tests/e2e/test_other_abnormality.py

.PHONY: test-without
test-without: setup ## The tests of inference, delivery and receiving with each of their faster paths off
	LOBAR_INFER__OVERLAP=false $(PYTEST) -n 4 tests/integration/inference $(WHOLE)
	LOBAR_BUNDLE__ENGINE=torch $(PYTEST) -n 4 tests/integration/inference $(WHOLE)
	LOBAR_DELIVER__DIRECT_SENDING=false LOBAR_DELIVER__KEEP_OPEN_SECONDS=0 $(PYTEST) -n 4 tests/integration/delivery $(WHOLE)
	LOBAR_DICOM__PROCESSES=1 $(PYTEST) -n 4 tests/integration/supervision tests/faults/floods $(WHOLE)
	LOBAR_DICOM__PROCESSES=2 $(PYTEST) -n 4 tests/integration/supervision tests/faults/floods $(WHOLE)

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

# The tests' peers that a machine lacks are left out, in words.
BENCH = PYTHONPATH=tests:monai_bundle $(VENV)/python -m bench $(if $(ONLY),--only $(ONLY))

.PHONY: bench
bench: setup ## Measure Lobar beside other receivers: docs/performance.md; ONLY=receive,forward
	@deploy/setup/peers.sh orthanc dcmtk gcc libc6-dev
	@$(BENCH) --output $(or $(OUTPUT),docs/performance.json) --page $(or $(PAGE),docs/performance.md)

.PHONY: bench-quick
bench-quick: setup ## A selection of it in two minutes, printed; the figures in build/bench-quick.json
	@deploy/setup/peers.sh orthanc dcmtk gcc libc6-dev
	@$(BENCH) --quick --output $(or $(OUTPUT),build/bench-quick.json)

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

.PHONY: dashboards
dashboards: ## Write deploy/grafana/dashboards anew
	@python3 deploy/grafana/build.py

.PHONY: site
site: setup ## The pages as a site in build/site, links checked; SERVE=1 shows it on 127.0.0.1:8000
	@deploy/setup/mermaid.sh
	@NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs $(if $(filter 1,$(SERVE)),serve,build --strict) \
		--quiet --config-file deploy/site/mkdocs.yml
	@$(if $(filter 1,$(SERVE)),,ls build/site/index.html build/site/external_links.txt)

.PHONY: screenshots
screenshots: setup ## Take the pictures of docs/pages anew, of a service with synthetic samples
	@deploy/setup/peers.sh dcmtk chromium orthanc
	@PYTHONPATH=tests $(VENV)/python -m support.screenshots

.PHONY: wheel
wheel: setup ## Build dist/lobar-*.whl: the service, the bundle and the samples
	@rm -rf build dist # setuptools also packs what an earlier build left
	@$(VENV)/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist .
	@rm -rf build
	@ls dist/*.whl

.PHONY: offline
offline: setup ## Pack dist/lobar-*-offline-*.tar, to install without a network; VARIANT=cuda
	@deploy/offline/build.sh $(or $(VARIANT),cpu)

.PHONY: image
image: ## Build the image of TARGET=cpu or cuda with Podman, Buildah or Docker (docs/containers.md)
	@deploy/containers/build.sh $(or $(TARGET),cpu) $(OPTIONS)

.PHONY: lock
lock: ## Write requirements.lock anew from pyproject.toml, keeping the versions that still fit
	@deploy/setup/lock.sh

.PHONY: clean
clean: ## Remove what tools and tests left here; .venv and state stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find service workers monai_bundle tests -type d -name __pycache__ -prune -exec rm -rf {} +
