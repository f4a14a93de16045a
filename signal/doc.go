// Package signal is the vocabulary that peers and the signal server share: who
// a peer is, what it offers, and the messages that introduce one peer to
// another.
//
// The server introduces; it is not trusted. It can refuse or delay, but what
// peers say to each other is sealed ([Identity.Seal]), so it can neither read
// nor forge it.
//
// # Ownership
//
// The package does no I/O and starts nothing. Its values are plain data.
package signal
