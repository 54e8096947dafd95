# Every command of the project. `make help` lists them from the comments that follow each name.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check bench up down status logs setup clean docs lock format

BOX := stack/box
TEST_STATE := $(CURDIR)/.state-test

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## start everything, load real data, watch documents and a stock change travel, and restore a backup; leaves it running
	@stack/ctl up
	@$(BOX) clinic demo load
	@$(BOX) clinic demo documents
	@$(BOX) clinic demo backups
	@$(BOX) clinic demo show

test: ## run every test, on servers of their own that are stopped afterwards
	@CLINIC_STATE=$(TEST_STATE) tests/run $(TESTS)

check: ## the static checks: style, types, import arrows, SQL, generated documents
	@stack/ctl setup cache
	@$(BOX) .ci/check

bench: ## measure, and write build/bench/*.json
	@CLINIC_STATE=$(TEST_STATE) tests/bench/run

setup: ## fetch and build everything the servers need into the cache ($CLINIC_CACHE, default ~/.cache/clinic)
	@stack/ctl setup

up: ## start the real servers; returns when all are ready (data in $CLINIC_STATE, default ./.state)
	@stack/ctl up

down: ## stop them; the data stays
	@stack/ctl down

status: ## what runs, since when, and where
	@stack/ctl status

logs: ## follow a server's log: make logs SERVICE=odoo
	@stack/ctl logs "$(SERVICE)"

clean: ## stop the servers and forget their data; the cache stays
	@stack/ctl clean

docs: ## write the generated documents anew
	@$(BOX) python -m clinic_airflow.docs
	@$(BOX) python -m inventory_api.openapi

format: ## let ruff and sqlfluff put the code in order
	@$(BOX) sh -c 'ruff check --fix; ruff format'

lock: ## write requirements*.txt anew from pyproject.toml, keeping versions that still fit
	@CLINIC_BOX_PASS=UPGRADE $(BOX) stack/lock
