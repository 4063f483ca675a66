# Every task in one word; the work is done in scripts/.
.DEFAULT_GOAL := help
.PHONY: help setup setup-build setup-package demo psql start stop build test test-unit test-tidy test-pg test-regress \
	test-isolation test-client test-property test-dump test-crash test-servers test-ha test-upgrade test-package \
	test-simulation test-sqlsmith test-versions test-integrations test-pgspot test-docs test-walletd serve lint fmt bench bench-large bench-growth test-growth bench-callgrind test-oracle torture freeze package clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing to build and test: PostgreSQL, libclang, cargo-pgrx, ...
	@scripts/setup.sh

setup-build: ## only what building needs: a C compiler, libclang, PostgreSQL with headers
	@scripts/setup.sh build

setup-package: ## what building and packaging need
	@scripts/setup.sh package

demo: ## show what the wallet does, in a server of this checkout's own; installs what that needs
	@scripts/run demo

serve: ## walletd with demo data of three months, on a free port of 127.0.0.1; installs what that needs
	@scripts/run serve

psql: setup-build ## psql in a database with the extension
	@scripts/run psql

start: setup-build ## start the server of this checkout, with the extension installed
	@scripts/build.sh
	@scripts/server.sh start
	@scripts/server.sh status

stop: ## stop it
	@scripts/server.sh stop

build: setup-build ## build the release extension and install it into the private PostgreSQL
	@scripts/build.sh

test: setup ## lint and every kind of test
	@scripts/test.sh

test-unit: setup ## unit and property tests inside the extension, without a server
	@scripts/run unit

test-tidy: setup ## the order of the source: imports, circles, unsafe code, lengths
	@scripts/run tidy

test-pg: setup ## tests that run inside a server (#[pg_test])
	@scripts/test-pg.sh

test-regress: setup ## SQL scripts and what they must print (pg_regress)
	@scripts/run regress

test-isolation: setup ## interleaved sessions and what they must print (pg_isolation_regress)
	@scripts/run isolation

test-client: setup ## tests over real connections
	@scripts/run client

test-property: setup ## random operations against a model, over real connections
	@scripts/run property

test-simulation: setup ## months of random business under a clock of their own, compared with a model
	@scripts/run simulation

test-dump: setup ## dump, restore and compare
	@scripts/run dump

test-crash: setup ## what is kept after the server crashed
	@scripts/run crash

torture: setup ## the tests with random input and crashes, twenty times as long
	@scripts/run torture

test-walletd: setup ## the HTTP API of walletd
	@scripts/run walletd

test-oracle: setup ## prices compared with another calculator's, usage with the SDKs' own types
	@scripts/oracle.sh

test-integrations: setup ## the packages in integrations/, with the official SDKs and mock providers
	@scripts/test-integrations.sh

test-servers: setup ## a standby that reads and is promoted, and a subscriber
	@scripts/run servers

test-ha: setup ## failovers with Patroni, etcd and HAProxy: planned, killed, a lost machine; and what is lost then
	@WALLET_HA=long scripts/run ha --nocapture

test-upgrade: setup ## older versions with data, upgraded to this one
	@scripts/run upgrade

test-package: setup ## the package, installed cleanly
	@scripts/test-package.sh

test-sqlsmith: setup ## random statements by sqlsmith, as every level
	@scripts/sqlsmith.sh

test-versions: setup ## the tests on the PostgreSQL of Debian trixie (17) and sid (18), in systems of their own
	@scripts/test-versions.sh

test-pgspot: setup ## the installation and upgrade scripts, searched for holes by pgspot
	@scripts/run pgspot

test-docs: setup ## the documents' examples
	@scripts/run docs

lint: setup ## formatting, clippy, the shell scripts
	@scripts/lint.sh

fmt: ## format the Rust sources
	@scripts/run fmt

bench: setup ## measure
	@scripts/run bench

bench-large: setup ## measure on a ledger of ten million charges
	@scripts/run bench-large

bench-growth: setup ## how the cost of every function and view grows, at three sizes
	@WALLET_GROWTH=long scripts/run growth

test-growth: setup ## the same at two small sizes, counted in pages
	@scripts/run growth

bench-callgrind: setup ## count the instructions of a charge; RECORD=1 records them
	@scripts/bench-callgrind.sh $(if $(RECORD),record)

freeze: setup ## when a version is released: keep its schema and data to upgrade from
	@scripts/run freeze

package: setup-package ## a Debian package and a distribution for PGXN, into target/package
	@scripts/package.sh

clean: ## stop the server, remove the sandbox and every build
	@scripts/run clean
