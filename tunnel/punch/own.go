package punch

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// openOwn gives an attempt a socket of its own, if it is to have one, and returns that.
func (p *Puncher) openOwn(pt *port, config *AttemptConfig) *net.UDPConn {
	if !config.Own || p.config.Adopt == nil {
		return nil
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		p.log.Debug("no socket for an attempt of its own", "err", err)
		return nil
	}
	config.Mapped = nil
	pt.number = conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	pt.write = func(b []byte, to netip.AddrPort) error {
		_, err := conn.WriteToUDPAddrPort(b, to)
		return err
	}
	return conn
}

// Own reports whether the attempt has a socket of its own.
func (a *Attempt) Own() bool { return a.own != nil }

// Mapped is [Puncher.Mapped] for the socket of the attempt.
func (a *Attempt) Mapped(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	if a.own == nil {
		return a.puncher.Mapped(ctx, server)
	}
	server = unmap(server)
	return a.puncher.ask(ctx, a.port.write, server, server)
}

// serveOwn reads from the attempt's own socket, or has that read by who uses the address
// that is selected, until life ends.
func (a *Attempt) serveOwn(life context.Context) {
	for life.Err() == nil {
		a.serveUntilMoved(life)
	}
}

func (a *Attempt) serveUntilMoved(life context.Context) {
	ctx, stop := context.WithCancel(life)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer stop()
	a.own.SetReadDeadline(time.Time{})
	waiting.Go(func() {
		select {
		case <-a.moved:
			stop()
		case <-ctx.Done():
		}
	})
	if to := a.Remote(); to.IsValid() {
		a.puncher.config.Adopt(ctx, a.own, to)
	} else {
		a.receiveOwn(ctx)
	}
	<-ctx.Done()
}

// receiveOwn takes what comes to the attempt's own socket, until ctx is done.
func (a *Attempt) receiveOwn(ctx context.Context) {
	past := make(chan struct{})
	context.AfterFunc(ctx, func() {
		a.own.SetReadDeadline(time.Unix(1, 0))
		close(past)
	})
	packet := make([]byte, maxMessage)
	for ctx.Err() == nil {
		n, from, err := a.own.ReadFromUDPAddrPort(packet)
		if err == nil { // else it is over, or an ICMP error of an earlier packet
			a.puncher.Deliver(packet[:n], from)
		}
	}
	<-past // else it might come when somebody else reads
}
