// Package rtsp is the RTSP gateway: players connect to it as to a camera, and it
// pulls the camera's stream once from the peer, however many players watch.
//
// A player names a camera by /PEER/SERVICE, with more path and a query if it
// likes. The first DESCRIBE opens a pull through the tunnel; others join it; 30 s
// after the last player has left it ends. What cannot be opened is answered
// with 404 and a reason, because players do strange things on other codes.
//
// All use of gortsplib is below this folder. Version 4.16.2 has known faults; where
// they are neutralised, a comment says so.
//
// # Ownership
//
// [Server.Serve] owns everything: it takes ownership of the listener, and its
// frame opens the UDP ports and the server and waits for all pulls. A pull is
// opened by its source's goroutine, which sends TEARDOWN and closes it. Players
// borrow.
package rtsp
