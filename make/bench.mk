# SPDX-License-Identifier: MIT
# What docs/performance.md promises, measured. Never a timed test: a bar that falls short is printed, and that is all.

BENCH := $(BIN)/fieldcam bench --mode performance
# ROWS="P6 P8" measures only those; JSON=file keeps the result; BENCH_ARGS=… goes to the command.
BENCH_OPTIONS = $(foreach row,$(ROWS),--row $(row)) $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench bench-smoke

##@ Quality

bench: venv ## Measure this checkout: 20 minutes, leave the machine alone meanwhile (ROWS="P6 P8" JSON=file)
	@$(BENCH) --checkout '$(CURDIR)' $(BENCH_OPTIONS)

bench-smoke: venv ## The same with small sizes: shows that the benchmark works, in about a minute
	@$(BENCH) --quick $(BENCH_OPTIONS)
