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
	idle    time.Duration // of all cores, so far
}

// newMeter returns nil if the load cannot be measured.
func newMeter() *meter {
	m := &meter{at: time.Now()}
	var ok bool
	if m.busy, m.idle, ok = times(); !ok {
		return nil
	}
	return m
}

// load returns the load since the last call.
func (m *meter) load() load {
	now, late := time.Now(), m.waiting.late()
	took := now.Sub(m.at).Seconds()
	busy, idle, ok := times()
	if !ok || took <= 0 {
		return load{late: late}
	}
	l := load{busy: (busy - m.busy).Seconds() / took, spare: (idle - m.idle).Seconds() / took, late: late}
	m.at, m.busy, m.idle = now, busy, idle
	return l
}

// times returns for how long the process was busy, and the cores idle, so far.
func times() (busy, idle time.Duration, ok bool) {
	const tick = 10 * time.Millisecond // USER_HZ is 100, see proc(5)
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0, 0, false
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line) // cpu user nice system idle iowait …
	if len(fields) < 6 {
		return 0, 0, false
	}
	for _, field := range fields[4:6] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, 0, false
		}
		idle += time.Duration(ticks) * tick
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), idle, true
}
