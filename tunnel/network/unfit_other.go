//go:build !linux

package network

import "net/netip"

// unfit knows of none here.
func unfit() []netip.Addr { return nil }

// temporary knows of none here.
func temporary() []netip.Addr { return nil }
