# SPDX-License-Identifier: MIT
# The appliance on this machine: no root, everything below one folder. Options, after `make up`:
#   CAMERA=simulated|replay|rpicam   MEDIA=<folder of photos or video>   INTERVAL=<seconds>   WIDTH= HEIGHT=
#   LOCAL_PORT=8001   PORT=6407   MAX_IMAGES=100   CONSUMERS=a,b   VAR=<folder, default var>   ANSIBLE_ARGS=…
# Options given on make's command line reach the recipe as environment; inventory/local/group_vars reads them there.

VAR ?= var
# Not abspath: it takes a path with a space for two.
APPLIANCE_HOME = $(if $(filter /%,$(VAR)),$(VAR),$(CURDIR)/$(VAR))
APPLIANCE_BIN = $(APPLIANCE_HOME)/opt/current/venv/bin
# The caller's environment may hold a PORT or a DEBUG that the configuration would take for its own.
APPLIANCE_RUN = env -i PATH="$$PATH" HOME="$$HOME" LANG=C.UTF-8 TERM="$${TERM:-dumb}"

.PHONY: up down restart status logs bundle

##@ Appliance

# What Ansible and pip would only complain of in a page of their own words is looked at first.
up: $(CONTROLLER_VENV)/.installed ## Deploy to this machine and start (CAMERA=replay MEDIA=<folder or video>, …)
	$(if $(findstring ',$(APPLIANCE_HOME)$(PWD)),$(error the path $(APPLIANCE_HOME) has a quote in it, which cannot be used; choose another folder))
	@for name in LOCAL_PORT PORT MAX_IMAGES WIDTH HEIGHT INTERVAL; do \
		if [[ -n "$${!name-}" && ! "$${!name}" =~ ^[0-9]+(\.[0-9]+)?$$ ]]; then \
			echo "make up: $$name=$${!name} is no number; give one, or leave it out" >&2; \
			exit 2; \
		fi; \
	done
	@mkdir -p '$(APPLIANCE_HOME)/ansible' 2>/dev/null && test -w '$(APPLIANCE_HOME)' || { \
		echo "make up: $(APPLIANCE_HOME) cannot be made or written by $$(id -un); give it to that user, or choose another folder: make up VAR=<folder>" >&2; \
		exit 2; }
	@VAR='$(APPLIANCE_HOME)' CALLED_FROM='$(if $(PWD),$(PWD),$(CURDIR))' LC_ALL=C.UTF-8 ANSIBLE_CONFIG='$(CURDIR)/ansible.cfg' \
		ANSIBLE_HOME='$(APPLIANCE_HOME)/ansible' ANSIBLE_REMOTE_TMP='$(APPLIANCE_HOME)/ansible/tmp' PYTHONUNBUFFERED=1 \
		$(CONTROLLER_BIN)/python -m ansible playbook playbooks/deploy_here.yml -i inventory/local $(ANSIBLE_ARGS) \
		|| { echo 'make up: not done; the message above says why. `make logs` shows what the programs say.' >&2; exit 1; }
	@$(APPLIANCE_RUN) '$(APPLIANCE_BIN)/fieldcam' guide --config '$(APPLIANCE_HOME)/etc/fieldcam.toml' \
		--token-file '$(APPLIANCE_HOME)/etc/secrets/deploy.token' \
		--stop 'make down$(if $(filter-out var,$(VAR)), VAR=$(VAR))'

down: ## Stop it; pictures and settings stay
	@python="$$(tools/find_python)"; "$$python" roles/appliance/files/stop.py '$(APPLIANCE_HOME)/etc/fieldcam.toml'

restart: ## Restart its programs
	@$(APPLIANCE_RUN) '$(APPLIANCE_BIN)/supervisorctl' -c '$(APPLIANCE_HOME)/etc/supervisord.conf' restart all

status: ## Show how programs and frames are
	@test -e '$(APPLIANCE_BIN)/fieldcam' || { echo 'There is no appliance in $(APPLIANCE_HOME); `make up` makes one.' >&2; exit 1; }
	@$(APPLIANCE_RUN) '$(APPLIANCE_BIN)/supervisorctl' -c '$(APPLIANCE_HOME)/etc/supervisord.conf' status || \
		{ echo 'Not everything runs; `make up` starts it, `make logs` shows why.' >&2; exit 1; }
	@$(APPLIANCE_RUN) '$(APPLIANCE_BIN)/fieldcam' status --config '$(APPLIANCE_HOME)/etc/fieldcam.toml'

logs: ## Show the end of all logs (FOLLOW=1 goes on)
	@ls '$(APPLIANCE_HOME)'/log/*.log >/dev/null 2>&1 || { echo 'There are no logs in $(APPLIANCE_HOME)/log; `make up` starts the appliance.' >&2; exit 1; }
	@tail -n 20 $(if $(FOLLOW),-F) '$(APPLIANCE_HOME)'/log/*.log

# For a controller without internet: copy the checkout and this folder there, and deploy with
# -e appliance_bundle_dir=<the folder>.
bundle: $(CONTROLLER_VENV)/.installed ## Fetch and pack what hosts of every kind install from (BUNDLE=build/bundle)
	@$(CONTROLLER_BIN)/python roles/appliance/files/bundle.py all . build '$(or $(BUNDLE),build/bundle)'
