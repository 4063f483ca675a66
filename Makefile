# Every task in one word; the work is done in scripts/.
.DEFAULT_GOAL := help
.PHONY: help setup demo psql start stop build test test-unit test-tidy test-pg test-regress \
	test-isolation test-client test-property test-dump test-crash test-servers test-upgrade test-package \
	test-simulation test-sqlsmith test-versions test-integrations test-pgspot test-docs lint fmt bench bench-large bench-growth test-growth bench-callgrind test-oracle torture freeze package clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: PostgreSQL, libclang, cargo-pgrx
	@scripts/setup.sh

demo: setup ## show what the wallet does, in a server of this checkout's own
	@scripts/demo.sh

psql: setup ## psql in a database with the extension
	@scripts/psql.sh

start: setup ## start the server of this checkout, with the extension installed
	@scripts/build.sh
	@scripts/server.sh start
	@scripts/server.sh status

stop: ## stop it
	@scripts/server.sh stop

build: setup ## build the release extension and install it into the private PostgreSQL
	@scripts/build.sh

test: setup ## lint and every kind of test
	@scripts/test.sh

test-unit: setup ## unit and property tests inside the extension, without a server
	@scripts/test-unit.sh

test-tidy: setup ## the order of the source: imports, circles, unsafe code, lengths
	@cargo test --package wallet-tests --test tidy

test-pg: setup ## tests that run inside a server (#[pg_test])
	@scripts/test-pg.sh

test-regress: setup ## SQL scripts and what they must print (pg_regress)
	@scripts/regress.sh

test-isolation: setup ## interleaved sessions and what they must print (pg_isolation_regress)
	@scripts/isolation.sh

test-client: setup ## tests over real connections
	@scripts/client.sh client

test-property: setup ## random operations against a model, over real connections
	@scripts/client.sh property

test-simulation: setup ## months of random business under a clock of their own, beside a model
	@scripts/client.sh simulation

test-dump: setup ## dump, restore and compare
	@scripts/client.sh dump

test-crash: setup ## what stands after the server crashed
	@scripts/client.sh crash

torture: setup ## the tests with random input and crashes, twenty times as long
	@scripts/torture.sh

test-oracle: setup ## prices beside another calculator's, usage beside the SDKs' own types
	@scripts/oracle.sh

test-integrations: setup ## the packages in integrations/, with the official SDKs and mock providers
	@scripts/test-integrations.sh

test-servers: setup ## a standby that reads and is promoted, and a subscriber
	@scripts/client.sh servers

test-upgrade: setup ## older versions with data, upgraded to this one
	@scripts/client.sh upgrade

test-package: setup ## the package, installed cleanly
	@scripts/test-package.sh

test-sqlsmith: setup ## random statements by sqlsmith, as every level
	@scripts/sqlsmith.sh

test-versions: setup ## the tests on the PostgreSQL of Debian trixie (17) and sid (18), in systems of their own
	@scripts/test-versions.sh

test-pgspot: setup ## the installation and upgrade scripts, searched for holes by pgspot
	@scripts/pgspot.sh

test-docs: setup ## the documents' examples
	@scripts/client.sh docs

lint: setup ## formatting, clippy, the shell scripts
	@scripts/lint.sh

fmt: ## format the Rust sources
	@scripts/fmt.sh

bench: setup ## measure
	@scripts/bench.sh

bench-large: setup ## measure on a ledger of ten million charges
	@scripts/bench-large.sh

bench-growth: setup ## how the cost of every function and view grows, at three sizes
	@WALLET_GROWTH=long scripts/client.sh growth

test-growth: setup ## the same at two small sizes, counted in pages
	@scripts/client.sh growth

bench-callgrind: setup ## count the instructions of a charge; RECORD=1 records them
	@scripts/bench-callgrind.sh $(if $(RECORD),record)

freeze: setup ## when a version is released: keep its schema and data to upgrade from
	@scripts/freeze.sh

package: setup ## a Debian package and a distribution for PGXN, into target/package
	@scripts/package.sh

clean: ## stop the server, remove the sandbox and every build
	@scripts/clean.sh
