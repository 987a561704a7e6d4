# SPDX-License-Identifier: MIT
# The commands of the README. CMake builds; this installs what it needs and runs what it built.
#   make demo      a local swarm, and a search in it
#   make test      everything that needs no Python, with sanitizers and fuzzers
#   make interop   the same against real hivemind peers (makes its own virtual environment)
#   make bench     skep and hivemind on the same work, one table
#   make tsan      the public API's tests under ThreadSanitizer
JOBS ?= $(shell nproc)
CMAKE_BUILD = cmake --build

.PHONY: all deps interop-deps build demo test tsan interop bench install lint clean

all: build

deps:
	@cmake/deps.sh build

build: deps
	@cmake -S . -B build -DCMAKE_BUILD_TYPE=Release $(if $(WERROR),-DSKEP_WERROR=ON) > build.log 2>&1 || { cat build.log; rm -f build.log; exit 1; }
	@rm -f build.log
	@$(CMAKE_BUILD) build -j $(JOBS)

demo: build
	@build/skep swarm --nodes 8 --experts 4096 --grid 256x256x256 --demo

test: deps
	@cmake/deps.sh test
	cmake --preset asan $(if $(WERROR),-DSKEP_WERROR=ON)
	$(CMAKE_BUILD) build/asan -j $(JOBS)
	ctest --test-dir build/asan --output-on-failure -j $(JOBS)

tsan: deps
	@cmake/deps.sh test
	cmake --preset tsan
	$(CMAKE_BUILD) build/tsan -j $(JOBS)
	ctest --test-dir build/tsan --output-on-failure -R '^(api|transport)/'

interop-deps: deps
	@cmake/deps.sh interop

interop: build interop-deps
	build/venv/bin/python -m pytest -q tests/interop

bench: build interop-deps
	build/venv/bin/python bench/run.py

install: build
	cmake --install build

lint: deps
	@cmake/deps.sh test
	cmake --preset dev
	git ls-files 'src/*.c' | xargs -n 8 -P $(JOBS) clang-tidy -quiet -p build/dev

clean:
	rm -rf build
