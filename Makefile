# `make run` and `make test` do all set-up they need, once, and say what they are doing.
# PYTHON: which Python to build .venv with.
# CPU=1: no CUDA packages, a smaller install; TORCH_INDEX: where PyTorch's CPU build is taken from.
SHELL := /bin/bash
PYTHON ?= python3
CPU ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := .venv/bin/python -m pip --disable-pip-version-check
READY := .venv/ready$(if $(CPU),-cpu)

.PHONY: run test setup doctor lint clean

run: setup ## Start the app on this machine; the address is printed.
	@echo "==> Starting InstantID Studio (Ctrl-C stops it)"
	@.venv/bin/python app.py $(ARGS)

test: setup .venv/ready-tests ## Pass the tests, those in a browser among them.
	@echo "==> Checking style"
	@.venv/bin/ruff format --check -q . && .venv/bin/ruff check -q .
	@echo "==> Testing (some minutes)"
	@.venv/bin/python -m pytest -n 2 --dist loadfile -m "not browser" $(ARGS)
	@echo "==> Testing in a browser"
	@.venv/bin/python -m pytest -m browser $(ARGS)

setup: $(READY) ## Make .venv, install, fetch the small face models of the embedded bundle.

doctor: setup ## Say what is wrong with this machine, and how to repair it.
	@.venv/bin/python -m instantid doctor $(ARGS)

.venv/bin/python:
	@echo "==> Making a virtual environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3 …"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing. On Debian: apt-get install python3-venv"; exit 1; }

.venv/ready: requirements.txt | .venv/bin/python
	@echo "==> Installing requirements.txt (about 7 GB, minutes)"
	@$(PIP) install -q -r requirements.txt
	@echo "==> Laying onnxruntime-gpu over the onnxruntime that insightface brought"
	@$(PIP) install -q --force-reinstall --no-deps "$$(sed -n 's/^\(onnxruntime-gpu==[^ ]*\).*/\1/p' requirements.txt)"
	@$(MAKE) -s opencv weights
	@touch $@

.venv/ready-cpu: requirements.txt requirements-cpu.txt | .venv/bin/python
	@echo "==> Installing requirements-cpu.txt, without CUDA packages (2 GB, minutes)"
	@$(PIP) install -q $$(grep ^torch requirements-cpu.txt) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@$(PIP) install -q -r requirements-cpu.txt
	@$(MAKE) -s opencv weights
	@touch $@

.PHONY: opencv weights
opencv:
	@echo "==> Laying OpenCV without windows over the one that insightface brought, which wants libGL"
	@$(PIP) install -q --force-reinstall --no-deps opencv-python-headless==5.0.0.93

weights:
	@echo "==> Unpacking the embedded bundle, fetching its face models (39 MB)"
	@.venv/bin/python -m instantid fetch --bundle mini --yes

.venv/ready-tests: requirements-test.txt | .venv/bin/python
	@echo "==> Installing what the tests need"
	@$(PIP) install -q -r requirements-test.txt
	@echo "==> Fetching what rendered people are made of (140 MB, once)"
	@.venv/bin/python -m instantid data fetch
	@command -v chromium >/dev/null || { echo "==> Installing Chromium for the browser tests"; apt-get update -qq && apt-get install -qq -y chromium >/dev/null; } || { echo "The browser tests need Chromium: apt-get install chromium"; exit 1; }
	@touch $@

clean: ## Throw the environment away.
	rm -rf .venv
