# Everything one does with Parley, by name. `make help` lists it.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
TEST_WORKERS ?= 2

BIN := .venv/bin
MANAGE := $(BIN)/python manage.py
# What checks write stays out of the developer's var/.
CHECK := DATA_DIR=$(CURDIR)/build/check ENV_FILE=/dev/null
PYTEST := $(BIN)/python -m pytest -q -n $(TEST_WORKERS) --maxprocesses=$(TEST_WORKERS)
NEW_SECRET = $(shell $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(64))')
TEMPLATES = git ls-files --cached --others --exclude-standard -z '*.html'
APT := $(shell test "$$(id -u)" = 0 && echo apt-get || echo sudo -n apt-get)

.DEFAULT_GOAL := help
.PHONY: help install run install-dev dev cluster mcp-reference test test-cov check format lint types contracts migrations deploy-check chromium \
	migrate-create migrate-upgrade migrate-downgrade migrate-current migrate-history migrate-reset openapi bench chaos eval-rag clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- run

install: $(BIN)/.installed ## Make .venv with everything the product needs

run: install ## Serve at http://HOST:PORT (127.0.0.1:8000)
	@exec $(MANAGE) serve --host $(HOST) --port $(PORT)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Parley needs Python 3.11 or newer. Name one: make install PYTHON=python3.11" >&2; exit 1; }
	@echo "Making .venv"
	@$(PYTHON) -m venv .venv || { echo "Install Python's venv module first: apt-get install -y python3-venv" >&2; exit 1; }

# The stamp is a file, so a second `make run` starts at once.
$(BIN)/.installed: requirements.txt | $(BIN)/python
	@echo "Installing requirements.txt into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore -r requirements.txt
	@touch $@

# ---------------------------------------------------------------- develop

install-dev: $(BIN)/.installed-dev ## Add what tests and checks need

$(BIN)/.installed-dev: requirements-dev.txt $(BIN)/.installed
	@echo "Installing requirements-dev.txt into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore -r requirements-dev.txt
	@# The command `pytest` looks for the plugin of pytest.ini before it puts this directory on its path.
	@pwd > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/parley.pth
	@touch $@

cluster: install-dev ## Two nodes and a worker over a PostgreSQL and a Redis of their own, to try: PORT=8000
	@exec $(BIN)/python -m config.tests.cluster --port $(PORT)

dev: install-dev ## Serve with debug pages, and again after each change of a file
	@DEBUG=true exec $(BIN)/watchfiles "$(MANAGE) serve --host $(HOST) --port $(PORT)" accounts chats config templates

test: install-dev chromium ## Run every test on SQLite, and on PostgreSQL all that knows a database
	@echo "== Tests on SQLite, with the browser"
	@PARLEY_TEST_DATABASE=sqlite $(PYTEST) $(COVERAGE)
	@echo "== Tests on PostgreSQL"
	@PARLEY_TEST_DATABASE=postgres $(PYTEST) -m "not browser and not rowless" $(if $(COVERAGE),$(COVERAGE) --cov-append)

test-cov: ## Run every test and report the branches that none of them took
	@rm -rf build/coverage
	@$(MAKE) --no-print-directory test COVERAGE="--cov --cov-report= --cov-fail-under=0"
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage report

check: lint types contracts migrations deploy-check openapi test-cov ## Everything CI runs, which ends with the tests

format: install-dev ## Bring code and templates into the house's form
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .
	@$(TEMPLATES) | xargs -0 --no-run-if-empty $(BIN)/djade --target-version 5.2

lint: install-dev
	@echo "== Lint"
	@$(BIN)/ruff check --quiet .
	@{ $(BIN)/ruff format --quiet --check . && \
		$(TEMPLATES) | xargs -0 --no-run-if-empty $(BIN)/djade --target-version 5.2 --check; \
	} || { echo "Run: make format" >&2; exit 1; }

types: install-dev
	@echo "== Types"
	@$(CHECK) $(BIN)/mypy --no-error-summary

contracts: install-dev
	@echo "== Imports"
	@$(BIN)/lint-imports --no-logo

migrations: install-dev
	@echo "== Migrations"
	@$(CHECK) $(MANAGE) makemigrations --check --dry-run

deploy-check: install-dev
	@echo "== Production settings"
	@mkdir -p build/check
	@$(CHECK) ENVIRONMENT=production FRONTEND_HOST=https://chat.example.org TRUSTED_PROXY_COUNT=1 \
		SECRET_KEY=$(NEW_SECRET) ENCRYPTION_KEYS=$(NEW_SECRET) $(MANAGE) check --deploy --fail-level WARNING

openapi: install-dev ## Write the API's schema to build/openapi.json, and fail if it is not valid
	@mkdir -p build
	@$(CHECK) $(MANAGE) spectacular --format openapi-json --file build/openapi.json --validate --fail-on-warn

chaos: install-dev ## Break what can break under people who talk, for half an hour: SCENARIO="kills redis" SEED=1 SHORT=1
	@DJANGO_SETTINGS_MODULE=config.settings DATA_DIR=$(CURDIR)/build/chaos $(BIN)/python -m chats.replies.tests.chaos \
		$(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(SEED),--seed $(SEED)) $(if $(SHORT),--short)

eval-rag: install-dev ## How well questions are answered from documents: recall and citations on the golden set
	@rm -rf build/eval-rag && mkdir -p build/eval-rag
	@DJANGO_SETTINGS_MODULE=config.settings DATA_DIR=$(CURDIR)/build/eval-rag ENV_FILE=/dev/null UPLOADS_PER_HOUR=1000 \
		$(BIN)/python -m chats.knowledge.tests

mcp-reference: install-dev ## Try real servers of tools, over HTTP and stdio; needs node and npm
	@mkdir -p build/npm && npm install --silent --no-fund --no-audit --prefix build/npm @modelcontextprotocol/server-everything
	@DATA_DIR=$(CURDIR)/build/mcp ENV_FILE=/dev/null $(BIN)/python -m benchmarks.mcp_reference

bench: install-dev chromium ## Measure streams, sends, several nodes, start and page load; see benchmarks/README.md
	@$(BIN)/python -m benchmarks

# Browser tests drive the system's Chromium.
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
		echo "Installing Chromium for the browser tests"; \
		$(APT) update -qq && DEBIAN_FRONTEND=noninteractive $(APT) install -y -qq --no-install-recommends chromium >/dev/null; \
	} || { echo "The browser tests need Chromium. Install it with: sudo apt-get install -y chromium" >&2; exit 1; }

# ---------------------------------------------------------------- migrations

migrate-create: install-dev ## Write migrations for changed models: MSG="what changes"
	@$(MANAGE) makemigrations $(APP) $(if $(MSG),--name "$$(printf '%s' "$(MSG)" | tr 'A-Z -' 'a-z__' | tr -cd 'a-z0-9_')")
	@$(BIN)/ruff format --quiet accounts chats

migrate-upgrade: install ## Apply all migrations, or those of one app: APP= TO=
	@$(MANAGE) migrate $(APP) $(TO)

migrate-downgrade: install ## Go back: APP=chats TO=0001 (or TO=zero)
	@test -n "$(APP)" -a -n "$(TO)" || { echo "Say which app and how far: make migrate-downgrade APP=chats TO=0001" >&2; exit 1; }
	@$(MANAGE) migrate $(APP) $(TO)

migrate-current: install ## Show what is applied, by app
	@$(MANAGE) showmigrations

migrate-history: install ## Show all migrations in order, with the moment each was applied
	@$(MANAGE) showmigrations --plan --verbosity 2

migrate-reset: install ## Throw all data away and make empty tables (asks first)
	@printf 'This deletes every user, chat and message. Type yes to go on: ' && read -r answer && test "$$answer" = yes
	@$(MANAGE) migrate accounts zero && $(MANAGE) migrate catalog zero && $(MANAGE) migrate

clean: ## Remove .venv, caches and everything built; var/ stays
	@rm -rf .venv build .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
