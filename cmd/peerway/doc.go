// Peerway makes HTTP and RTSP servers behind other people's NATs reachable at
// localhost.
//
// This package is the binary: one file per command, and what they share. It is
// the only reader of flags, files and environment, and the only place that joins
// the packages: proxy does not know tunnel, and neither knows who is allowed.
//
// What programs may rely on goes to standard output, one line each; everything
// for people goes to standard error.
//
// # Ownership
//
// [main] owns the context of the process: a signal ends it. Each command owns
// what it opens and returns after all of it is closed. A [node] owns the
// connection to the signal server, the tunnels and the listeners.
package main
