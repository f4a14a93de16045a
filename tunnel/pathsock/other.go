//go:build !linux

package pathsock

const controlSpace = 0

func newReceiver(s *Socket) receiver { return newPlainReceiver(s) }

// parseControl finds nothing: QUIC asks for no batches here, and goes without
// ECN once it sees that the marks do not arrive.
func parseControl([]byte) control { return control{} }

func appendControl(b []byte, _ control, _ bool) []byte { return b }

func putECN([]byte, byte) int { return 0 }
