package state

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// lockOffset is where in the lock file the process id stands: after the byte
// that is locked, which nobody else can read.
const lockOffset = 1

// tryLock locks f until it is closed, or reports false if another process has
// locked it.
func tryLock(f *os.File) (bool, error) {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// syncDir does nothing: Windows has no such call, and writes a rename through.
func syncDir(string) error { return nil }

// checkPrivate accepts everything: the mode says nothing here, and the folder
// inherits the access rights of the user's profile.
func checkPrivate(string, fs.FileInfo) error { return nil }
