# Everything a newcomer needs: `make train` and `make test` set up a local .venv by themselves. Needs Python 3.11+ and nothing else.
# Written for GNU make 3.81 too, the one of macOS.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
ZOO   ?= quickstart open_rbc open_consumers open_quota10 open_shocks closed_rbc closed_money closed_dividends
# Whose best responses the certificates of the zoo are about, and how long one is learnt.
SEARCH = --seeds 1 --iterations 100 --type consumer --type firm --type government --agent firm:all \
	$(foreach number,0 25 50 75 99,--agent consumer:$(number))
# Of a run's progress the zoo keeps every twentieth iteration: what happened in the economies, and the curriculum.
define THIN_PROGRESS
import sys
from rbc_marl.analysis.figures.training import read_progress
rows = read_progress(sys.argv[1]).query("training_iteration % 20 == 0")
rows = rows.filter(regex="^(training_iteration|curriculum/|env_runners/(?!num_|sample|weights))")
rows.to_csv(sys.argv[2], index=False, float_format="%.6g")
endef
export THIN_PROGRESS
# Of the answers to scenarios their page keeps means over periods.
define KEEP_MEANS
import sys
from pathlib import Path
import pandas as pd
tables = []
for file in sorted(Path(sys.argv[1]).glob("*.csv")):
    scenario, seed = file.stem.rsplit("-", 1)
    rows = pd.read_csv(file).query("period != period").drop(columns=["period", "unit"])
    tables.append(rows.assign(scenario=scenario, seed=seed).astype({"group": "Int64"}))
pd.concat(tables).to_csv(sys.argv[2], index=False, float_format="%.5g")
endef
export KEEP_MEANS
FILE  ?= rllib_configs/quickstart.yaml
# The pins of constraints.txt were made with the first of these.
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all long libraries compat lint fuzz bench evidence scenarios pictures zoo notebooks docs clean \
        constraints

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP)  ## make .venv and install everything into it (the others do this by themselves)

train: $(STAMP)  ## train the quickstart economy, or another: make train FILE=rllib_configs/open_rbc.yaml
	$(BIN)/rbc-marl train $(FILE)

test: $(STAMP)  ## run ruff, mypy and all tests with the coverage gate; or some tests: make test TESTS="-k rationing"
ifdef TESTS
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TESTS)
else
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -m "not slow and not long" --numprocesses 2 --dist worksteal
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -m "slow and not long" --numprocesses 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
endif

test-all: test long  ## run everything: `make test`, then `make long`

long: $(STAMP)  ## run the tests marked long and those of the third-party libraries: many minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long --numprocesses 2 --dist loadfile
	PYTHON=$(BIN)/python .ci/libraries

libraries: $(STAMP)  ## test the third-party libraries, each in an environment of its own: minutes
	PYTHON=$(BIN)/python .ci/libraries

compat: $(STAMP)  ## test the oldest and the newest dependencies that are allowed, each in an environment of its own
	@newest=$$(for python in python3.14 python3.13 python3.12 $(CURDIR)/$(BIN)/python; do \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null && { echo $$python; break; }; done); \
	PYTHON=$(BIN)/python NEWEST_PYTHON=$$newest .ci/libraries oldest newest

lint: $(STAMP)  ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

fuzz: $(STAMP)  ## try 20,000 odd inputs and many economies, and kill train, sweep and best-response 20 times: hours
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz --numprocesses 2 --hypothesis-profile=fuzz
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/economy -m "not slow" --numprocesses 2 --hypothesis-profile=long

bench: $(STAMP)  ## measure the speed of the economy, of sampling and of training, for docs/evidence/speed
	mkdir -p results
	$(BIN)/rbc-marl bench --threads 1 --out results/bench.json --out results/bench.md --out results/bench.png

evidence: $(STAMP)  ## make the tables of docs/evidence anew: hours; goes on where it stopped
	for name in market closed curriculum curriculum_closed curriculum_flat curriculum_paper taxes taxes_consumers few_exports; do \
	  $(BIN)/rbc-marl sweep rllib_configs/sweeps/$$name.yaml || exit 1; \
	  cp results/$$name/table.csv docs/evidence/$$name.csv; \
	done
	$(BIN)/python docs/pictures.py

scenarios: $(STAMP)  ## answer the questions of docs/scenarios anew: an hour; goes on where it stopped
	mkdir -p results/scenarios
	for file in rllib_configs/scenarios/*.yaml; do \
	  name=$$(basename $$file .yaml); \
	  for seed in 0 1; do \
	    to=results/scenarios/$$name-$$seed; \
	    [ -e $$to.csv ] || \
	      $(BIN)/rbc-marl scenario $$name --seed $$seed --folder $$to --out $$to.png --out $$to.csv || exit 1; \
	  done; \
	  cp results/scenarios/$$name-0.png docs/scenarios/$$name.png; \
	done
	$(BIN)/python -c "$$KEEP_MEANS" results/scenarios docs/scenarios/table.csv

pictures: $(STAMP)  ## draw the pictures of README and docs anew, from docs/evidence and the zoo
	$(BIN)/python docs/pictures.py

zoo: $(STAMP)  ## make the policies that travel with the package anew: hours; what is under results/zoo is kept
	for name in $(ZOO); do \
	  runs=results/zoo/$$name; \
	  grep -qs '"status": "finished"' $$runs/*/*/run.json || \
	    $(BIN)/rbc-marl train $$name --set seed=100 --set storage_path=$$runs || exit 1; \
	  run=$$(ls -d $$runs/*/*_seed100 | tail -n 1); \
	  last=$$(ls -d $$run/checkpoint_* | tail -n 1); \
	  ! grep -qs '"outcome": "living"' $$run/run.json || \
	    $(BIN)/rbc-marl best-response $$run $(SEARCH) || exit 1; \
	  to=rbc_marl/zoo/$$name; \
	  rm -rf $$to && mkdir -p $$to/$$(basename $$last) && \
	  sed '/^ *storage_path:/d' $$run/config.yaml > $$to/config.yaml && \
	  cp -R $$last/policies.json $$last/policies $$to/$$(basename $$last) && \
	  $(BIN)/python -c "$$THIN_PROGRESS" $$run $$to/progress.csv && \
	  for file in certificate.json deviations; do \
	    [ ! -e $$run/best_response/$$file ] || \
	      { mkdir -p $$to/best_response && cp -R $$run/best_response/$$file $$to/best_response; } || exit 1; \
	  done; \
	done

notebooks: $(STAMP)  ## execute tutorials/*.py into tutorials/notebooks: minutes; some: make notebooks NAMES="04 09"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[jupyter]'
	OMP_NUM_THREADS=1 $(BIN)/python tutorials/notebooks/make.py $(NAMES)

docs: $(STAMP)  ## build the site of docs/ in build/site
	$(BIN)/mkdocs build --site-dir build/site

clean:  ## remove .venv, caches and build outputs; results/ stays
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find rbc_marl tests -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(STAMP)  ## write constraints.txt anew from what .venv holds
	@sed -n '/^#/p' constraints.txt > $(VENV)/constraints.txt
	@$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip \
	  | sed 's/+[a-z0-9.]*$$//' | LC_ALL=C sort -f >> $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt

# Touched last, so that an interrupted set-up starts again.
$(STAMP): pyproject.toml constraints.txt
	@found=; newest=; \
	for candidate in $(PYTHONS); do \
	  version=$$("$$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue; \
	  [ -n "$$newest" ] || newest="$$candidate is Python $$version"; \
	  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || continue; \
	  newest="$$candidate is Python $$version"; \
	  if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then found=$$candidate; break; fi; \
	  newest="$$newest but lacks the modules venv and ensurepip (Debian: apt install python3-venv)"; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "This needs Python 3.11 or newer with venv; $${newest:-no Python was found}." >&2; \
	  echo "Debian, Ubuntu: apt install python3 python3-venv. macOS: brew install python@3.13." >&2; \
	  echo "Or name one: make PYTHON=/path/to/python3.11 ..." >&2; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$found: a few minutes, once."; \
	[ -x $(BIN)/pip ] || "$$found" -m venv --clear $(VENV) || exit 1; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[rllib,analysis,optuna,dev,docs]' || exit 1; \
	touch $@
