//go:build linux

package natlab

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	prefix     = "peerway-"   // of the names of all namespaces
	namespaces = "/run/netns" // where ip(8) keeps them
	bridge     = "public"     // the device that joins the public network

	// A bridge without an address of its own takes another one when a device is
	// plugged in, and its neighbours know the old one.
	bridgeAddress = "02:00:00:00:00:01"

	firstHost = 10  // 203.0.113.10 and 2001:db8::a: the signal host, then other public hosts
	firstSite = 100 // 203.0.113.100 and 2001:db8::64: the first site, then the others
)

// A Lab is one public network with what is connected to it. Its methods fail
// the test by themselves; they are for the goroutine of the test.
type Lab struct {
	// Signal is the first public host: 203.0.113.10 unless the lab is elsewhere, and
	// 2001:db8::a. [SignalName] is its name.
	Signal *Host

	t       testing.TB
	net     netip.Prefix // the public network, a /24
	name    string       // peerway-PID-N, begins the names of its namespaces
	core    string       // the namespace of the bridge
	made    []string
	wires   []*Wire
	hosts   int
	sites   int
	routes6 bool // the core routes IPv6
}

// New builds a lab with nothing but the signal host. The test is skipped if
// this machine cannot do that. Everything that belongs to the lab is removed
// when the test ends.
func New(t testing.TB) *Lab {
	t.Helper()
	return NewAt(t, netip.MustParsePrefix("203.0.113.0/24"))
}

// NewAt is New with another public network, a /24 of IPv4: routers in earnest take the usual
// one for what it is, an example (RFC 5737).
func NewAt(t testing.TB, network netip.Prefix) *Lab {
	t.Helper()
	if reason := Unusable(); reason != "" {
		t.Skip(reason)
	}
	removeStale()
	l := &Lab{t: t, net: network}
	t.Cleanup(l.remove)
	l.claimName()
	l.set(l.core, "ipv6/conf/all/disable_ipv6", "1") // a switch says nothing by itself
	l.ip(l.core,
		"link add name "+bridge+" address "+bridgeAddress+" type bridge forward_delay 0 stp_state 0",
		"link set "+bridge+" up")
	l.set(l.core, "bridge/bridge-nf-call-iptables", "0")
	l.Signal = l.Host()
	return l
}

// Unusable says why no lab can be built here, or is empty.
func Unusable() string {
	if os.Geteuid() != 0 {
		return "only root may make network namespaces"
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is missing: install iproute2 and nftables"
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return "this kernel has no TAP devices: " + err.Error()
	}
	return tryNamespace()
}

// tryNamespace says why no namespace can be made and entered, as in some
// containers, or is empty.
func tryNamespace() string {
	name := fmt.Sprintf("%s%d-try%d", prefix, os.Getpid(), rand.Uint32())
	defer exec.Command("ip", "netns", "delete", name).Run()
	for _, args := range [][]string{{"netns", "add", name}, {"-n", name, "link", "set", "lo", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Sprintf("this system lets nobody use network namespaces: %v: %s", err, bytes.TrimSpace(out))
		}
	}
	return ""
}

// Host adds a host to the public network.
func (l *Lab) Host() *Host {
	l.t.Helper()
	h := &Host{lab: l, namespace: l.namespace(fmt.Sprintf("host%d", l.hosts)), addr: l.public(firstHost + l.hosts), addr6: public6(firstHost + l.hosts)}
	l.hosts++
	l.tellNames(h.namespace)
	l.plug(h.namespace, "eth0", h.addr, h.addr6)
	return h
}

// public returns an address of the public network.
func (l *Lab) public(host int) netip.Addr {
	addr := l.net.Addr().As4()
	addr[3] = byte(host)
	return netip.AddrFrom4(addr)
}

// plug connects a namespace to the public network with a device of that name.
func (l *Lab) plug(namespace, device string, addr, addr6 netip.Addr) {
	l.t.Helper()
	port := "to-" + lastPart(namespace)
	l.ip(l.core,
		"link add name "+port+" type veth peer name "+device+" netns "+namespace,
		"link set "+port+" master "+bridge+" up")
	l.ip(namespace, join(device, addr, addr6)...)
}

// claimName finds a name that no other lab has and makes the first namespace.
func (l *Lab) claimName() {
	l.t.Helper()
	for n := range 1000 {
		l.name = fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), n)
		if _, err := os.Stat(filepath.Join(namespaces, l.name+"-core")); err == nil {
			continue
		}
		core, err := l.tryNamespace("core")
		if _, stat := os.Stat(filepath.Join(namespaces, l.name+"-core")); err != nil && stat == nil {
			continue // a test beside this one was faster
		}
		if err != nil {
			l.t.Fatal(err)
		}
		l.core = core
		return
	}
	l.t.Fatal("natlab: no free name")
}

// namespace makes a namespace of this lab.
func (l *Lab) namespace(role string) string {
	l.t.Helper()
	name, err := l.tryNamespace(role)
	if err != nil {
		l.t.Fatal(err)
	}
	return name
}

// tryNamespace is namespace, where one of that name may be there.
func (l *Lab) tryNamespace(role string) (name string, err error) {
	l.t.Helper()
	name = l.name + "-" + role
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return "", fmt.Errorf("natlab: add namespace %s: %w: %s", name, err, out)
	}
	l.made = append(l.made, name)
	l.prepare6(name)
	l.ip(name, "link set lo up")
	return name, nil
}

// ip runs lines of ip(8) inside a namespace, all in one process.
func (l *Lab) ip(namespace string, lines ...string) {
	l.t.Helper()
	cmd := exec.Command("ip", "-n", namespace, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("natlab: in %s: %v: %s\n%s", namespace, err, bytes.TrimSpace(out), strings.Join(lines, "\n"))
	}
}

// set gives a network setting of a namespace a value. Settings that this kernel
// does not know are left alone: bridges have some only while a module is loaded
// that makes the packet filter see what they carry.
func (l *Lab) set(namespace, setting, value string) {
	l.t.Helper()
	err := inside(namespace, func() error {
		return os.WriteFile("/proc/sys/net/"+setting, []byte(value), 0o644)
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.t.Fatalf("natlab: set %s in %s: %v", setting, namespace, err)
	}
}

// remove ends the processes of the lab, closes its wires and deletes its
// namespaces, with every device in them.
func (l *Lab) remove() {
	for _, name := range l.made {
		endProcesses(name)
	}
	for _, w := range l.wires {
		w.close()
	}
	for _, name := range l.made {
		if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
			l.t.Errorf("natlab: delete namespace %s: %v: %s", name, err, out)
		}
		forgetNames(name)
	}
}

// endProcesses kills what runs inside a namespace and waits until it is gone.
func endProcesses(namespace string) {
	for range 100 {
		pids := processes(namespace)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
		time.Sleep(10 * time.Millisecond) // there is no event for the end of a grandchild
	}
}

// processes returns what runs inside a namespace. Ended processes that nobody
// has waited for are not in any.
func processes(namespace string) []int {
	out, err := exec.Command("ip", "netns", "pids", namespace).Output()
	if err != nil {
		return nil
	}
	var pids []int
	for field := range strings.FieldsSeq(string(out)) {
		// A wire's thread is in a namespace for a moment: not ourselves.
		if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// removeStale deletes the namespaces of processes that are no more.
func removeStale() {
	entries, err := os.ReadDir(namespaces)
	if err != nil {
		return // there never was a namespace
	}
	for _, entry := range entries {
		rest, ours := strings.CutPrefix(entry.Name(), prefix)
		id, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(id)
		if !ours || err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		endProcesses(entry.Name())
		_ = exec.Command("ip", "netns", "delete", entry.Name()).Run() // another run may be faster
		forgetNames(entry.Name())
	}
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '-')+1:] }
