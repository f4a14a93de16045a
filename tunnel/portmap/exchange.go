package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// errStray says that a packet is not an answer to the question.
var errStray = errors.New("not an answer")

// askFirst is how long the first packet of a question waits for its answer. Each further
// one waits twice as long.
const askFirst = 100 * time.Millisecond

// exchange sends a packet again and again until parse takes an answer, or ctx is done.
// What parse calls errStray is ignored; so is, by the kernel, what others than to send.
func exchange[T any](ctx context.Context, local netip.Addr, to netip.AddrPort, packet []byte, parse func([]byte) (T, error)) (T, error) {
	var none T
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), net.UDPAddrFromAddrPort(to))
	if err != nil {
		return none, err
	}
	defer conn.Close()
	defer wakeWhenDone(ctx, conn)()
	buffer := make([]byte, pcpMax+1)
	for wait := askFirst; ; wait *= 2 {
		if _, err := conn.Write(packet); err != nil {
			return none, err
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		for ctx.Err() == nil {
			n, err := conn.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil { // nobody listens there
				return none, err
			}
			if answer, err := parse(buffer[:n]); !errors.Is(err, errStray) {
				return answer, err
			}
		}
		if ctx.Err() != nil {
			return none, fmt.Errorf("no answer: %w", context.Cause(ctx))
		}
	}
}

// wakeWhenDone ends a blocked read when ctx is done, until the result is called. Whoever
// sets a deadline must look at ctx after that.
func wakeWhenDone(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
}
