package network

import (
	"context"
	"net"
	"net/netip"

	"github.com/pion/stun/v3"
)

// attrResponsePort is RESPONSE-PORT (RFC 5780 section 7.5).
const attrResponsePort stun.AttrType = 0x0027

// CallBack reports whether packets of strangers arrive at a socket by a port of the public
// address of this host. A STUN server is asked, from a socket that is opened for it, to send
// there from another port, the next one, so that what arrives owes nothing to what the NAT
// let out. ctx bounds the wait, which is 1.5 s at most. The socket is borrowed, and
// left with a read deadline in the past.
func CallBack(ctx context.Context, server netip.AddrPort, at *net.UDPConn, port uint16) bool {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return false
	}
	defer conn.Close()
	there := newAsker(at)
	ctx, stop := heed(ctx, there)
	defer stop()
	q := &question{to: server, elsewhere: true}
	id, forget := there.expect(q)
	defer forget()
	request := stun.MustBuild(stun.NewTransactionIDSetter(id), stun.BindingRequest)
	request.Add(attrResponsePort, []byte{byte(port >> 8), byte(port), 0, 0})
	fromElsewhere(request)
	conn.WriteToUDPAddrPort(request.Raw, server) // an error is a lost packet
	return newAsker(conn).repeat(ctx, request.Raw, server, q.answer).IsValid()
}
