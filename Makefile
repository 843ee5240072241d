# One vocabulary for people, hooks and CI. PORT, STATE_DIR and PYTHON can be given: make demo PORT=7000
VENV := .venv
NEXT_VENV := .venv-next
BENCH_VENV := .venv-bench
MLFLOW_VENV := .venv-mlflow
RUN := $(VENV)/bin/python
# Images for containers often forbid compiled modules; Mage's would then be compiled anew at every start, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up stop status refresh test test-unit test-integration test-e2e test-next faults soak check format graph screenshots bench bench-api bench-ingest bench-database bench-fanout bench-model bench-spark bench-all bench-smoke eval-llm llm-usage models mlflow tune-model lock audit setup setup-bench setup-mlflow setup-next setup-bench-airflow setup-bench-prefect setup-bench-dagster setup-bench-dlt

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## Run all six workflows and the two calls, then serve (ONCE=1: stop after it)
	@$(RUN) -m stack demo $(if $(ONCE),--once)

up: setup ## Serve: Mage, its scheduler and the local services
	@$(RUN) -m stack up

stop: setup ## Stop what runs with the state folder
	@$(RUN) -m stack stop

status: setup ## Say what runs, whether the scheduler works, and how large everything is
	@$(RUN) -m stack.status

refresh: setup ## Recompute the data product in the running stack, and train on it (ACCEPT_DRIFT=1: on very different data, too)
	@$(RUN) -m stack refresh $(if $(ACCEPT_DRIFT),--accept-drift)

test: test-unit test-integration test-e2e test-next ## All tests, on both Mage releases

test-unit: setup ## The tests without Mage, servers or Java: the fastest
	@$(RUN) -m pytest tests/unit --numprocesses logical --maxprocesses 4 --dist loadfile

test-integration: setup ## The tests with Mage, its server, Spark and the local language model
	@$(RUN) -m pytest --ignore=tests/unit --ignore=tests/e2e --ignore=tests/faults --numprocesses 3 --dist loadfile

test-e2e: setup ## The whole chain on a real server and scheduler, also while its processes are killed
	@$(RUN) -m pytest tests/e2e tests/faults/test_killing.py --numprocesses 3 --dist loadfile

test-next: setup-next ## The integration tests that use Mage, on its next release
	@$(NEXT_VENV)/bin/python -m pytest tests/blocks tests/project tests/run_api tests/security tests/sql --ignore-glob '*/test_secrets.py' \
	  --numprocesses 3 --dist loadfile

faults: setup ## Kill processes, fill the disk, hold the database, starve the model (ROUNDS=30 SEED=7 ROLE=server)
	@FAULT_ROUNDS=$(or $(ROUNDS),11) FAULT_SEED=$(or $(SEED),$(shell date +%s)) FAULT_ROLE="$(ROLE)" FAULT_BUNDLED_MODEL=1 \
	  $(RUN) -m pytest tests/faults -o log_cli=true -o log_cli_level=WARNING

soak: setup ## Leave the stack alone with fast schedules while its processes are killed (MINUTES=60 SEED=7)
	@SOAK_MINUTES=$(or $(MINUTES),60) FAULT_SEED=$(or $(SEED),$(shell date +%s)) \
	  $(RUN) -m pytest tests/faults/test_soak.py -o log_cli=true -o log_cli_level=WARNING

check: setup ## Lint, format, types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: setup ## Format and fix what can be fixed
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: setup ## Measure: the chain with and without the language model
	@$(RUN) -m benchmarks.bench_chain

eval-llm: setup ## Judge the configured language model in the AI blocks (COMPARE="model ...", PROMPTS="prompt ...")
	@$(RUN) -m evals $(if $(COMPARE),--compare $(COMPARE)) $(if $(PROMPTS),--prompts $(PROMPTS)) $(if $(VERBOSE),--verbose) $(if $(OUTPUT),--output $(OUTPUT))

llm-usage: setup ## Tokens and cost of the language model per pipeline run
	@$(RUN) -m stack.llm_usage

models: setup ## List the model's versions (PROMOTE=<version> [FORCE=1], ROLLBACK=1)
	@$(RUN) -m stack.models $(if $(PROMOTE),promote '$(PROMOTE)' $(if $(FORCE),--force),$(if $(ROLLBACK),rollback,list))

mlflow: setup setup-mlflow ## Serve MLflow's UI with the versions of the model, on 127.0.0.1
	@$(RUN) -m stack.mlflow_ui $(MLFLOW_VENV)/bin/mlflow

tune-model: setup ## Search the model's parameters anew, judged by nested folds
	@$(RUN) -m stack.tune_model

bench-ingest: setup setup-bench-dlt ## Ingest a million companies, beside dlt and DuckDB's read_json
	@$(RUN) -m benchmarks.bench_ingest

bench-fanout: setup setup-bench-airflow setup-bench-prefect setup-bench-dagster ## 100 and 1,000 children, beside Airflow, Prefect and Dagster
	@$(RUN) -m benchmarks.bench_fanout

bench-database: setup ## How long writes to Mage's database wait as runs get more
	@$(RUN) -m benchmarks.bench_database

bench-spark: setup ## Match salaries with facts in Spark: keyed join and cross join, and how it grows
	@$(RUN) -m benchmarks.bench_spark

bench-model: setup ## Training, one prediction, 100,000 in a batch
	@$(RUN) -m benchmarks.bench_model

bench-all: bench bench-api bench-fanout bench-ingest bench-model bench-spark bench-database ## All benchmarks: the tables of docs/benchmarks.md

bench-smoke: setup setup-bench setup-bench-airflow setup-bench-prefect setup-bench-dagster setup-bench-dlt ## Each benchmark once, as small as it can be
	@for name in ingest model spark fanout chain database; do $(RUN) -m benchmarks.bench_$$name --smoke || exit 1; done
	@$(RUN) -m benchmarks.bench_api $(BENCH_VENV)/bin/python --smoke

graph: setup ## Write the graph of the pipelines into README.md, from their YAML
	@$(RUN) -m stack.graph

bench-api: setup setup-bench ## /api/runs beside FastAPI, MLflow and Mage as shipped
	@$(RUN) -m benchmarks.bench_api $(BENCH_VENV)/bin/python

lock: setup ## Lock the environments again, after a change in requirements/
	@for name in bootstrap local next bench mlflow; do \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate --override requirements/overrides.txt -c requirements/constraints.txt \
	    requirements/$$name.in -o requirements/$$name.lock >/dev/null || exit 1; \
	done
	@for name in airflow prefect dagster dlt; do \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate requirements/bench-$$name.in -o requirements/bench-$$name.lock >/dev/null || exit 1; \
	done

audit: setup ## List the known vulnerabilities of the locked environments (asks the advisory service OSV)
	@status=0; for lock in requirements/*.lock; do echo "$$lock"; \
	  $(VENV)/bin/pip-audit --requirement $$lock --no-deps --disable-pip --vulnerability-service osv --progress-spinner off || status=1; \
	done; exit $$status

screenshots: setup ## Take the pictures of README.md in a browser
	@SCREENSHOTS=docs $(RUN) -m pytest tests/ui

setup:
	@stack/setup.sh $(VENV) requirements/local.lock

setup-bench:
	@stack/setup.sh $(BENCH_VENV) requirements/bench.lock

setup-bench-airflow setup-bench-prefect setup-bench-dagster setup-bench-dlt: setup-%:
	@stack/setup.sh .venv-$* requirements/$*.lock

setup-mlflow:
	@stack/setup.sh $(MLFLOW_VENV) requirements/mlflow.lock

setup-next:
	@stack/setup.sh $(NEXT_VENV) requirements/next.lock
