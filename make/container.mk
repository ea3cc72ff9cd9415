# SPDX-License-Identifier: MIT
# Consumers of frames in containers. The wheels are fetched here, on the host: the build itself has no network.
# Options: BASE=<image with python3, glibc>   TAG=<name of the result>   LOCK=locks/container.txt (without OpenCV)

CONSUMER_TAG = $(or $(TAG),fieldcam/consumer:latest)

.PHONY: container-image test-docker

##@ Containers

container-image: $(CONTROLLER_VENV)/.installed ## Build the image of the consumers (BASE=python:3.13-slim TAG=fieldcam/consumer:latest)
	@$(CONTROLLER_BIN)/python tools/container_image.py --tag '$(CONSUMER_TAG)' \
		$(if $(BASE),--base '$(BASE)') $(if $(LOCK),--lock '$(LOCK)')

test-docker: venv ## Only the tests that need Docker (as root; tools/docker_daemon start makes a daemon of their own)
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/docker
