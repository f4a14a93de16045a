package server

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"peerway/signal/internal/wire"
)

// certificate makes the server's own certificate. Only its key means anything.
func certificate(key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "peerway signal"},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), // clocks of peers may be wrong
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// tlsConfig presents a public certificate to who asks for its name, and the
// server's own to everybody else.
func tlsConfig(own tls.Certificate, public []tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true, // clients do not resume
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName != "" {
				for i := range public {
					if hello.SupportsCertificate(&public[i]) == nil {
						return &public[i], nil
					}
				}
			}
			return &own, nil
		},
	}
}

// handshake turns a TCP connection into a link: TLS, the HTTP request, the
// websocket. The caller closes tcp if it fails, and the link if it does not.
func (s *Server) handshake(ctx context.Context, tcp net.Conn) (link *wire.Link, conn *wire.Conn, err error) {
	secure := tls.Server(tcp, s.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	conn = &wire.Conn{Conn: secure}
	reader := bufio.NewReaderSize(io.LimitReader(conn, 8<<10), 4<<10)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return nil, nil, fmt.Errorf("read the request: %w", err)
	}
	w := &hijacked{conn: conn, reader: reader, header: make(http.Header)}
	if request.URL.Path != wire.Path {
		http.Error(w, "peerway signal server", http.StatusNotFound)
		return nil, nil, fmt.Errorf("request for %.80q", request.URL.Path)
	}
	if !offers(request, wire.Subprotocol) {
		http.Error(w, "this server speaks "+wire.Subprotocol, http.StatusBadRequest)
		return nil, nil, errors.New("request for another protocol")
	}
	upgrader := websocket.Upgrader{
		Subprotocols:    []string{wire.Subprotocol},
		ReadBufferSize:  1 << 10,
		WriteBufferSize: 2 << 10, // more than a relay frame, so that one is written at once
		WriteBufferPool: &s.buffers,
	}
	ws, err := upgrader.Upgrade(w, request, nil)
	if err != nil {
		return nil, nil, err
	}
	return wire.NewLink(ws, conn, writeTimeout, &s.chunks), conn, nil
}

func offers(r *http.Request, protocol string) bool {
	for _, offered := range websocket.Subprotocols(r) {
		if strings.TrimSpace(offered) == protocol {
			return true
		}
	}
	return false
}

// hijacked is the response to the only request of a connection.
type hijacked struct {
	conn   *wire.Conn
	reader *bufio.Reader
	header http.Header
	wrote  bool
}

// Header implements http.ResponseWriter.
func (h *hijacked) Header() http.Header { return h.header }

// WriteHeader implements http.ResponseWriter.
func (h *hijacked) WriteHeader(status int) {
	if h.wrote {
		return
	}
	h.wrote = true
	h.header.Set("Connection", "close")
	fmt.Fprintf(h.conn, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	h.header.Write(h.conn)
	io.WriteString(h.conn, "\r\n")
}

// Write implements http.ResponseWriter.
func (h *hijacked) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.conn.Write(p)
}

// Hijack implements http.Hijacker.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	// The limit on the request's size does not apply to the websocket, which
	// reads from the connection itself.
	return h.conn, bufio.NewReadWriter(h.reader, bufio.NewWriterSize(h.conn, 16)), nil
}

func remoteAddr(conn net.Conn) netip.AddrPort {
	addr, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}
