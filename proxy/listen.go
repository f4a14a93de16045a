package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// listen opens every address and returns the sockets, and for each address the
// one that was opened first. The caller closes the sockets, also after an
// error.
func listen(addrs []string) (sockets []net.Listener, opened []netip.AddrPort, err error) {
	if len(addrs) == 0 {
		return nil, nil, errors.New("no address to listen on")
	}
	for _, addr := range addrs {
		more, err := listenOne(addr)
		sockets = append(sockets, more...)
		if err != nil {
			return sockets, nil, err
		}
		local := more[0].Addr().(*net.TCPAddr).AddrPort()
		opened = append(opened, netip.AddrPortFrom(local.Addr().Unmap(), local.Port()))
	}
	return sockets, opened, nil
}

// listenOne opens one address, or two for localhost: clients try either first.
func listenOne(addr string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: want HOST:PORT", addr)
	}
	if host != "" && host != "localhost" {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, err
		}
		return []net.Listener{ln}, nil
	}
	const tries = 10 // a free port of IPv4 may be taken in IPv6
	for range tries {
		var both []net.Listener
		if both, err = listenLoopback(port); err == nil || port != "0" {
			return both, err
		}
	}
	return nil, err
}

// listenLoopback opens port on 127.0.0.1 and, where there is IPv6, on ::1.
func listenLoopback(port string) ([]net.Listener, error) {
	four, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	port = strconv.Itoa(four.Addr().(*net.TCPAddr).Port)
	six, err := net.Listen("tcp6", net.JoinHostPort("::1", port))
	switch {
	case err == nil:
		return []net.Listener{four, six}, nil
	case errors.Is(err, errInUse): // someone else would get half of our clients
		four.Close()
		return nil, err
	}
	return []net.Listener{four}, nil // no IPv6 here
}
