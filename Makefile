# Everything starts here: `make help` lists the verbs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Where PYTHONDONTWRITEBYTECODE is set, each of the hundreds of processes that the tests start would compile all of it.
COMPILE := $(BIN)/python -m compileall -q src
export DIZUO_DATA ?= $(wildcard ../shared/data)

.DEFAULT_GOAL := help
.PHONY: help install up demo test test-postgres check bench bench-models constraints clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

install: $(STAMP) ## make the environment in .venv

up: install ## start the server, ask one question in each language, serve
	$(BIN)/dizuo up --demo

demo: install ## the same as up, then exit
	$(BIN)/dizuo demo

test: install ## run the tests (installs Chromium and PostgreSQL from the system's packages where it may)
	.ci/system-packages
	$(COMPILE)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 30

test-postgres: install ## the same tests, every instance on a real PostgreSQL
	.ci/system-packages
	$(COMPILE)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --database postgres

check: install ## format, lint, types, import contract, language catalogue
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m dizuo.platform.catalogue

bench: install ## ours against LangChain + Chroma and LlamaIndex; how soon the server is ready
	$(BIN)/python benchmarks/knowledge.py
	$(BIN)/python benchmarks/startup.py

bench-models: install ## the base against transformers, sentence-transformers, onnxruntime and llama.cpp (builds it)
	$(BIN)/python benchmarks/embedding.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/generation.py

constraints: install ## pin every dependency again
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --no-header --no-annotate --no-emit-index-url | sed 's/^torch==.*/torch==2.13.0/' > constraints.txt

clean: ## remove the environment
	rm -rf $(VENV)
