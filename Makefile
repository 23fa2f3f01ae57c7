# Anling (安铃). `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := build

VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
SQLC        := github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
TOOLS       := $(CURDIR)/.tools
FUZZTIME    ?= 20s
# One set of flags for building and testing: what is compiled once serves both.
export CGO_ENABLED := 0
export GOFLAGS     := -trimpath
# Debian packages that the tests use; the server itself needs none of them.
PACKAGES    := postgresql redis-server sip-tester baresip chromium-headless-shell fonts-noto-cjk nodejs espeak-ng sox

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

.PHONY: build
build: ## build bin/anling and bin/anlingsim; needs Go alone
	go build -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/anling ./cmd/anlingsim

.PHONY: demo
demo: build ## a generated district, one SOS press and one hotline call; pages at http://127.0.0.1:8080
	./bin/anling demo

.PHONY: run
run: build ## the server with configs/anling.yml
	./bin/anling serve --config configs/anling.yml

.PHONY: deps
deps: ## install what the tests need (Debian packages, npm packages)
	@bash scripts/deps $(PACKAGES)

.PHONY: test
test: deps build ## every test, with PostgreSQL, Redis, SIP peers and a browser
	go vet ./...
	go test -timeout 14m ./...
	$(MAKE) web-check

.PHONY: race
race: deps ## every test under the race detector
	CGO_ENABLED=1 go test -race -timeout 40m ./...

.PHONY: lint
lint: ## go vet, gofmt and staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt wants:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	@mkdir -p $(TOOLS)
	@test -x $(TOOLS)/staticcheck || GOBIN=$(TOOLS) go install $(STATICCHECK)
	$(TOOLS)/staticcheck ./...

.PHONY: fuzz
fuzz: ## every fuzz test for FUZZTIME (20s)
	@bash scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: build ## the measured goals, printed with the machine's size
	@bash scripts/bench

.PHONY: web
web: ## rebuild the pages into web/dist
	go run ./cmd/webbuild

.PHONY: web-check
web-check: ## type check the pages and prove that web/dist is what web/src builds
	@bash scripts/web-check

.PHONY: prompts
prompts: ## rebuild the spoken prompts (needs espeak-ng and sox)
	go run ./cmd/promptbuild

.PHONY: sqlc
sqlc: ## regenerate store/db from the queries
	@mkdir -p $(TOOLS)
	@test -x $(TOOLS)/sqlc || CGO_ENABLED=1 GOBIN=$(TOOLS) go install $(SQLC)
	$(TOOLS)/sqlc generate

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
