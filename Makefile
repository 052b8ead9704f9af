# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo
FILMS := runs/demo-films
EMOJI := runs/demo-emoji
RESULTS ?= docs/results
JOBS ?= 2

.PHONY: demo test unit lint format bench claims docs wheels clean help

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml core/pyproject.toml plugins/vision/pyproject.toml plugins/graphrec/pyproject.toml plugins/multimodal/pyproject.toml apps/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev --group docs -e core -e plugins/vision -e plugins/graphrec -e plugins/multimodal -e 'apps[image-search,recommender,picture-search]'
	@touch $@

demo: $(VENV)/.installed ## recommend films, find emoji by words, learn from images; measured, with pictures, in five minutes or six
	@echo "First: who liked which film. BPR-MF and LightGCN, then XSimGCL, on one split."
	for model in bprmf lightgcn; do \
	  $(BIN)/counterpoint pretrain --config configs/graphrec/demo-$$model.yaml --out $(FILMS)-$$model --overwrite --report false \
	  && $(BIN)/counterpoint evaluate $(FILMS)-$$model --quick || exit 1; done
	$(BIN)/counterpoint pretrain --config configs/graphrec/demo.yaml --out $(FILMS) --overwrite
	$(BIN)/counterpoint evaluate $(FILMS)
	$(BIN)/counterpoint compare $(FILMS) $(FILMS)-lightgcn $(FILMS)-bprmf --out $(FILMS)/compare.html
	$(BIN)/counterpoint app recommender recommend 196 -k 3 --run $(FILMS)
	@echo "Second: emoji and their names. CLIP, from nothing, and a search for emoji that it never saw."
	$(BIN)/counterpoint pretrain --config configs/multimodal/demo.yaml --out $(EMOJI) --overwrite
	$(BIN)/counterpoint evaluate $(EMOJI)
	$(BIN)/counterpoint app picture-search index --run $(EMOJI) --index $(EMOJI)/index --rebuild
	$(BIN)/counterpoint app picture-search search "red heart" "a cat" "clock" -k 8 --index $(EMOJI)/index --sheet $(EMOJI)/found.png
	@echo "Third: pictures, without a label."
	$(BIN)/counterpoint pretrain --config configs/vision/demo.yaml --data "$$($(BIN)/python -m counterpoint_vision.data.demo)" --out $(DEMO) --overwrite
	$(BIN)/counterpoint evaluate $(DEMO)
	$(BIN)/counterpoint app image-search query --run $(DEMO) --samples 5 -k 9 --sheet $(DEMO)/neighbours.png
	@echo
	@echo "Films. Open this first, in a browser:"
	@echo "  report          $(FILMS)/report.html"
	@echo "and then:"
	@echo "  side by side    $(FILMS)/compare.html"
	@echo "  try it          $(BIN)/counterpoint app recommender serve --run $(FILMS)"
	@echo "  your own table  $(BIN)/counterpoint app recommender fit TABLE --out runs/mine"
	@echo "Emoji:"
	@echo "  report          $(EMOJI)/report.html (what words find among emoji that it never saw)"
	@echo "  three searches  $(EMOJI)/found.png"
	@echo "  try it          $(BIN)/counterpoint app picture-search serve --index $(EMOJI)/index"
	@echo "  your own        $(BIN)/counterpoint pretrain multimodal/clip --data TABLE --out runs/pairs"
	@echo "Pictures:"
	@echo "  report          $(DEMO)/report.html"
	@echo "  neighbours      $(DEMO)/neighbours.png"
	@echo "  numbers         $(DEMO)/evaluation-test.json"
	@echo "  curves          $(DEMO)/metrics.csv ($(BIN)/tensorboard --logdir $(DEMO)/tensorboard)"
	@echo "  encoder         $(DEMO)/encoder"
	@echo "  your own        $(BIN)/counterpoint pretrain vision/simclr --data FOLDER --out runs/mine"

test: $(VENV)/.installed ## every test but claims and benchmarks, and a smoke version of those
	$(BIN)/python -m pytest -m "not claim and not bench" -n $(JOBS) --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.installed ## the fast tests only
	$(BIN)/python -m pytest -m unit

lint: $(VENV)/.installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy core/src plugins/vision/src plugins/graphrec/src plugins/multimodal/src apps/src

format: $(VENV)/.installed ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# RecBole asks for an old ray that no longer installs, so it comes without what it asks for; SELFRec is no package:
# COUNTERPOINT_SELFREC=<a checkout> lets it take part.
bench: $(VENV)/.installed ## speed and memory against peers; tables in docs/results/bench
	-$(BIN)/python -m pip install --quiet --group bench
	-$(BIN)/python -m pip install --quiet --no-deps recbole==1.2.1
	COUNTERPOINT_RESULTS=$(RESULTS)/bench OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/benchmarks -m bench -s

claims: $(VENV)/.installed ## train methods and baselines over seeds; tables in docs/results (an hour or two)
	COUNTERPOINT_RESULTS=$(RESULTS) $(BIN)/python -m pytest tests/claims -m claim -s

wheels: $(VENV)/.installed ## build each distribution's wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist ./core ./plugins/vision ./plugins/graphrec ./plugins/multimodal ./apps

docs: $(VENV)/.installed ## regenerate the generated tables, and build the site into docs/_build
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "The site: docs/_build/index.html"

clean: ## remove what was built here (not runs/)
	rm -rf $(VENV) dist build docs/_build .pytest_cache .mypy_cache .ruff_cache
