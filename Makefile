# SPDX-License-Identifier: MIT
# The commands of the README. CMake builds; this installs what it needs and runs what it built.
#   make demo      a local swarm, a search in it, and a mixture that is trained
#   make test      everything that needs no Python, with sanitizers and fuzzers
#   make interop   the same against real hivemind peers (makes its own virtual environment)
#   make bench     skep and hivemind on the same work: two tables, of a swarm and of experts
#   make bench-experts   only the second
#   make bench-sim figures of simulated swarms of up to 100,000 nodes
#   make soak      random scenarios under sanitizers, watched: make soak MINUTES=10 SEED=1
#   make tsan      the public API's tests under ThreadSanitizer
JOBS ?= $(shell nproc)
MAKEFLAGS += --no-print-directory
CMAKE_BUILD = cmake --build

.PHONY: all deps interop-deps configure build demo test tsan interop bench bench-experts bench-sim soak install lint clean

all: build

deps:
	@cmake/deps.sh build

# The release build, without the tests: they have a build of their own, with sanitizers.
configure: deps
	@mkdir -p build
	@cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF > build/configure.log 2>&1 || { cat build/configure.log; exit 1; }

build: configure
	@$(CMAKE_BUILD) build -j $(JOBS) > build/build.log 2>&1 || { cat build/build.log; exit 1; }

demo: configure
	@echo "building build/skep"
	@$(CMAKE_BUILD) build -j $(JOBS) --target skep example_train_moe > build/build.log 2>&1 || { cat build/build.log; exit 1; }
	@build/skep swarm --nodes 8 --experts 4096 --grid 256x256x256 --demo
	@echo
	@build/examples/example_train_moe --steps 400

test: deps
	@cmake/deps.sh test
	cmake --preset asan -DSKEP_WERROR=$(if $(WERROR),ON,OFF)
	$(CMAKE_BUILD) build/asan -j $(JOBS)
	ctest --test-dir build/asan --output-on-failure -j $(JOBS)

tsan: deps
	@cmake/deps.sh test
	cmake --preset tsan
	$(CMAKE_BUILD) build/tsan -j $(JOBS)
	ctest --test-dir build/tsan --output-on-failure -R '^(api|transport|server)/'

interop-deps: deps
	@cmake/deps.sh interop

interop: build interop-deps
	@# hivemind hangs by itself now and then: what failed is run once more, and must pass then.
	build/venv/bin/python -m pytest -q --timeout 300 tests/interop || build/venv/bin/python -m pytest -q --timeout 300 --last-failed tests/interop

bench: build interop-deps
	build/venv/bin/python bench/run.py

bench-experts: build interop-deps
	build/venv/bin/python bench/run.py --part experts

bench-sim: build
	python3 bench/sim.py

MINUTES ?= 10
SEED ?= $(shell date +%s)
soak: deps
	@cmake/deps.sh test
	cmake --preset asan
	$(CMAKE_BUILD) build/asan -j $(JOBS) --target skep
	build/asan/skep sim --soak $(MINUTES)m --nodes 300 --seed $(SEED)

install: build
	cmake --install build

lint: deps
	@cmake/deps.sh lint
	git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror
	cmake --preset dev
	git ls-files 'src/*.c' | xargs -n 1 -P $(JOBS) clang-tidy -quiet -p build/dev

clean:
	rm -rf build
