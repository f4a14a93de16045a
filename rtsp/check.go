package rtsp

import (
	"context"
	"errors"
	"log/slog"

	"peerway/proxy"
	"peerway/rtsp/camera"
)

// errNoTracks marks a camera that shows nothing.
var errNoTracks = errors.New("the camera describes a stream without tracks")

// Check asks the camera target, which d reaches, for its description, as the first player
// would, and hangs up. It returns nil, the cause of ctx, or a [*proxy.Error].
func Check(ctx context.Context, d proxy.Dialer, target proxy.Target) error {
	at, u := place{target: target}, camera.URL("", "")
	o := opener{dialer: d, log: slog.New(slog.DiscardHandler)}
	f := newFeed(at, o.log)
	f.client = o.client(u, f, func() {})
	if err := f.client.Start2(); err != nil {
		return failure(at, "", err)
	}
	defer f.client.Close()
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { f.client.Close(); close(done) })
	desc, _, err := f.client.Describe(u)
	if !stop() {
		<-done
		return context.Cause(ctx)
	}
	if err == nil && len(desc.Medias) == 0 {
		err = errNoTracks
	}
	if err != nil {
		return failure(at, f.reason, err)
	}
	return nil
}
