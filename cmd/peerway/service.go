package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"peerway/proxy/export"
	"peerway/rtsp/camera"
	"peerway/signal"
)

// A service is a real server that this peer exposes.
type service struct {
	signal.Service
	backend export.Backend
}

// parseServices reads arguments of the form NAME=URL. The error lists every
// mistake and repeats no URL: they hold passwords.
func parseServices(args []string) ([]service, error) {
	var services []service
	var errs []error
	seen := map[string]bool{}
	for i, arg := range args {
		name, url, ok := strings.Cut(arg, "=")
		if !ok || strings.Contains(name, ":") {
			errs = append(errs, fmt.Errorf("argument %d: want SERVICE=URL, for example cam=rtsp://192.168.1.20:554/stream1", i+1))
			continue
		}
		s, err := parseService(name, url)
		switch {
		case err != nil:
			errs = append(errs, err)
		case seen[s.Name]:
			errs = append(errs, fmt.Errorf("service %s is there twice", s.Name))
		default:
			seen[s.Name] = true
			services = append(services, s)
		}
	}
	if len(services) > signal.MaxServices {
		errs = append(errs, fmt.Errorf("%d services, at most %d are possible", len(services), signal.MaxServices))
	}
	return services, errors.Join(errs...)
}

func parseService(name, url string) (service, error) {
	if err := signal.ValidService(name); err != nil {
		return service{}, err
	}
	switch {
	case strings.HasPrefix(url, "@"):
		return service{}, fmt.Errorf("service %s: @FILE is for the command line only: write the URL here, and let nobody else read the file", name)
	case !strings.Contains(url, "://"):
		return service{}, fmt.Errorf("service %s: not a URL: write, for example, rtsp://192.168.1.20:554/stream1 or http://192.168.1.9:8080", name)
	}
	backend, scheme, err := export.ParseURL(url, map[string]export.Parser{
		"rtsp": parseCamera, "rtsps": parseCamera, "rtsps+insecure": parseCamera,
	})
	if err != nil {
		return service{}, fmt.Errorf("service %s: %w", name, err)
	}
	if strings.HasPrefix(scheme, "rtsp") {
		scheme = "rtsp" // how the peer reaches the camera is its own business
	}
	return service{signal.Service{Name: name, Scheme: scheme}, backend}, nil
}

// parseCamera is the [export.Parser] of cameras.
func parseCamera(raw string) (export.Backend, error) {
	c, err := camera.Parse(raw)
	if err != nil {
		return nil, err
	}
	return cameraBackend{c}, nil
}

// A cameraBackend is a camera as an [export.Backend].
type cameraBackend struct{ *camera.Camera }

// Dial implements [export.Backend].
func (c cameraBackend) Dial(ctx context.Context) (export.Upstream, error) {
	up, err := c.Camera.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return up, nil
}

// offered returns what the signal server is told of services.
func offered(services []service) []signal.Service {
	list := make([]signal.Service, len(services))
	for i, s := range services {
		list[i] = s.Service
	}
	return list
}

// checkAddress reports what is wrong with an address to listen on, where port is
// the usual one.
func checkAddress(address string, usual int) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%.80q is not HOST:PORT, for example 127.0.0.1:%d or :%[2]d", address, usual)
	}
	return nil
}
