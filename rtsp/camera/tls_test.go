package camera_test

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"peerway/rtsp/rtsptest"
)

// underTLS puts TLS with a self-signed certificate before a server and returns
// where.
func underTLS(t *testing.T, server string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}})
	if err != nil {
		t.Fatal(err)
	}
	return rtsptest.Serve(t, ln, func(front net.Conn) {
		back, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		var copying sync.WaitGroup
		defer copying.Wait()
		copying.Go(func() { io.Copy(back, front); back.Close() })
		copying.Go(func() { io.Copy(front, back); front.Close() })
	})
}

func TestCheckUnderTLS(t *testing.T) {
	cam := rtsptest.StartCamera(t, "digest")
	plain := fmt.Sprintf("127.0.0.1:%d", cam.Port)
	secure := underTLS(t, plain)
	login := rtsptest.UserInfo + "@"
	for url, want := range map[string]string{
		"rtsps+insecure://" + login + secure + "/live": "",
		"rtsps://" + login + secure + "/live":          "the certificate of " + secure + " is not trusted",
		"rtsps://" + login + plain + "/live":           plain + " does not speak TLS: expose it as rtsp://",
	} {
		switch err := parse(t, url).Check(t.Context()); {
		case want == "" && err != nil:
			t.Errorf("got %v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
