package portmap

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/soap"
)

const (
	maxBody    = 64 << 10 // of an answer
	maxHeaders = 16 << 10
	maxActions = 4 // services of one router that are asked for their address
)

// errElsewhere says that a router wants to be spoken with at an address that is not its own.
var errElsewhere = errors.New("upnp: the router names another host")

// A confined transport speaks plain HTTP with one host, and reads no more than 64 KiB of
// what that answers.
type confined struct {
	host netip.Addr
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (c confined) RoundTrip(r *http.Request) (*http.Response, error) {
	if !isAt(r.URL, c.host) {
		return nil, errElsewhere
	}
	answer, err := c.next.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxBody), answer.Body}
	}
	return answer, err
}

// client returns a client for a host that keeps no connection.
func (r router) client(host netip.Addr) http.Client {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.local, 0))}
	return http.Client{
		Transport: confined{host, &http.Transport{
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaders,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// describe reads what a router says of itself, and returns its ways to the internet:
// those of IP before those of PPP, which routers often have without using them.
func describe(ctx context.Context, client *http.Client, at *url.URL) ([]*upnpService, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("upnp: description: %s", answer.Status)
	}
	root, err := parseDescription(answer.Body, at)
	if err != nil {
		return nil, fmt.Errorf("upnp: description: %w", err)
	}
	return connections(root, client), nil
}

// parseDescription reads a description, whose URLs are relative to where it is from.
func parseDescription(r io.Reader, at *url.URL) (*goupnp.RootDevice, error) {
	root := new(goupnp.RootDevice)
	d := xml.NewDecoder(r)
	d.DefaultSpace = goupnp.DeviceXMLNamespace
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // only ASCII matters
	if err := d.Decode(root); err != nil {
		return nil, err
	}
	base := at
	if root.URLBaseStr != "" {
		var err error
		if base, err = url.Parse(root.URLBaseStr); err != nil {
			return nil, err
		}
	}
	root.SetURLBase(base)
	return root, nil
}

// connections returns the services of a router that map ports, at most maxActions.
func connections(root *goupnp.RootDevice, client *http.Client) []*upnpService {
	var ip, ppp []*upnpService
	root.Device.VisitServices(func(s *goupnp.Service) {
		u := &upnpService{name: s.ServiceType, soap: soap.SOAPClient{EndpointURL: s.ControlURL.URL, HTTPClient: *client}}
		switch {
		case strings.HasPrefix(s.ServiceType, "urn:schemas-upnp-org:service:WANIPConnection:"):
			ip = append(ip, u)
		case strings.HasPrefix(s.ServiceType, "urn:schemas-upnp-org:service:WANPPPConnection:"):
			ppp = append(ppp, u)
		}
	})
	all := slices.Concat(ip, ppp)
	return all[:min(len(all), maxActions)]
}
