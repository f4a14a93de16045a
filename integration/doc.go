// Package integration tests the whole: the real binary between real programs,
// behind real address translators, and the rules of the repository itself. It
// has no code of its own; only test files import what is below it.
//
//   - natlab builds a small internet of network namespaces;
//   - leak fails a package's tests when they leave something behind.
//
// # Ownership
//
// Each scene owns the processes, folders and namespaces that it makes. All of
// them are gone when its test ends, however it ends.
package integration
