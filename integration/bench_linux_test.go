package integration_test

func runHelper() bool { return false }
