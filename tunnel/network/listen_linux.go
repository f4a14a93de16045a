package network

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// listen calls event for everything that the kernel says of interfaces, addresses and
// routes (rtnetlink(7)), until ctx is done or the kernel refuses.
func listen(ctx context.Context, event func()) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK |
		unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE})
	socket := os.NewFile(uintptr(fd), "rtnetlink")
	defer socket.Close()
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	message := make([]byte, 1<<16)
	for {
		// What has happened does not matter, for the addresses are looked at, nor how
		// much of it was lost because nobody has read.
		if _, err := socket.Read(message); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		event()
	}
}
