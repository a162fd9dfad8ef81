# Every target does all its own set-up: Python >= 3.11 with venv, make and a package index are enough.
# A second run contacts nobody while the locks in requirements/ are unchanged.

ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
endif
BIN := .venv/bin
ARGS ?=
NEEDS_PYTHON := make: no Python 3.11 or newer was found. Install one (Debian: apt install python3 python3-venv; \
	macOS: brew install python), or say make PYTHON=/path/to/python
TOO_OLD := make: $(PYTHON) does not run, or is older than Python 3.11; leave PYTHON out to have one looked for
define CHECK_PYTHON
@test -n "$(PYTHON)" || { echo "$(NEEDS_PYTHON)" >&2; exit 1; }
@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(TOO_OLD)" >&2; exit 1; }
endef

.DEFAULT_GOAL := help
.PHONY: help install dev demo up check generate format test e2e bench chaos lock

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

install: ## set up .venv; afterwards .venv/bin/gnomon exists
	$(CHECK_PYTHON)
	@$(PYTHON) requirements/install.py

dev: # the same with the tools for checks and tests
	$(CHECK_PYTHON)
	@$(PYTHON) requirements/install.py --dev

demo: install ## everything on this machine with three sample tasks; Ctrl-C stops it
	@$(BIN)/gnomon up --demo $(ARGS)

up: install ## everything on this machine; options in ARGS, as in make up ARGS="--data /srv/gnomon"
	@$(BIN)/gnomon up $(ARGS)

check: dev ## formatting, lint, types, import walls, generated files
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m gnomon_schemas.generate --check
	$(BIN)/python -m gnomon_cli.env_example --check
	$(BIN)/python -m gnomon_cli.reference --check
	$(BIN)/python -m gnomon_api.reference --check

generate: dev ## write what is generated: schemas, reference pages, .env.example
	$(BIN)/python -m gnomon_schemas.generate
	$(BIN)/python -m gnomon_cli.env_example
	$(BIN)/python -m gnomon_cli.reference
	$(BIN)/python -m gnomon_api.reference

format: dev ## format the code, and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Tests start hundreds of interpreters. Where the environment forbids to keep compiled modules (images do), each of them
# would compile all that it imports: a second or two. So here they are kept, out of the way.
ifneq ($(PYTHONDONTWRITEBYTECODE),)
test e2e chaos bench: export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/compiled
test e2e chaos bench: export PYTHONDONTWRITEBYTECODE :=
endif

# Where time is no matter, no process is forked off one that has imported everything: tests/harness/forking.py
e2e chaos bench: export GNOMON_TESTS_FORK := 0

# The few that have the machine for themselves go first: their pass compiles what four workers then only read. Exit code
# 1 of pytest: tests failed; 5: there were none to run; the others are no outcome of tests, and nothing is tried again.
test: dev ## every test that needs nothing but pip; options for pytest in ARGS
	@rm -f .pytest_cache/v/cache/lastfailed; first=0; rest=0; \
	$(BIN)/python -m pytest -m "alone and not chaos and not e2e" $(ARGS) || first=$$?; \
	$(BIN)/python -m pytest -m "not chaos and not e2e and not alone" -n 4 --dist loadfile --no-loadscope-reorder $(ARGS) || rest=$$?; \
	case "$$first $$rest" in \
	"0 0" | "0 5" | "5 0") ;; \
	[015]" "[015]) if test "$$first$$rest" = 55; then echo "make test: there is no such test"; exit 5; fi; \
		echo "make test: what failed is tried once more, by itself; what fails again has failed"; \
		$(BIN)/python -m pytest -m "not chaos and not e2e" --last-failed --last-failed-no-failures none $(ARGS) ;; \
	*) echo "make test: pytest itself ended with $$first and $$rest"; exit 2 ;; \
	esac

e2e: dev ## tests that need more than pip can install; says what, and what was skipped
	@$(BIN)/python tests/e2e/tools.py
	@$(BIN)/python -m pytest -m e2e $(ARGS)

bench: dev ## the benchmarks, beside their ceilings; options in ARGS, as in make bench ARGS="--fast --scale 0.1"
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: dev ## the long runs and the whole matrix of failures
	@$(BIN)/python -m pytest -m chaos $(ARGS) || { test $$? -eq 5 && echo "make chaos: there is no such test in this tree"; }

# Members are left out of the locks, or their local paths would be written.
MEMBERS := gnomon gnomon-api gnomon-cli gnomon-core gnomon-executor gnomon-scheduler gnomon-schemas gnomon-server
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" $(MEMBERS:%=--no-emit-package %) $(ARGS)

lock: dev ## write the locks in requirements/ from the pyproject files; newest versions with ARGS=--upgrade
	$(COMPILE) pyproject.toml --output-file requirements/runtime.txt
	$(COMPILE) --group build --constraint requirements/runtime.txt --output-file requirements/build.txt
	$(COMPILE) --group servers --constraint requirements/runtime.txt --output-file requirements/servers.txt
	$(COMPILE) --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
