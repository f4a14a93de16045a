//go:build race

package integration_test

// buildFlags make the binary watch itself as these tests do. A data race that it
// finds changes its exit code.
func buildFlags() []string { return []string{"-race"} }
