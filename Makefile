# Thin on purpose: scripts/ does the work, and says what it is going to do.
.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint bench fuzz peers flaky

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## the whole thing, live, until Ctrl-C; ONCE=1: proves it, stops everything and exits 0; SOURCE=pulsar: over a real broker
	@ONCE="$(ONCE)" SOURCE="$(SOURCE)" scripts/demo.sh

test: ## every test, against the real peers
	@scripts/test.sh

test-long: ## the same with more repetitions
	@scripts/test.sh --long

lint: ## format, clippy, documentation, licences, who may import what
	@scripts/lint.sh

bench: ## what it makes of Sōzu's speed, measured on the real one (docs/benchmarks.md)
	@scripts/bench.sh

fuzz: ## each fuzz target for a minute; needs nightly Rust
	@scripts/fuzz.sh

peers: ## the real Sōzu and the other peers, in a cache outside the clone
	@scripts/peers.sh

flaky: ## SUITE=name: one test suite ten times in a row
	@scripts/flaky.sh "$(SUITE)"
