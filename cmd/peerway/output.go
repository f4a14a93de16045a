package main

import (
	"io"
	"strings"
	"sync"
)

// lines writes what programs may rely on: one line each, whole, at once. It is
// safe for concurrent use.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

// print writes the words as one line.
func (l *lines) print(words ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.w, strings.Join(words, " ")+"\n") // nobody can be told of a failure
}
