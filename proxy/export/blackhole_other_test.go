//go:build !linux

package export_test

import "testing"

// blackHoleAddr skips the test: only Linux drops what does not fit a queue.
func blackHoleAddr(t *testing.T) string {
	t.Helper()
	t.Skip("needs Linux")
	return ""
}
