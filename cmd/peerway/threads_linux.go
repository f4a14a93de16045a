package main

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// A meter measures the load.
type meter struct {
	waiting waiting
	at      time.Time
	busy    time.Duration // of the process, so far
	idle    time.Duration // of all cores, so far; 0: not measured at that time
}

// newMeter returns nil if the load cannot be measured.
func newMeter() *meter {
	m := &meter{at: time.Now()}
	var ok bool
	if m.busy, ok = processTime(); !ok {
		return nil
	}
	if _, err := idleTime(); err != nil {
		return nil
	}
	return m
}

// load returns the load since the last call; false if it could not be measured. What
// other processes do is dear to ask for on a large machine: it is measured only in
// intervals after one of which full has said that it matters.
func (m *meter) load(full func(busy float64) bool) (load, bool) {
	now := time.Now()
	busy, ok := processTime()
	took := now.Sub(m.at).Seconds()
	if !ok || took <= 0 {
		return load{}, false
	}
	l := load{busy: (busy - m.busy).Seconds() / took, late: m.waiting.late()}
	var idle time.Duration
	if full(l.busy) {
		var err error
		if idle, err = idleTime(); err != nil {
			return load{}, false
		}
		if m.idle != 0 {
			l.spare = max(0, (idle-m.idle).Seconds()/took) // iowait may go back, proc(5)
		}
	}
	m.at, m.busy, m.idle = now, busy, idle
	return l, true
}

// processTime returns for how long the process was busy so far.
func processTime() (time.Duration, bool) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err == nil
}

// idleTime returns for how long the cores of the machine were idle so far.
func idleTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseIdle(text)
}

// parseIdle reads the first line of /proc/stat, see proc(5).
func parseIdle(text []byte) (idle time.Duration, err error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line) // cpu user nice system idle iowait …
	if len(fields) < 6 || string(fields[0]) != "cpu" {
		return 0, strconv.ErrSyntax
	}
	for _, field := range fields[4:6] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, err
		}
		idle += time.Duration(ticks) * tick
	}
	return idle, nil
}
