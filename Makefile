# `make` prints this help. Every target sets up what it needs.
PYTHON := .venv/bin/python
TESTS := $(PYTHON) -m pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test check proof bench longrun mutate figures drawings install uninstall image test-appliance clean

help:
	@echo "make demo            play a day on a simulated line; sound and pictures in demo-output/"
	@echo "make test            format, lint, types and all tests (at most 5 minutes after set-up)"
	@echo "make proof           what needs a browser, sipp, hostile sticks or minutes"
	@echo "make bench           speed and memory, as tables"
	@echo "make longrun         crash states and device-years, resumable; fuzzing"
	@echo "make mutate          seeded bugs: the tests must find every one"
	@echo "make test-appliance  the installed product in an emulated machine (root)"
	@echo "make install DESTDIR=/mnt/card    lay the recorder out on a card; make uninstall takes it away"
	@echo "make image           a bootable card image"
	@echo "make drawings        the drawings of hw/WIRING.md"
	@echo "make setup           Debian packages, .venv, pinned Python packages (the others call it)"

setup:
	@tools/setup.sh

setup-proof: setup
	@tools/setup.sh tools/setup_packages_proof.txt

demo: setup
	@$(PYTHON) -m tools.demo --out demo-output

check: setup
	@$(PYTHON) -m ruff format --check -q .
	@$(PYTHON) -m ruff check -q .
	@$(PYTHON) -m mypy --no-error-summary

test: check
	@$(TESTS) -m "not proof and not appliance"

proof: setup-proof
	@$(PYTHON) -m pytest -m proof

bench: setup
	@$(PYTHON) -m tests.bench

# Another seed each time: what was run is kept, and `make figures` adds it up.
longrun: setup
	@$(PYTHON) -m tests.longrun --seed $$(date +%s) --states 250000 --years 20 --progress tests/longrun/progress.jsonl
	@$(PYTHON) -m tests.longrun.fuzz_voip -max_total_time=600
	@$(PYTHON) -m tests.longrun.fuzz_orders -max_total_time=600

mutate: setup
	@$(PYTHON) -m tests.longrun.mutants

figures: setup
	@$(PYTHON) -m tests.longrun.figures

drawings: setup
	@$(PYTHON) -m hw.electronics.draw

install: setup
	@$(PYTHON) boot/install.py install --destdir "$(DESTDIR)"

uninstall: setup
	@$(PYTHON) boot/install.py uninstall --destdir "$(DESTDIR)"

image: setup
	@tools/setup.sh tools/setup_packages_image.txt
	@boot/image/build.sh

test-appliance: setup-proof
	@tools/setup.sh tools/setup_packages_image.txt
	@$(PYTHON) -m pytest -m appliance

clean:
	rm -rf build demo-output proof-output .pytest_cache .mypy_cache .ruff_cache
