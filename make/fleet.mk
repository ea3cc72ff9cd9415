# SPDX-License-Identifier: MIT
# Hosts of an inventory of yours: INVENTORY=inventory/<yours>. Everything else is a playbook (docs/fleet.md).

INVENTORY ?=
FLEET_ANSIBLE = LC_ALL=C.UTF-8 ANSIBLE_CONFIG='$(CURDIR)/ansible.cfg' PYTHONUNBUFFERED=1

.PHONY: fleet-status test-host

##@ Fleet

fleet-status: $(CONTROLLER_VENV)/.installed ## One table of all hosts (INVENTORY=inventory/<yours>)
	$(call need_inventory,$@)
	@$(FLEET_ANSIBLE) $(CONTROLLER_BIN)/python -m ansible playbook playbooks/fleet_status.yml -i '$(INVENTORY)' $(ANSIBLE_ARGS)

test-host: venv ## Look closely at deployed hosts, real ones too (INVENTORY=…, one picture is taken on each)
	$(call need_inventory,$@)
	@$(FLEET_ANSIBLE) $(BIN)/python -m pytest tests/host --hosts='ansible://cameras' --ansible-inventory='$(INVENTORY)' $(PYTEST_ARGS)

define need_inventory
@test -n '$(INVENTORY)' || { echo 'make $(1): which hosts? Say INVENTORY=inventory/<yours>' >&2; exit 2; }
endef
