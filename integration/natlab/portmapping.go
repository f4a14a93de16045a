//go:build linux

package natlab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A PortMapping says by which protocols the hosts of a site open ports of its box.
type PortMapping struct {
	PCP, NATPMP, UPnP bool

	// IGDv1 makes the box a gateway of version 1 of UPnP, not 2.
	IGDv1 bool

	// Shut has the box drop what comes in by the ports that it opens, as behind another NAT.
	Shut bool
}

// A Daemon is miniupnpd in the box of a site.
type Daemon struct {
	site    *Site
	config  PortMapping
	file    string
	cmd     *exec.Cmd
	journal *journal
}

// Unmappable says why no box can map ports here, or is empty.
func Unmappable() string {
	if _, err := exec.LookPath("miniupnpd"); err != nil {
		return "miniupnpd is missing: install miniupnpd-nftables"
	}
	return ""
}

// The names of what the daemon writes its rules into. The packet filter of the box lets in
// what was translated.
const daemonTables = `
table inet mapped {
	chain forwarded { }
	chain translated { }
	chain returned { }
	chain incoming {
		type nat hook prerouting priority dstnat
		jump translated
	}
	chain outgoing {
		type nat hook postrouting priority srcnat - 1
		jump returned
	}
	chain asked {
		type filter hook input priority filter - 1
		%s
	}
	chain arriving {
		type filter hook forward priority filter - 1
		%s
	}
}
`

const daemonConfig = `
ext_ifname=wan0
listening_ip=lan0
enable_upnp=%s
enable_natpmp=%s
force_igd_desc_v1=%s
secure_mode=yes
system_uptime=no
uuid=7065657a-7761-7900-0000-00000000000%d
upnp_table_name=mapped
upnp_nat_table_name=mapped
upnp_forward_chain=forwarded
upnp_nat_chain=translated
upnp_nat_postrouting_chain=returned
allow 1024-65535 192.168.0.0/16 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`

// MapPorts starts a daemon in the box that maps ports, until the test ends. The lab must
// be at a network that is not reserved. Whatever changes the box's packet filter makes it
// lose the mappings, without the daemon's knowing.
func (s *Site) MapPorts(cfg PortMapping) *Daemon {
	s.lab.t.Helper()
	d := &Daemon{site: s, config: cfg, file: filepath.Join(s.lab.t.TempDir(), "miniupnpd.conf")}
	var silent strings.Builder // the first byte is the version of the question
	if !cfg.PCP {
		fmt.Fprintln(&silent, "udp dport 5351 @th,64,8 2 drop")
	}
	if !cfg.NATPMP {
		fmt.Fprintln(&silent, "udp dport 5351 @th,64,8 0 drop")
	}
	shut := ""
	if cfg.Shut {
		shut = "ct status dnat drop"
	}
	s.daemon = fmt.Sprintf(daemonTables, silent.String(), shut)
	text := fmt.Sprintf(daemonConfig, word(cfg.UPnP), word(cfg.PCP || cfg.NATPMP), word(cfg.IGDv1), s.number)
	if err := os.WriteFile(d.file, []byte(text), 0o600); err != nil {
		s.lab.t.Fatal(err)
	}
	d.Start()
	s.lab.t.Cleanup(func() {
		d.Stop()
		if s.lab.t.Failed() {
			s.lab.t.Logf("miniupnpd of %s:\n%s", s.box, d.journal)
		}
	})
	return d
}

func word(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Start starts the daemon after Stop, without any mapping, as when a router is switched on.
func (d *Daemon) Start() {
	t := d.site.lab.t
	t.Helper()
	d.site.apply()
	d.journal = &journal{marker: []byte("HTTP listening on port"), found: make(chan struct{})}
	if d.config.PCP || d.config.NATPMP {
		d.journal.marker = []byte("Listening for NAT-PMP/PCP")
	}
	d.cmd = (&Host{namespace: d.site.box}).Command(t.Context(), "miniupnpd", "-d", "-f", d.file, "-P", d.file+".pid")
	d.cmd.Stderr = d.journal
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("natlab: miniupnpd: %v", err)
	}
	select {
	case <-d.journal.found:
	case <-time.After(10 * time.Second):
		t.Fatalf("natlab: miniupnpd is not ready:\n%s", d.journal)
	}
}

// Stop ends the daemon without giving it a chance to say so, as when a router is switched
// off. Its mappings stay until Start. It may be called again.
func (d *Daemon) Stop() {
	if d.cmd.ProcessState == nil {
		_ = d.cmd.Process.Kill() // it may have ended by itself
		_ = d.cmd.Wait()         // killed
	}
}

// Mappings returns what the packet filter translates, one rule of nft(8) each.
func (d *Daemon) Mappings() []string {
	t := d.site.lab.t
	t.Helper()
	out, err := (&Host{namespace: d.site.box}).Command(t.Context(), "nft", "list", "chain", "inet", "mapped", "translated").Output()
	if err != nil {
		t.Fatalf("natlab: mappings of %s: %v", d.site.box, err)
	}
	var rules []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "dnat") {
			rules = append(rules, strings.TrimSpace(line))
		}
	}
	return rules
}

// A journal is what a program printed. found is closed when marker is part of it.
type journal struct {
	mu     sync.Mutex
	text   []byte
	marker []byte
	found  chan struct{}
}

// Write implements [io.Writer].
func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := bytes.Contains(j.text, j.marker)
	j.text = append(j.text, b...)
	if !before && bytes.Contains(j.text, j.marker) {
		close(j.found)
	}
	return len(b), nil
}

// String returns all of it.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text)
}
