# `make demo` and `make test` set up everything themselves on a machine with Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
PROTO := $(wildcard proto/node/wire/*.proto)
CODE := node workloads simulator tests
export OMP_NUM_THREADS := 1

.PHONY: setup demo test test-compose check sim sim-long fmt proto fuzz kills bench clean

setup: $(STAMP)  ## make .venv and install, once

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,nait,rac]'
	@touch $@

demo: setup  ## five nodes, one liar, one picture
	@$(BIN)/artel up --nodes 5 --byzantine 1 --attack sign_flip:10 --job examples/inr-astronaut.toml

KILLS := tests/network/test_kills.py
test: setup  ## all tests: first what needs no daemons, then real ones on loopback, then one that times them
	@$(BIN)/pytest -q -n 2 -m "not network and not slow and not sim"
	@$(BIN)/pytest -q -n 2 --dist loadfile -m network --ignore $(KILLS)
	@$(BIN)/pytest -q $(KILLS)

test-compose: setup  ## the swarm of docker-compose.yml, with faults; needs a container engine
	@$(BIN)/python tests/soak/compose.py

check: setup  ## the quick loop: format, lint, types, import contracts, fresh protobuf, unit tests
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tests/fresh_proto.py
	@$(BIN)/pytest -q -n 2 tests/unit tests/test_tidy.py

SCENARIOS := churn everything exact_quorum flaky_wan late_joiner leader_dies partition_heal \
	quorum_lost_regained reducers_die restart_voting

sim: setup  ## ten scenarios, 50 drawn seeds, five planted bugs, equal traces: under 4 minutes
	@$(BIN)/artel sim swarm --seeds 1 $(SCENARIOS:%=--scenario %)
	@$(BIN)/artel sim swarm --seeds 0..49
	@$(BIN)/pytest -q -m sim tests/simulation

SEEDS ?= 0..999999999
sim-long: setup  ## all scenarios, every planted bug hunted in drawn seeds, then seeds until Ctrl-C
	@ARTEL_SIM_WHOLE=1 $(BIN)/pytest -q -n 2 --timeout 3600 tests/simulation
	@$(BIN)/python tests/simulation/mutants/hunt.py --drawn --seeds 60 --jobs 2
	@$(BIN)/artel sim swarm --seeds $(SEEDS)

fmt: setup  ## format and fix what can be fixed
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

proto: setup  ## generate node/wire/*_pb2* from proto/
	@$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --pyi_out=. $(PROTO)
	@$(BIN)/python -m grpc_tools.protoc -I proto --grpc_python_out=. proto/node/wire/control.proto

fuzz: setup  ## 100,000 hostile inputs
	@ARTEL_FUZZ_INPUTS=100000 $(BIN)/pytest -q -n 2 --timeout 1800 tests/fuzz

kills: setup  ## kill -9 in every phase and role of a real swarm
	@$(BIN)/python tests/soak/kills.py

bench: setup  ## rounds beside hivemind's averager
	@$(BIN)/python tests/bench/bench_round.py

clean:  ## remove what the targets made
	@rm -rf .venv out wheels .mypy_cache .ruff_cache .pytest_cache .hypothesis
