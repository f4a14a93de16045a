package rtsp

import (
	"errors"
	"net"
	"net/netip"
)

// ports is a pair of UDP sockets on the loopback interface: RTP on an even port
// and RTCP on the next one, as players expect (RFC 3550, 11).
type ports struct {
	rtp, rtcp *net.UDPConn
}

// openPorts opens a pair that is free. Whoever serves them closes them.
func openPorts() (*ports, error) {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	var last error
	for range 64 {
		a, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
		if err != nil {
			return nil, err
		}
		port := a.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		b, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, port^1)))
		if err != nil {
			a.Close()
			last = err
			continue
		}
		if port%2 == 1 {
			a, b = b, a
		}
		return &ports{rtp: a, rtcp: b}, nil
	}
	return nil, errors.Join(errors.New("no free pair of UDP ports"), last)
}

// listen hands out the sockets. It has the form that gortsplib wants.
func (p *ports) listen(_, address string) (net.PacketConn, error) {
	if address == p.rtp.LocalAddr().String() {
		return p.rtp, nil
	}
	return p.rtcp, nil
}

// Close closes both sockets.
func (p *ports) Close() error {
	return errors.Join(p.rtp.Close(), p.rtcp.Close())
}
