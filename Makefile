# `make serve` and `make test` need only Python 3.11 or newer and make; each makes the environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# ENGINE=cpu or gpu: vLLM's build; without it the one that is installed. Another one makes the environment anew.
HAS    := $(or $(shell cat $(STAMP) 2>/dev/null),cpu)
ENGINE ?= $(HAS)

.PHONY: help env serve test test-fast lint format clean

help:
	@echo "make serve      serve the embedded frontier on http://127.0.0.1:8000/v1"
	@echo "make test       all tests, with real engines (minutes)"
	@echo "make test-fast  the tests that start no engine (seconds)"
	@echo "make lint       ruff and mypy"
	@echo "make frontier   train the embedded frontier anew: two cores, minutes to an hour; SEED=2 for another, KIND=parts for problems of several parts"
	@echo "make results    evaluate what make frontier trained, and write docs/results.md"
	@echo "make image      build the CPU image without a Docker daemon, and try it (root, buildah, debootstrap)"
	@echo "make env        only make the environment in $(VENV); ENGINE=gpu for NVIDIA GPUs"

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt constraints-gpu.txt deploy/cpu-overrides.txt deploy/make_env.py
	$(PYTHON) deploy/make_env.py $(VENV) --extra $(ENGINE) --extra test
	@echo $(ENGINE) > $@

ifneq ($(ENGINE),$(HAS))
.PHONY: $(STAMP)
endif

serve: $(STAMP)
	@deploy/system_packages.sh engine
	$(BIN)/alpharay serve $(CONFIG)

# Both go on where they were stopped. `make embed` puts what was trained into the package.
.PHONY: frontier results gate embed
SEED ?= 1
KIND ?= contest
frontier: $(STAMP)
	$(BIN)/python -m bench.frontier all --kind $(KIND) --seed $(SEED)

# PARTS=2: of KIND=parts only that number of parts.
# Where nothing was trained, the weights in the package; the baselines need the earlier checkpoints, and stay as they are.
ifeq ($(KIND),contest)
SETS ?= validation test heldout adapters logits $(if $(wildcard build/frontier/seed=$(SEED)/high/done.json),baselines)
else
SETS ?= validation test
ONLY := $(if $(PARTS),--parts $(PARTS))
endif
results: $(STAMP)
	for set in $(SETS); do $(BIN)/python -m bench.frontier evaluate --kind $(KIND) --seed $(SEED) --set $$set $(ONLY) || exit; done
	$(BIN)/python -m bench.frontier report --kind $(KIND) --seed $(SEED)

# Whether an ensemble can gain on problems of several parts, before the evaluation is paid for.
gate: $(STAMP)
	$(BIN)/python -m bench.frontier gate --kind parts --seed $(SEED)

embed: $(STAMP)
	$(BIN)/python -m bench.frontier embed --kind $(KIND) --seed $(SEED)

# Real coding agents, one turn each; they are installed into build/agents (npm, uv).
# `make tools`: EvalPlus, GuideLLM and Schemathesis, run through; they are installed into build/tools (uv).
.PHONY: agents tools chaos bench-serve
agents: $(STAMP)
	$(BIN)/python -m tests.agents.run --report bench/results/agents.md
	$(BIN)/python -m tests.agents.attempts --report bench/results/attempts.md

tools: $(STAMP)
	$(BIN)/python -m tests.agents.tools --report bench/results/tools.md

# The same tests against alpharay and a bare vLLM server, and where they differ.
.PHONY: conformance
conformance: $(STAMP)
	$(BIN)/python -m tests.engine.conformance --report bench/results/conformance.md

MINUTES ?= 10
chaos: $(STAMP)
	$(BIN)/python -m bench.chaos --minutes $(MINUTES) --seed $(SEED) --save

bench-serve: $(STAMP)
	$(BIN)/python bench/serve.py --out bench/results/serve.md

# What is missing of Debian is installed first, where this user may; what was skipped, and why, is said at the end.
test: $(STAMP)
	@deploy/system_packages.sh test
	@$(BIN)/python -m compileall -q alpharay merge judge router serve  # once, for all servers that tests start
	$(BIN)/pytest

# Four Ray nodes on four addresses of the loopback, one of them lost under load: minutes.
.PHONY: test-nodes
test-nodes: $(STAMP)
	ALPHARAY_NODES=1 $(BIN)/pytest tests/engine/test_nodes.py

test-fast: $(STAMP)
	$(BIN)/pytest -m "not engine"

# With the environment of `make env ENGINE=gpu`. The first needs no GPU: a stand-in takes the driver's place.
.PHONY: test-gpu-dry test-gpu
test-gpu-dry: $(STAMP)
	$(BIN)/pytest tests/gpu/test_dry.py

test-gpu: $(STAMP)
	ALPHARAY_GPU=1 $(BIN)/pytest tests/gpu

lint: $(STAMP) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/types $(BIN)/mypy -p alpharay

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy cannot follow an editable install that maps alpharay.serve to serve/, but it follows links.
.PHONY: types
types:
	@rm -rf build/types
	@mkdir -p build/types/alpharay
	@ln -s $(addprefix $(CURDIR)/,merge judge router serve $(wildcard alpharay/*.py)) build/types/alpharay/

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

# The page's pictures in docs/, of a server of the embedded frontier that was started for it.
.PHONY: pictures
URL ?= http://127.0.0.1:8000
pictures: $(STAMP)
	$(BIN)/python -m tests.engine.pictures $(URL)

.PHONY: image
# The Dockerfile, built without a Docker daemon on a minimal Debian, and asked for a program. As root; needs
# Debian's packages buildah, debootstrap and curl.
image:
	deploy/image.sh

.PHONY: constraints
# The local version (+cpu) is cut off: which build of PyTorch is at hand differs from machine to machine.
constraints:
	$(PYTHON) deploy/make_env.py build/fresh --extra cpu --extra test --unconstrained
	sed -n '/^#/p' constraints.txt > build/constraints.txt
	build/fresh/bin/uv pip freeze --python build/fresh/bin/python --exclude-editable | sed 's/+cpu$$//' >> build/constraints.txt
	mv build/constraints.txt constraints.txt
