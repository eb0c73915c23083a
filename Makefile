# make setup   the environment in .venv (every target below does this by itself)
# make lab     JupyterLab at chapter 00, in your own copy of the chapters: my_course, or the folder that COURSE_HOME names
# make afresh PAGE=03   that page of my_course as it came; yours is kept in my_course/aside
# make train   the training job of chapter 09: genuine VOC if data/VOCdevkit holds it (RECIPE=paper, ssd_keras or
#              voc-short, which needs VOC2007 alone), else the mini VOC
# make headless   chapter 09 itself, executed without a browser; the page with its outputs is written to runs
# make voc     the genuine VOC into data/VOCdevkit: downloads 2.9 GB, verifies, decodes once; 18 GB of disk in all
# make check   what one runs all the time: ruff, and the fast tests without a browser or a chapter, two minutes on two cores
# make test    all tests: pytest, and every chapter from top to bottom with its outputs compared, by three processes, of
#              which one has all tests with a browser, because they wait more than they compute
# make test-nightly   at length: a thousand random cases for each module, solutions with one thing changed, mutants, broken files,
#              kill -9, memory; half an hour
# make chapters   execute the chapters from their sources and write the notebooks
# make book    all chapters as a static, searchable site in build/book, for reading without a kernel; explorers move there
# make test-matrix   the tests without a browser, with the oldest versions that are supported and with the newest (OLDEST=python3.11
#              NEWEST=python3.13: with these Pythons; else that of .venv)
# make bench   speed, as ratios against a peer measured in the same run, ten minutes (RECORD=benchmarks/README.md puts the
#              tables there)
# make clean   remove .venv, build, data made here and runs (asks first)

PYTHON ?= python3
BIN := .venv/bin
MINI := data/mini/VOCdevkit
GENUINE := data/VOCdevkit
VGG16 := data/vgg16.pth
RECIPE ?= paper
# the recipe ssd_keras was called seed, and a run begun under that name goes on in its folder
ifeq ($(RECIPE),seed)
override RECIPE := ssd_keras
endif
OLD_RUN := $(if $(filter ssd_keras,$(RECIPE)),$(wildcard runs/voc0712_seed))
SHORT := $(filter voc-short,$(RECIPE))
GENUINE_RUN := $(or $(OLD_RUN),$(if $(SHORT),runs/voc2007_short,runs/voc0712$(if $(filter paper,$(RECIPE)),,_$(RECIPE))))
NEEDED := $(GENUINE)/VOC2007 $(if $(SHORT),,$(GENUINE)/VOC2012)
# Two processes at a time: one thread each is faster than threads that wait for each other. It is fixed, too. And bytecode
# is kept whatever the environment says: else each process compiles the tests and the course anew, which takes 12 s.
QUIET := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

# Small messages at once: without this an explorer answers in 50 ms instead of 20, half of the time.
PROMPT := --ServerApp.kernel_websocket_connection_class=course.kit.prompt_server.PromptConnection

# The side bar is closed and no news pops up: beside an explorer there is no room for either on a laptop. What a learner
# sets is kept in .lab of their folder.
HOME_FOLDER := $(or $(COURSE_HOME),my_course)
QUIET_LAB := --LabApp.workspaces_dir="$(HOME_FOLDER)/.lab" --ServerApp.root_dir="$(HOME_FOLDER)"
# On a dark page its style sheet dims figures, which are white.
STYLE := --custom-css --ServerApp.tornado_settings="{'static_custom_path': ['$(CURDIR)/course/kit/lab/custom']}"
LAB_SETTINGS := JUPYTER_CONFIG_PATH="$(CURDIR)/course/kit/lab$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}"

.PHONY: setup lab afresh train headless voc check test test-matrix test-nightly chapters mini browser book bench clean
.DEFAULT_GOAL := setup

setup: $(BIN)/ready

$(BIN)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {v.major}.{v.minor}; name another one: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv, a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@

mini: setup
	@$(BIN)/python data_scripts/make_mini_voc.py --out $(MINI)

lab: mini
	@$(BIN)/python -m course.kit.working_copy
	$(LAB_SETTINGS) $(BIN)/jupyter lab $(PROMPT) $(QUIET_LAB) $(STYLE) $(shell [ "$$(id -u)" = 0 ] && echo --allow-root) "$(HOME_FOLDER)/00_start_here.ipynb"

afresh: setup
	@$(BIN)/python -m course.kit.working_copy --afresh "$(PAGE)"

train: mini
	@if [ -z "$(filter-out $(wildcard $(NEEDED)),$(NEEDED))" ]; then \
	  test -f $(VGG16) || { echo "$(VGG16) is missing, and the recipe breaks without it; $(BIN)/python -m ssdlib doctor says how to get it"; exit 1; }; \
	  $(BIN)/python -m ssdlib train --recipe $(RECIPE) --data $(GENUINE) --out $(GENUINE_RUN) --resume --init $(VGG16); \
	else \
	  $(BIN)/python -m ssdlib train --recipe mini --data $(MINI) --out runs/mini --resume; \
	fi

headless: mini
	$(BIN)/jupyter nbconvert --to notebook --execute --ExecutePreprocessor.timeout=-1 --output-dir runs chapters/09_full_training.ipynb

voc: setup
	@$(BIN)/python data_scripts/download_voc.py --out $(GENUINE)
	@$(BIN)/python data_scripts/verify_voc.py $(GENUINE)
	@$(BIN)/python data_scripts/prepare.py $(GENUINE)

check: mini
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@COURSE_VOC=$(CURDIR)/$(MINI) $(QUIET) $(BIN)/python -m pytest -n 2 --dist loadfile -p no:cacheprovider \
	  -m "not slow and not browser and not nightly" tests

test: mini browser
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@rm -rf runs/tested
	@COURSE_VOC=$(CURDIR)/$(MINI) COURSE_RUNS=$(CURDIR)/runs/tested COURSE_SHORT=1 $(QUIET) $(BIN)/python -m pytest \
	  -n 3 --dist loadfile --no-loadscope-reorder --nbval --nbval-current-env --nbval-cell-timeout 1800 \
	  --nbval-sanitize-with chapters/sanitize.cfg -p no:cacheprovider tests chapters

test-matrix: mini
	@$(BIN)/python tests/matrix.py $(if $(OLDEST),--oldest $(OLDEST)) $(if $(NEWEST),--newest $(NEWEST))

test-nightly: mini
	@$(QUIET) $(BIN)/python -m pytest -m nightly tests
	@$(QUIET) $(BIN)/python tests/mutants.py --jobs 2
	@$(QUIET) HYPOTHESIS_EXAMPLES=2000 $(BIN)/python -m pytest -n 2 tests/robustness/test_fuzz.py
	@$(QUIET) $(BIN)/python tests/faults.py --kills 100
	@$(QUIET) $(BIN)/python tests/faults.py --memory 2000

book: mini
	@rm -rf build/book && $(BIN)/python chapters/book/book.py build/book

bench: mini browser
	@$(BIN)/python benchmarks/everything.py $(if $(RECORD),--record $(RECORD))

chapters: mini
	@COURSE_VOC=$(CURDIR)/$(MINI) COURSE_RUNS=$(CURDIR)/runs $(BIN)/python chapters/build.py

# The browser tests use the system's Chromium; where it can't be installed they are skipped with a sentence.
browser:
	@if ! command -v chromium chromium-browser google-chrome >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null || true; \
	  fi; \
	fi

clean:
	@printf 'remove .venv, build, data/mini and runs? [y/N] '; read answer; \
	if [ "$$answer" = y ]; then rm -rf .venv build data/mini runs; fi
