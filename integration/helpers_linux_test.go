package integration_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/apernet/quic-go"
)

// The benchmarks compare with programs that nobody has written yet. They are
// this test binary, started again with the name of a helper in the environment.
const helperVariable = "PEERWAY_TEST_HELPER"

// runHelper becomes a helper if this process was started as one.
func runHelper() bool {
	helpers := map[string]func(args []string) error{
		"quic-send":     quicSend,
		"quic-receive":  quicReceive,
		"rival-peer":    rivalPeer,
		"rival-gateway": rivalGateway,
		"hold":          hold,
		"open-port":     openPort,
		"probe-router":  probeRouter,
	}
	helper, ok := helpers[os.Getenv(helperVariable)]
	if !ok {
		return false
	}
	if err := helper(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// startHelper starts a helper with arguments.
func startHelper(t testing.TB, at place, helper string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, at, "env", append([]string{helperVariable + "=" + helper, self}, args...)...)
}

// bareConfig has windows as large as anybody could want, and the library's
// defaults for the rest.
func bareConfig() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow:     4 << 20,
		MaxStreamReceiveWindow:         32 << 20,
		InitialConnectionReceiveWindow: 6 << 20,
		MaxConnectionReceiveWindow:     48 << 20,
		MaxIdleTimeout:                 30 * time.Second,
	}
}

// quicSend sends a file over bare QUIC on one UDP socket to each that connects,
// one after the other. Arguments: local address, file.
func quicSend(args []string) error {
	conf, err := bareTLS()
	if err != nil {
		return err
	}
	transport, err := bareTransport(args[0])
	if err != nil {
		return err
	}
	ln, err := transport.Listen(conf, bareConfig())
	if err != nil {
		return err
	}
	fmt.Println("ready", transport.Conn.LocalAddr())
	for {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			return err
		}
		if err := sendFile(conn, args[1]); err != nil {
			return err
		}
	}
}

// bareTLS returns settings for a server that nobody knows.
func bareTLS() (*tls.Config, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{"bare"},
	}, nil
}

func bareTransport(local string) (*quic.Transport, error) {
	addr, err := net.ResolveUDPAddr("udp4", local)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp4", addr)
	if err != nil {
		return nil, err
	}
	return &quic.Transport{Conn: socket}, nil
}

func sendFile(conn *quic.Conn, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	stream, err := conn.OpenUniStream()
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{stream}, struct{ io.Reader }{file}, make([]byte, 256<<10)); err != nil {
		return err
	}
	if err := stream.Close(); err != nil {
		return err
	}
	<-conn.Context().Done()
	return nil
}

// quicReceive receives a file over bare QUIC and prints how long it took from
// the first byte on, and what it cost this process. Argument: the address.
func quicReceive(args []string) error {
	transport, err := bareTransport("0.0.0.0:0")
	if err != nil {
		return err
	}
	to, err := net.ResolveUDPAddr("udp4", args[0])
	if err != nil {
		return err
	}
	ctx := context.Background()
	conn, err := transport.Dial(ctx, to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"bare"}}, bareConfig())
	if err != nil {
		return err
	}
	stream, err := conn.AcceptUniStream(ctx)
	if err != nil {
		return err
	}
	before, begun := cpuTime(os.Getpid()), time.Now()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{stream}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	fmt.Println("received", n, time.Since(begun).Nanoseconds(), (cpuTime(os.Getpid()) - before).Nanoseconds())
	return conn.CloseWithError(0, "")
}

// hold is a web server that answers with a header and one line, and then
// nothing more until the client leaves. Argument: local address.
func hold(args []string) error {
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready", ln.Addr())
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "held")
		if err := http.NewResponseController(w).Flush(); err == nil && r.URL.Path == "/hold" {
			<-r.Context().Done()
		}
	}))
}
