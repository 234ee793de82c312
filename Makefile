# Two commands matter: `make lab` to learn, `make test` to check. `make` alone lists the rest.
PYTHON  ?= python3
VENV    := .venv
BIN      = $(VENV)/bin
BENCH   := .venv-bench
CLIENTS := .venv-clients
DRIFT   := .venv-drift
HERE    := $(CURDIR)
VAR     := $(HERE)/.venv/var

# Of the caller's settings only those count that say where packages come from.
SOURCES := PIP_%INDEX% PIP_FIND_LINKS PIP_%CERT PIP_PROXY PIP_TRUSTED_HOST PIP_CONFIG_FILE \
	PIP_%TIMEOUT PIP_RETRIES PIP_KEYRING_PROVIDER PIP_USE_FEATURE UV_INDEX% UV_%INDEX \
	UV_%INDEX_URL UV_FIND_LINKS UV_%TLS UV_SYSTEM_CERTS UV_INSECURE_HOST UV_HTTP_% \
	UV_KEYRING_PROVIDER UV_OFFLINE UV_CONFIG_FILE UV_LINK_MODE
unexport $(filter-out $(SOURCES),$(filter PIP_% UV_%,$(.VARIABLES)))
unexport $(filter PYTHON% PYTEST_% COVERAGE_% MPL% OTEL_% DBOS_% ANTHROPIC_LOG,$(.VARIABLES))

# Everything that tools like to keep in the home directory stays in the checkout.
export PIP_CACHE_DIR       := $(HERE)/.venv/cache/pip
export UV_CACHE_DIR        := $(HERE)/.venv/cache/uv
export UV_PYTHON_DOWNLOADS := never
ifneq ($(wildcard /etc/ssl/certs/?* /etc/pki/tls/certs/?* /System/Library/Keychains/?*),)
export UV_SYSTEM_CERTS     := 1
endif
export JUPYTER_CONFIG_DIR  := $(VAR)/jupyter/config
export JUPYTER_DATA_DIR    := $(VAR)/jupyter/data
export JUPYTER_RUNTIME_DIR := $(VAR)/jupyter/runtime
export JUPYTERLAB_SETTINGS_DIR   := $(VAR)/jupyter/settings
export JUPYTERLAB_WORKSPACES_DIR := $(VAR)/jupyter/workspaces
export IPYTHONDIR          := $(VAR)/ipython
export MPLCONFIGDIR        := $(VAR)/matplotlib
export NPM_CONFIG_CACHE    := $(VAR)/npm

BOOKS := notebooks/[0-9][0-9]_*.ipynb
LINT  := $(if $(FULL),.,patterns tests notebooks/*/ $(BOOKS))
PLAIN := env $(foreach name,HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy,-u $(name))
QUICK := --ignore tests/repo -m "not soak and not stage and not slow"
NBVAL := $(PLAIN) $(BIN)/python -m pytest --nbval --nbval-current-env \
	--nbval-sanitize-with tests/support/nbval_sanitize.cfg -n 2 --dist loadscope -q $(BOOKS)

# A folder that was moved is set up again: an environment knows where it lies.
ifneq "$(shell cat $(VENV)/.ready 2>/dev/null)" "$(HERE)"
$(shell rm -f $(VENV)/.ready)
endif

.PHONY: grade kit help setup lab test units books desk run record check fix lock clients drift faults bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try make PYTHON=python3.12"; exit 1; }
	@echo "setting up $(VENV) from requirements.lock (about a minute the first time)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@echo rfc3987-syntax > $(VENV)/excluded.txt  # optional for jsonschema; 2 s at each import of it
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes \
		--excludes $(VENV)/excluded.txt -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@mkdir -p "$(VAR)" $(VENV)/share/jupyter/lab/settings
	@printf '{%s,\n %s}\n' \
		'"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}' \
		'"@jupyterlab/notebook-extension:tracker": {"codeCellConfig": {"lineWrap": true}}' \
		> $(VENV)/share/jupyter/lab/settings/overrides.json
	@printf '%s\n' "$(HERE)" > $@

lab: setup  ## open the course in JupyterLab, replaying; no key needed
	@cd notebooks && "$(HERE)/$(BIN)/python" -m jupyterlab \
		$(if $(filter 0,$(shell id -u)),--allow-root) 00_start_here.ipynb

test: check units books  ## lint, types, tests, and every notebook compared; says what was skipped
	@echo "all of it passed"

units: setup  ## the tests only   [TESTS=tests/core] [FULL=1: the slow ones, coverage, nothing skipped]
	$(BIN)/python -m pytest -n 2 --dist loadfile -q \
		$(if $(FULL),--cov --no-skips,$(if $(TESTS),,$(QUICK))) $(TESTS)

books: setup  ## every notebook, compared with its stored outputs
	@rm -rf "$(VAR)/replay" && mkdir -p "$(VAR)/replay"
	PATTERNS_REPLAY_LOG="$(VAR)/replay" $(NBVAL)
	@$(BIN)/python -m patterns.course audit "$(VAR)/replay"

grade: setup  ## your exercises, as saved in the notebooks: a line a chapter
	@cd notebooks && ../$(BIN)/python -m exercises.desk

kit: setup  ## zips for a workshop without a network   [PYTHONS="3.12 3.13"] [SYSTEMS="macos windows"]
	@$(BIN)/python .github/workshop/kit.py $(if $(PYTHONS),--python $(PYTHONS)) \
		$(if $(SYSTEMS),--system $(SYSTEMS))
desk: setup  ## the support desk of chapter 09 as a service   [DESK_PORT=8009, ANTHROPIC_API_KEY, ...]
	@mkdir -p "$(VAR)/desk"
	@cd notebooks && DESK_FOLDER="$${DESK_FOLDER:-$(VAR)/desk}" ../$(BIN)/python -m servers.desk_service

run: setup  ## execute the chapters from their recordings   [CHAPTER=slug]
	@$(BIN)/python -m patterns.course run $(CHAPTER)

record: setup  ## make a chapter's recording and outputs again   CHAPTER=slug [LIVE=1] [MISSING=1]
	@$(BIN)/python -m patterns.course record $(CHAPTER) $(if $(LIVE),--live) $(if $(MISSING),--missing)

check: setup  ## lint, format and types only
	$(BIN)/ruff check -q $(LINT)
	$(BIN)/ruff format -q --check $(LINT)
	$(BIN)/python -m mypy --no-error-summary

fix: setup  ## format, repair what lint can repair, rewrite generated tables
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .
	@PYTHONPATH=notebooks $(BIN)/python tests/support/readme_tables.py --write

lock: setup  ## resolve requirements.lock again, and that of the benchmarks
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-strip-extras --python-version 3.11 \
		--extra course --group dev pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-strip-extras --python-version 3.11 \
		--extra course --group dev pyproject.toml tests/bench/requirements.in \
		-o tests/bench/requirements.lock
	@for name in newest older; do $(BIN)/uv pip compile -q --universal --generate-hashes --no-header \
		--no-annotate --python-version 3.11 tests/clients/$$name.in -o tests/clients/$$name.lock; done

$(BENCH)/.ready: tests/bench/requirements.lock | setup
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BIN)/uv pip install -q --python $(BENCH)/bin/python --require-hashes -r tests/bench/requirements.lock
	@$(BIN)/uv pip install -q --python $(BENCH)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

bench: $(BENCH)/.ready  ## measure beside peers, then the long trials   [CHAPTER=slug]
	@for file in tests/bench/bench_$(or $(CHAPTER),*).py; do \
		echo "== $$file"; PYTHONPATH=.:tests/support $(BENCH)/bin/python $$file || exit 1; done
	@$(BIN)/python -m pytest -q -m soak $(if $(CHAPTER),-k $(CHAPTER)) || test $$? = 5  # none is none

faults: setup  ## 10,000 calls over a socket while everything goes wrong; the books must add up   [SEED=2]
	@$(BIN)/python tests/support/faults.py --calls $(or $(CALLS),10000) --seed $(or $(SEED),1)

$(CLIENTS)/.ready: tests/clients/newest.lock tests/clients/older.lock tests/clients/package-lock.json | setup
	@for name in newest older; do \
		$(BIN)/uv venv -q --clear --python $(BIN)/python $(CLIENTS)/$$name && $(BIN)/uv pip install -q \
			--python $(CLIENTS)/$$name/bin/python --require-hashes -r tests/clients/$$name.lock || exit 1; done
	@mkdir -p $(CLIENTS)/node && cp tests/clients/package*.json $(CLIENTS)/node
	@cd $(CLIENTS)/node && PATH="$(HERE)/$(CLIENTS)/newest/bin:$$PATH" NODE_USE_SYSTEM_CA=1 \
		npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

clients: $(CLIENTS)/.ready  ## a dozen foreign clients, in Python and JavaScript, against the fake API
	@cp tests/clients/node/*.mjs $(CLIENTS)/node
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q -m stage --no-skips tests/clients

drift: setup  ## the newest SDK and peers in an environment of their own: what changed, by chapter
	@$(BIN)/python tests/support/drift.py --environment $(DRIFT)

clean:  ## remove the environments and everything generated
	rm -rf .venv .venv-* .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
