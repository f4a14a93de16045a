# Peerway. `make help` lists the targets.
GO      ?= go

# The longest that all tests together may take, on two cores.
TEST_TIMEOUT ?= 17m
BENCH ?= .
CYCLES ?= 10000
ROUNDS ?= 30
WAN    ?= all

SYSTEMS = linux/amd64 linux/arm64 linux/arm darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: help build demo test race lint bench bench-wan bench-nat soak cross clean tools

help:
	@echo "make build   the binary, into ./peerway"
	@echo "make demo    everything on this machine, with a built-in camera and web site"
	@echo "make test    vet, format check and all tests; as root on Debian it installs what they need"
	@echo "make race    all tests with the race detector, ten minutes"
	@echo "make lint    vet, format check, checksums of the modules, and the rules of STYLE.md"
	@echo "make bench   measure the whole path, on all kinds of path, and print tables (root, Linux)"
	@echo "make bench-wan  the same on slow, long and lossy lines, beside kernel TCP: 35 minutes; WAN=quick 4 minutes;"
	@echo "             WAN=live, WAN=cost, WAN='rate=200 rtt=50 loss=0,1' and the like are parts (integration/wan_linux_test.go)"
	@echo "make bench-nat  cold connects between all kinds of NAT: ten minutes; ROUNDS=5 is a quarter of that"
	@echo "make soak    open and close 10,000 clients, then look for what they left"
	@echo "make cross   build and vet for every system"
	@echo "make clean   remove what the other targets made"

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o peerway ./cmd/peerway

demo: build
	./peerway demo

test: tools
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) test -timeout $(TEST_TIMEOUT) ./...

race: tools
	$(GO) test -race -timeout 30m ./...

tools:
	@bash integration/testdata/tools

lint:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) mod verify
	$(GO) test -run 'TestImport|TestGoStatements|TestPackageComments|TestSizes|TestNo|TestExported' ./integration

bench: tools
	$(GO) test ./integration -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 20m

bench-wan: tools
	$(GO) test ./integration -run '^$$' -bench 'WAN' -benchtime 1x -timeout 90m -wan '$(WAN)'

bench-nat: tools
	$(GO) test ./integration -run '^$$' -bench 'BenchmarkNAT' -benchtime 1x -timeout 90m -nat $(ROUNDS)

soak: tools
	$(GO) test ./integration -run 'TestSoak' -soak $(CYCLES) -timeout 60m -v

cross:
	@for system in $(SYSTEMS); do \
		echo "$$system"; \
		export CGO_ENABLED=0 GOOS=$${system%/*} GOARCH=$${system#*/}; \
		$(GO) build -trimpath -o build/peerway-$$GOOS-$$GOARCH ./cmd/peerway && $(GO) vet ./... || exit 1; \
	done

clean:
	rm -rf peerway build
