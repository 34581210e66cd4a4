# 'make help' lists what there is to make.
SHELL := /bin/bash
.DEFAULT_GOAL := help

LAB := flagship
LAB_NODES := 3
STACK := nginx
# More for the playbooks: make site LAB_NODES=5 VARIABLES='load_balancer_instances=2 load_balancer_virtual_ip=172.30.80.100'
VARIABLES :=
INVENTORY := $(CURDIR)/.cache/lab/$(LAB)/inventory.yml
IMAGES := $(CURDIR)/.cache/images
IMAGES_nginx := nginx
IMAGES_haproxy := dumbserve haproxy
STEP := scripts/step

export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## install what is missing: Debian packages, the virtual environment .venv
	@$(STEP) "Set up the tools" scripts/setup

.PHONY: site
site: lab-up ## boot nodes here (LAB_NODES=3), make them a cluster and serve the site (STACK=nginx or haproxy) from it
	@$(STEP) "Make the site" ansible-playbook -i $(INVENTORY) playbooks/site.yml -e site_stack=$(STACK) -e '$(VARIABLES)'
	@python3 scripts/site_summary.py $(INVENTORY)

.PHONY: site-address
site-address: ## print where the site is
	@python3 scripts/site_summary.py --address $(INVENTORY)

.PHONY: lab-up
lab-up: setup ## boot nodes here (LAB_NODES=3), or the lost ones of them
	@$(STEP) "Have a Docker engine" scripts/engine start
	@for image in node $(IMAGES_$(STACK)); do \
		$(STEP) "Have the image $$image" python3 roles/lab/files/build_image.py roles/lab/files/images/$$image --directory $(IMAGES) || exit; \
	done
	@$(STEP) "Boot the lab" ansible-playbook playbooks/lab_up.yml \
		-e lab_name=$(LAB) -e lab_node_count=$(LAB_NODES) -e site_stack=$(STACK) -e '$(VARIABLES)'

.PHONY: lab-down
lab-down: setup ## remove the nodes and all that belongs to them
	@$(STEP) "Have a Docker engine" scripts/engine start
	@$(STEP) "Remove the lab" ansible-playbook playbooks/lab_down.yml -e lab_name=$(LAB)
	@scripts/engine stop

.PHONY: check
check: ## the short loop: linters and the tests that need no machine
	@$(STEP) "Set up the tools" scripts/setup --tests
	@scripts/test check

.PHONY: test
test: ## every test, with a lab of its own
	@$(STEP) "Set up the tools" scripts/setup --tests
	@scripts/test all

.PHONY: test-matrix
test-matrix: ## the tests of modules and plugins on each ansible-core and Python that README.md names
	@$(STEP) "Set up the tools" scripts/setup --tests
	@scripts/test matrix

.PHONY: soak
soak: ## every fault of etcd, the network, the nodes and the balancers, as long as the requirement says: an hour
	@$(STEP) "Set up the tools" scripts/setup --tests
	@scripts/test soak

.PHONY: bench
bench: site ## measure the engine on three nodes and 500 simulated ones, the site, and modules beside their peers; print a table
	@$(STEP) "Set up the tools" scripts/setup --tests
	@PYTHONPATH=.:runtime/src:runtime/tests python3 -m bench $(INVENTORY)

.PHONY: clean
clean: ## remove what was built and cached here (not the lab: that is lab-down's)
	rm -rf .cache/images .cache/ansible-test .cache/bench .cache/docs .cache/matrix .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible tests/output
