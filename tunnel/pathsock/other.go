//go:build !linux

package pathsock

func newReceiver(s *Socket) receiver { return newPlainReceiver(s) }
