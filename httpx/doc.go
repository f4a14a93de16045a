// Package httpx is the HTTP gateway: it forwards requests for
// SERVICE.PEER.localhost to the web server of that name behind a peer, and says
// in a page what failed when it cannot.
//
// # Ownership
//
// [Server.Serve] owns the connections it accepts and those it dials, and waits
// for both, and for every handler, also of connections that have become
// websockets. It closes the listener it is given. The Dialer and the Routes are
// borrowed.
package httpx
