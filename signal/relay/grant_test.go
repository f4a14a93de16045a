package relay_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"peerway/signal/relay"
)

// Nothing that is printed or logged of a grant, or of what has one in it, shows its secret.
func TestSecretsHideThemselves(t *testing.T) {
	key := relay.Key{11, 22, 33}
	grant := relay.Grant{Secret: relay.Secret{11, 22, 33}}
	place := relay.Place{Grant: grant}
	var shown bytes.Buffer
	for _, v := range []any{key, &key, grant, &grant, grant.Secret, place, &place, []relay.Place{place}, struct{ Key relay.Key }{key}} {
		for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
			slog.New(handler).Info("test", "value", v)
		}
		for _, verb := range []string{"v", "+v", "#v", "s", "q", "x", "X", "d"} {
			fmt.Fprintf(&shown, "%"+verb+"\n", v)
		}
	}
	for _, form := range []string{"11 22 33", "0xb, 0x16, 0x21", "0b1621", "0B1621", "b 16 21", "B 16 21", "CxYh", "11,22,33"} {
		if i := strings.Index(shown.String(), form); i >= 0 {
			t.Errorf("a secret is shown: %.200s", shown.String()[max(0, i-80):])
		}
	}
}
