# make demo and make test work on a fresh machine with Python 3.11+ and g++. All else is in .venv.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
PY := $(VENV)/bin/python
SOURCES := setup.py pyproject.toml $(shell find csrc -type f)

.PHONY: demo test test-processors lint bench docs wheel picture clean
.DEFAULT_GOAL := demo

# Goes on where it was stopped; report/index.html is the page to open.
demo: $(VENV)/.installed
	$(PY) -m saliency_ext evaluate --out report

# The README's picture of the report; needs chromium.
picture: demo
	$(PY) docs/screenshot.py

# One process per core; threads that wait do not keep a core from the other process. In our order: what compiles comes first.
test: $(VENV)/.installed
	OMP_WAIT_POLICY=PASSIVE $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What depends on the rounding of networks, again as on processors without AVX-512 and without AVX2.
NUMERICAL := tests/attribution tests/comparison tests/metrics tests/models tests/perturbation tests/evaluation/test_adaptive_rounds.py \
	tests/evaluation/test_evaluate.py tests/evaluation/test_curves.py tests/evaluation/test_faults.py tests/disambiguation tests/test_docs.py

test-processors: $(VENV)/.installed
	ONEDNN_MAX_CPU_ISA=AVX2 OMP_WAIT_POLICY=PASSIVE $(PY) -m pytest -n 2 --dist loadfile $(NUMERICAL)
	ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default OMP_WAIT_POLICY=PASSIVE $(PY) -m pytest -n 2 --dist loadfile $(NUMERICAL)

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# JSON under bench/results, table on the screen.
bench: $(VENV)/.installed
	$(PY) -m bench

# The site, in build/site: docs/*.md, a card per metric and method, the API. Nothing is fetched.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build -q

# A wheel in dist/, installed into a fresh environment and used there.
wheel: $(VENV)/.installed
	rm -rf dist build/wheel-check
	$(PY) -m pip wheel -q --no-build-isolation --no-deps --wheel-dir dist .
	$(PYTHON) -m venv build/wheel-check
	build/wheel-check/bin/python -m pip install -q "$(TORCH)" numpy
	build/wheel-check/bin/python -m pip install -q dist/*.whl
	cd build/wheel-check && bin/python -m saliency_ext demo && bin/python -m saliency_ext doctor

# torch comes first and pinned: an open range would fetch another build of it.
$(VENV)/.torch: Makefile
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed"'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q "$(TORCH)" "setuptools>=77,<82" wheel ninja "pybind11>=2.13" numpy
	touch $@

$(VENV)/.installed: $(VENV)/.torch $(SOURCES)
	$(PY) -m pip install -q --no-build-isolation --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info saliency_ext/*.so
