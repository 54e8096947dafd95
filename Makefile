# Every command of the project. `make help` lists them from the comments that follow each name.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup up down status logs clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
