package integration_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/apernet/quic-go"
	"github.com/hashicorp/yamux"
)

// The rival is a tunnel as they are usually built: client connections are yamux
// streams in one QUIC stream, on a UDP socket as the QUIC library opens it,
// with the library's own congestion control and io.Copy at both ends.

// rivalSocket returns a QUIC transport. A kind of "udp" has the socket itself,
// on which the library sends batches; "packets" has what ICE libraries hand out,
// which takes a packet at a time.
func rivalSocket(kind, local string) (*quic.Transport, error) {
	transport, err := bareTransport(local)
	if err == nil && kind == "packets" {
		transport.Conn = struct{ net.PacketConn }{transport.Conn}
	}
	return transport, err
}

func rivalMux() *yamux.Config {
	cfg := yamux.DefaultConfig()
	cfg.MaxStreamWindowSize = 6 << 20
	cfg.LogOutput = io.Discard
	return cfg
}

// rivalPeer carries the streams of one gateway to a server. Arguments: kind of
// socket, local address, address of the server.
func rivalPeer(args []string) error {
	transport, err := rivalSocket(args[0], args[1])
	if err != nil {
		return err
	}
	conf, err := bareTLS()
	if err != nil {
		return err
	}
	ln, err := transport.Listen(conf, bareConfig())
	if err != nil {
		return err
	}
	fmt.Println("ready", args[1])
	conn, err := ln.Accept(context.Background())
	if err != nil {
		return err
	}
	stream, err := conn.AcceptStream(context.Background())
	if err != nil {
		return err
	}
	session, err := yamux.Server(stream, rivalMux())
	if err != nil {
		return err
	}
	return rivalServe(session, func() (net.Conn, error) { return net.Dial("tcp", args[2]) })
}

// rivalGateway listens for clients. Arguments: kind of socket, address of the
// peer.
func rivalGateway(args []string) error {
	transport, err := rivalSocket(args[0], "0.0.0.0:0")
	if err != nil {
		return err
	}
	to, err := net.ResolveUDPAddr("udp4", args[1])
	if err != nil {
		return err
	}
	conn, err := transport.Dial(context.Background(), to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"bare"}}, bareConfig())
	if err != nil {
		return err
	}
	stream, err := conn.OpenStreamSync(context.Background())
	if err != nil {
		return err
	}
	session, err := yamux.Client(stream, rivalMux())
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("ready", ln.Addr())
	return rivalServe(ln, session.Open)
}

// rivalServe joins each connection that a listener accepts with one more, for
// ever.
func rivalServe(ln interface{ Accept() (net.Conn, error) }, open func() (net.Conn, error)) error {
	for {
		near, err := ln.Accept()
		if err != nil {
			return err
		}
		far, err := open()
		if err != nil {
			return errors.Join(err, near.Close())
		}
		go func() {
			var both sync.WaitGroup
			both.Go(func() { io.Copy(near, far); near.Close() })
			both.Go(func() { io.Copy(far, near); far.Close() })
			both.Wait()
		}()
	}
}
