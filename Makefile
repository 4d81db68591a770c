# Two commands do everything: `make demo` and `make test`. Both make the environment first; a second run is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
PEERS ?= quantem abtem py4dstem libertem ptyrad readers exspy

.PHONY: demo test check docs peers clean help

help:
	@echo "make demo    install into $(VENV) and run the main job; its pictures land in demo/"
	@echo "make test    install into $(VENV) and run every test"
	@echo "make check   lint, types and the rules on who imports whom"
	@echo "make docs    install into $(VENV) and build the site with its examples; it lands in docs/_build/html"
	@echo "make peers   one environment a peer in .peers/, for exitwave bench (PEERS='$(PEERS)')"
	@echo "make clean   remove what the others made"

demo: $(VENV)/.installed
	$(BIN)/exitwave demo --output demo --force
	@echo "pictures are in $(CURDIR)/demo"

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

check: $(VENV)/.installed-test
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

# -E reads every page again: what is made from the code has no file whose date would tell. Examples run again only when they changed.
docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -q -E -W --keep-going -n -b html docs docs/_build/html
	@echo "the site is $(CURDIR)/docs/_build/html/index.html"

# torch goes first and alone: where a machine offers its own build (CPU or CUDA) nothing later replaces it.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "exitwave needs Python 3.11 or newer; say which: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "$(TORCH)" -c constraints.txt
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e '.[docs]'
	touch $@

# Peers are measured against, never imported: each has an environment of its own under the same torch.
peers: $(PEERS:%=.peers/%/.installed)

.peers/quantem/.installed: WANTS := quantem==0.1.10
.peers/abtem/.installed: WANTS := abtem==1.0.11
.peers/py4dstem/.installed: WANTS := py4DSTEM==0.14.18 "numpy<2"
.peers/libertem/.installed: WANTS := libertem==0.16.0 libertem-parallax==0.1.2 ptychography40==0.1.0
.peers/ptyrad/.installed: WANTS := ptyrad==1.0.0
# one of its lines is for Python 3.12 alone: quotes of one kind inside an f-string
.peers/ptyrad/.installed: AFTER = sed -i "s/{lr_iters\['niter'\]\[-1\]}/{lr_iters[\"niter\"][-1]}/" .peers/ptyrad/lib/python3.*/site-packages/ptyrad/plotting/basic.py

.peers/%/.installed:
	$(PYTHON) -m venv .peers/$*
	printf '%s\n' '$(TORCH)' 'torchvision==0.28.0' > .peers/$*/constraints.txt
	.peers/$*/bin/python -m pip --disable-pip-version-check install --quiet "$(TORCH)"
	.peers/$*/bin/python -m pip --disable-pip-version-check install --quiet -c .peers/$*/constraints.txt $(WANTS)
	$(AFTER)
	touch $@

# those that only read files want no torch
.peers/readers/.installed:
	$(PYTHON) -m venv .peers/readers
	.peers/readers/bin/python -m pip --disable-pip-version-check install --quiet rosettasciio==0.14.0 libertem==0.16.0 zarr==3.1.6
	touch $@

# matplotlib 3.11 and numpy 2.4 run it; numba spares it a slow path
.peers/exspy/.installed:
	$(PYTHON) -m venv .peers/exspy
	.peers/exspy/bin/python -m pip --disable-pip-version-check install --quiet exspy==0.3.2 numba
	touch $@

clean:
	rm -rf $(VENV) .peers demo build dist docs/_build docs/about docs/examples docs/reference/python docs/sg_execution_times.rst .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
