# SPDX-License-Identifier: MIT
# Proving promises by crashing. Power cuts need root and loop devices, exact kills need strace, clock jumps of the real
# process need libfaketime; what is missing is named, and is a failure when TESTS_REQUIRE_ALL is set.

TORTURE_ARGS ?=

##@ Quality

.PHONY: torture-short
torture-short: venv ## Crash store and ring: kills, power cuts, disk errors, clock jumps, stopped readers, mutants (4 minutes)
	$(BIN)/python -m tests.crash.torture $(TORTURE_ARGS)

.PHONY: torture
torture: venv ## The same, long: 1,000 kills, 3,000 power cuts, 10,000 frames, 100,000 in the ring (TORTURE_ARGS="--cuts 500 …")
	$(BIN)/python -m tests.crash.torture --long $(TORTURE_ARGS)
