// Package client keeps a peer connected to its signal server: it logs in, says
// what the peer exposes and to whom, hears of other peers, exchanges sealed
// messages and relay packets with them, and pairs with new ones.
//
// # Ownership
//
// [Client.Run] owns the connection, one at a time, and its frame waits for every
// goroutine. The other methods start nothing; they queue, or wait for an answer
// until their context is done. [Pair] owns one short connection of its own.
package client
