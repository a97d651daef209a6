# The course in two commands: `make lab` sets everything up and opens it, `make test` sets up the same and tests it.
# Setting up takes some minutes and 7 GB, most of it torch, and is done once.

PYTHON := python3.13 python3.12 python3.11 python3 python
JOBS := 2

VENV := .venv
BIN := $(VENV)/bin
PACKAGES := $(VENV)/lib/python3*/site-packages
# Named after the folder it is in: in a checkout that was moved the environment is set up again.
READY := $(VENV)/ready-$(shell pwd | cksum | cut -d' ' -f1)

# The first Python that will do.
SUITS := import sys, venv, ensurepip; print("yes" if sys.version_info >= (3, 11) else "")
USABLE = $(firstword $(foreach python,$(PYTHON),$(if $(shell $(python) -c '$(SUITS)' 2>/dev/null),$(python))))

# What was tested; which index pip asks is pip's own configuration.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: help lab test course notebooks lint

help:
	@echo 'make lab        open the course in JupyterLab'
	@echo 'make test       run every test, the notebooks among them'
	@echo 'make course     run the notebooks without a browser and write them as HTML to build/course'
	@echo 'make notebooks  run the notebooks and store their outputs in them'
	@echo 'make lint       check the style'
	@echo 'Each sets up $(VENV) first where that is not done.'

lab: $(READY)
	$(BIN)/tlcourse lab

# One torch thread a process: two processes of two threads on two cores are 25 times slower.
test: $(READY)
	TLCOURSE_PROFILE=smoke OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile \
	    --nbval-lax --nbval-current-env --nbval-cell-timeout 120 notebooks tests

course: $(READY)
	$(BIN)/tlcourse course

notebooks: $(READY)
	$(BIN)/tlcourse notebooks

lint: $(READY)
	$(BIN)/ruff check .

# Without a Python of its own, or with one that is too old or gone, the environment is made anew. A package whose
# installation was interrupted has no INSTALLER yet; pip would take it for whole, so its record is removed first.
# A current pip is thrice as fast as the one that Python 3.11 brings; what builds packages is pinned like them.
# pip would compile on one core; what does not compile is for other versions of Python.
$(READY): pyproject.toml constraints.txt
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    && ls $(PACKAGES)/pip-*.dist-info/INSTALLER >/dev/null 2>&1 && exit; \
	python='$(USABLE)'; \
	if [ -z "$$python" ]; then \
	    echo 'No Python 3.11 or newer with the modules venv and ensurepip is here; looked for: $(PYTHON).' >&2; \
	    echo 'Install one (Debian, Ubuntu: `sudo apt install python3 python3-venv`; macOS: python.org),' >&2; \
	    echo 'or name one: `make $(MAKECMDGOALS) PYTHON=/path/to/python3.12`.' >&2; \
	    exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$python: some minutes and 7 GB, once."; \
	$$python -m venv --clear $(VENV)
	@for info in $(PACKAGES)/*.dist-info; do [ -e "$$info/INSTALLER" ] || rm -rf "$$info"; done
	$(INSTALL) --quiet pip setuptools hatchling
	$(INSTALL) --no-compile --no-build-isolation --editable '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 $(PACKAGES) >/dev/null 2>&1 || true
	@rm -f $(VENV)/ready-*
	@touch $@
