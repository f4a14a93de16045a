package portmap

import (
	"testing"

	"peerway/integration/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
