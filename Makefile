# Thin on purpose: each target is what the README shows for people who do not use make.
PYTHON ?= python3
COMMITS = $(shell git rev-list --count HEAD)
.PHONY: demo test proofs test-share test-all lint notebooks docs constraints gpu-check

demo: .venv/installed
	.venv/bin/zoo train resnet20 --data digits --epochs 20 --out runs/demo --overwrite

test: .venv/installed
	.venv/bin/python -m pytest -n 2 --dist worksteal

proofs: .venv/installed
	.venv/bin/python -m pytest -n 2 --dist worksteal -m proof

# What takes minutes, a share with every commit: whole nets, slow tests and one of the notebooks.
test-share: .venv/installed
	.venv/bin/python -m pytest -n 2 --dist worksteal -m proof --share $(COMMITS)/3
	.venv/bin/python -m pytest -n 2 -m "slow and not parity and not pretrained" --share $(COMMITS)/25
	.venv/bin/python -m pytest -n 2 -m notebook --share $(COMMITS)/6

test-all: .venv/installed
	.venv/bin/python -m pytest -m "not parity and not pretrained"

lint: .venv/installed
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

notebooks: .venv/installed
	.venv/bin/jupyter execute --inplace notebooks/*.ipynb && .venv/bin/python -m tools.write_questions

docs: .venv/docs
	.venv/bin/python -m sphinx -M html docs docs/_build --fail-on-warning --keep-going --nitpicky --quiet

# On a machine with an accelerator, perhaps without a network: installs nothing. ARGS="--parts parity" is one part of it.
gpu-check:
	PYTHONPATH=$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH} $(or $(wildcard .venv/bin/python),$(PYTHON)) benchmarks/gpu_check.py $(ARGS)

constraints: .venv/installed
	.venv/bin/uv pip compile --universal --python-version 3.11 --all-extras --no-header --no-annotate pyproject.toml -o constraints.txt

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet -c constraints.txt uv
	.venv/bin/uv pip install --compile-bytecode --python .venv/bin/python -c constraints.txt -e ".[dev]" && touch $@

.venv/docs: .venv/installed
	.venv/bin/uv pip install --python .venv/bin/python -c constraints.txt -e ".[docs]" && touch $@
