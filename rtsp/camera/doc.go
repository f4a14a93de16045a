// Package camera is the peer's end of a camera: it joins a stream that comes
// from a gateway to an RTSP server in the local network.
//
// The gateway knows neither the camera's address nor its password. It asks for
// URLs of a made-up host; the package translates each request into one to the
// camera, adds the credentials, answers the camera's challenges, and takes
// every address out of what comes back. Media travels as interleaved frames on
// the same connection, untouched.
//
// # Ownership
//
// A [Camera] is a value that owns nothing. [Camera.Dial] opens a connection,
// which the [Upstream] that it returns owns until Close. [Upstream.Splice]
// borrows the gateway's stream and returns after both of its directions have
// ended and the camera has been told with TEARDOWN.
package camera
