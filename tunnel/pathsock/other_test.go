//go:build !linux

package pathsock

// UsePlainReceiver changes nothing where there is no other receiver.
func UsePlainReceiver(*Socket) {}

// Segments returns nothing: batches are not sent here.
func Segments(n, size int) []byte { return nil }
