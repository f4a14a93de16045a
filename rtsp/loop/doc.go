// Package loop is a camera for demonstrations and tests: a real RTSP server on
// the loopback interface that plays a short clip of H264 and AAC for ever, with
// timestamps that go on across the seam.
//
// The clip is made by clip.sh and is part of the binary, so that the camera
// needs no file, no encoder and no network.
//
// # Ownership
//
// [Camera.Run] owns the listener, every viewer's connection and every goroutine.
package loop

//go:generate ./clip.sh
