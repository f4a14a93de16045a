// Package natlab builds a small internet for tests out of network namespaces:
// a public network 203.0.113.0/24 and 2001:db8::/64 with a host for the signal
// server, and sites, each a box with hosts behind it, which translates IPv4 in
// one of four ways, or is the firewall of an IPv6 network, or both. Programs run
// inside as they are; the kernel does the translating.
//
//	lab := natlab.New(t) // skips the test when not root
//	home := lab.Site(natlab.SiteConfig{Kind: natlab.PortRestricted})
//	cmd := home.LAN.Command(ctx, "curl", "http://203.0.113.10/") // or http://signal.test/
//
// A site may be joined to the public network by a [Wire], which delays, loses,
// reorders and limits what passes, each direction by itself and every frame by
// itself, since many kernels come without netem:
//
//	home := lab.Site(natlab.SiteConfig{Link: &natlab.Link{Rate: 200e6, Delay: 20 * time.Millisecond}})
//	home.Wire().SetUp(natlab.Link{Rate: 20e6, Jitter: 5 * time.Millisecond, Loss: 0.01})
//	sent := home.Wire().Up() // how many frames, how long they waited
//
// A site's box may let its hosts open ports, by a real daemon, miniupnpd:
//
//	lab := natlab.NewAt(t, netip.MustParsePrefix("11.0.0.0/24")) // it refuses example networks
//	daemon := lab.Site(natlab.SiteConfig{}).MapPorts(natlab.PortMapping{UPnP: true})
//
// It is for Linux and for root. Elsewhere the package is empty.
//
// # Ownership
//
// A [Lab] owns its namespaces, what they see of /etc, its wires and every process inside. All of it is
// gone when the test has ended, also after a failure. What a killed run left
// behind is removed by the next [New], on any lab's behalf: names carry the id
// of the process that made them. While a wire exists, GOMAXPROCS is higher by
// one: the wire keeps one of Go's processors to itself.
package natlab
