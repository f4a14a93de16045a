// Package export is the side of the peer: it takes streams that gateways have
// opened, checks that they may have what they ask for, dials the real server
// and joins the two.
//
// Nothing but the exposed services is ever dialed, whatever a gateway asks for.
//
// # Ownership
//
// [Exporter.Serve] owns the stream it is given and the connection it dials,
// and closes them in that frame: the real one first, then the stream. Backends
// are borrowed; they hold no connection between two streams.
package export
