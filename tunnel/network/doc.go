// Package network knows the addresses of this host, and notices when they change.
//
// # Ownership
//
// [Watch] owns what it opens and starts, and releases it before it returns. Nothing
// else lasts longer than a call.
package network
