// Package proxy is the engine of the gateway and its vocabulary: connections
// with two directions, targets, routes, the listener that tells protocols
// apart, and the splice that joins two connections.
//
// The package knows neither how a peer is reached nor what a connection
// speaks: a [Dialer] reaches the peer, and the packages rtsp and httpx speak.
//
// # Ownership
//
// Who opens a thing closes it, in the same frame. Listeners are opened and
// closed by [Listener.Run]; an accepted connection belongs to the goroutine
// that serves it. Dialers are borrowed.
package proxy
