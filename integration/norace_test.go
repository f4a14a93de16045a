//go:build !race

package integration_test

// buildFlags are those of an ordinary build.
func buildFlags() []string { return nil }
