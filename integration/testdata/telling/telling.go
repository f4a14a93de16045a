// This file is added to the binary when its memory is measured, and never else.
// At SIGUSR1 it says on stderr what the process has allocated since its start:
//
//	memory COUNT OBJECTS BYTES COLLECTIONS
//
// where COUNT counts the signals from 1 on.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func init() { // nothing else in the binary knows of this file
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for n := 1; ; n++ {
			<-asked
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Fprintln(os.Stderr, "memory", n, m.Mallocs, m.TotalAlloc, m.NumGC)
		}
	}()
}
