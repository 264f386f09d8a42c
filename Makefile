# A thin front door to Meson and the test runners; HACKING.md says what lies behind it.

.PHONY: all demo test test-long fuzz lint check install clean

all:
	@tools/setup build
	@test -f build/build.ninja || meson setup build -Dtests=false >/dev/null
	@ninja -C build

demo: all
	@tools/setup test
	@tools/demo

test:
	@tools/setup test
	@tools/run-tests

# What the unit, simulation and CLI tests sample, whole, and all virtual machines.
test-long:
	@tools/setup test
	@SIM_ALL=1 SIGNAL_RUNS=60 VM_ALL=1 tools/run-tests unit cli vm

# FUZZ_SECONDS=60 for each target
fuzz:
	@tools/setup fuzz
	@tests/fuzz/run.py

lint:
	@tools/setup test
	@tools/lint

check: lint test

install: all
	@meson install -C build --no-rebuild

clean:
	rm -rf build build-asan build-tsan build-fuzz
