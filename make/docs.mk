# SPDX-License-Identifier: MIT
# Documents that are made from the code. tests/docs fails while one of them is stale.

##@ Quality

.PHONY: docs
docs: venv ## Write docs/errors.md, configuration.md and commands.md again from the code
	$(BIN)/python tools/generate_docs.py
