package portmap

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/huin/goupnp"
)

const answerFormat = "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: %\r\n\r\n"

func found(location string) []byte { return []byte(strings.Replace(answerFormat, "%", location, 1)) }

func TestFound(t *testing.T) {
	from := netip.MustParseAddr("192.168.1.1")
	const good = "http://192.168.1.1:5000/rootDesc.xml"
	if at, err := parseFound(found(good), from); err != nil || at.String() != good {
		t.Errorf("parseFound() = %v, %v", at, err)
	}
	for _, location := range []string{
		"", "/rootDesc.xml", "http:///", "https://192.168.1.1/", "http://192.168.1.2/", "http://127.0.0.1/",
		"http://router.lan/", "http://192.168.1.1@10.0.0.1/", "http://0xc0a80101/", "file:///etc/passwd",
	} {
		if at, err := parseFound(found(location), from); !errors.Is(err, errStray) {
			t.Errorf("parseFound() at %q = %v, %v", location, at, err)
		}
	}
	for _, wrong := range []string{"200 OK", "InternetGatewayDevice", "LOCATION"} {
		packet := bytes.Replace(found(good), []byte(wrong), []byte("404 x"), 1)
		if at, err := parseFound(packet, from); !errors.Is(err, errStray) {
			t.Errorf("parseFound() without %q = %v, %v", wrong, at, err)
		}
	}
}

func FuzzFound(f *testing.F) {
	from := netip.MustParseAddr("192.168.1.1")
	f.Add(found("http://192.168.1.1:5000/rootDesc.xml"))
	f.Add(found("http://192.168.1.1@127.0.0.1/"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, err := parseFound(b, from); err == nil && at.Hostname() != "192.168.1.1" {
			t.Errorf("%q leads to %v", b, at)
		}
	})
}

// A description names its services by path, by whole URL, or relative to a base.
func TestDescription(t *testing.T) {
	at, _ := url.Parse("http://192.168.1.1:5000/desc/root.xml")
	for description, want := range map[string]string{
		describing("", "/ctl"):                                   "http://192.168.1.1:5000/ctl",
		describing("", "ctl"):                                    "http://192.168.1.1:5000/ctl", // as most routers mean it, whatever RFC 3986 says
		describing("", "http://192.168.1.1:80/x"):                "http://192.168.1.1:80/x",
		describing("<URLBase>http://10.0.0.1/</URLBase>", "ctl"): "http://10.0.0.1/ctl",
	} {
		root, err := parseDescription(strings.NewReader(description), at)
		if err != nil {
			t.Fatal(err)
		}
		services := connections(root, &http.Client{})
		if len(services) != 2 || services[0].soap.EndpointURL.String() != want || !strings.Contains(services[1].name, "PPP") {
			t.Errorf("services are %+v, want IP at %s before PPP", services, want)
		}
	}
}

func describing(base, control string) string {
	service := func(kind string) string {
		return "<service><serviceType>urn:schemas-upnp-org:service:" + kind + ":1</serviceType><controlURL>" + control + "</controlURL></service>"
	}
	return `<?xml version="1.0" encoding="ISO-8859-1"?><root xmlns="urn:schemas-upnp-org:device-1-0">` + base +
		`<device><deviceList><device><deviceList><device><serviceList>` + service("WANPPPConnection") + service("WANIPConnection") +
		`</serviceList></device></deviceList></device></deviceList></device></root>`
}

func FuzzDescription(f *testing.F) {
	at, _ := url.Parse("http://192.168.1.1:5000/root.xml")
	f.Add([]byte(describing("<URLBase>http://10.0.0.1/</URLBase>", "ctl")))
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := parseDescription(bytes.NewReader(b), at)
		if err != nil {
			root = new(goupnp.RootDevice)
		}
		if n := len(connections(root, &http.Client{})); n > maxActions {
			t.Errorf("%d services", n)
		}
	})
}
