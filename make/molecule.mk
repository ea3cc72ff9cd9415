# SPDX-License-Identifier: MIT
# Deployments to Debian machines: systemd in containers, reached by ssh (tools/machine). As root, with Docker.
# Options: SCENARIO="default fleet"   SUITE=trixie|bookworm   KEEP=1 (leaves the machines of a scenario that failed)

SCENARIOS := $(notdir $(patsubst %/,%,$(dir $(wildcard molecule/*/molecule.yml))))
# What CI has the time for; fleet has both suites in one.
SCENARIOS_OF_CI := $(filter default upgrade,$(SCENARIOS))
SCENARIOS_OF_SUITES := $(filter-out fleet,$(SCENARIOS))

.PHONY: molecule molecule-all

##@ Machines

molecule: venv ## Deploy to machines in containers (as root, with Docker; SCENARIO=fleet SUITE=bookworm KEEP=1)
	@KEEP='$(KEEP)' tools/run_scenarios $(addsuffix $(if $(SUITE),:$(SUITE)),$(or $(SCENARIO),$(SCENARIOS_OF_CI)))

molecule-all: venv ## Every scenario, on Debian 12 and 13 (molecule/README.md has the minutes)
	@KEEP='$(KEEP)' tools/run_scenarios $(addsuffix :trixie,$(SCENARIOS_OF_SUITES)) \
		$(addsuffix :bookworm,$(SCENARIOS_OF_SUITES)) $(filter fleet,$(SCENARIOS))
