// Package state is what a Peerway process remembers between its lives: its
// private key, the peers it has paired with and what they exposed last, its name and
// signal server, and, for the signal server, the server's keys and the names it has given
// away.
//
// Each file is text, a record per line, so that a person can read it and an
// error can name the line. A file is replaced as a whole and atomically: after a
// crash it is the old one or the new one. A file that does not parse is an error
// and is left as it is.
//
// # Ownership
//
// [Open] locks the folder for this process; [Dir.Close] unlocks it. Nothing else
// is kept open between calls.
package state
