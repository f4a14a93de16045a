package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The files of a state folder.
const (
	identityFile = "identity" // the private key
	peersFile    = "peers"    // who we have paired with
	selfFile     = "self"     // own name and signal server
	servicesFile = "services" // what they exposed last
	serverFile   = "server"   // keys and names of the signal server
	lockFile     = "lock"     // held by the process that uses the folder
	socketFile   = "control.sock"
)

// temporary is in the names of files that are being written.
const temporary = ".tmp-"

// A BusyError says that another process uses the folder.
type BusyError struct {
	Dir string
	PID int // 0 if unknown
}

// Error says who has it and what to do.
func (e *BusyError) Error() string {
	who := "another peerway"
	if e.PID != 0 {
		who += fmt.Sprintf(" (process %d)", e.PID)
	}
	return fmt.Sprintf("%s uses the state folder %s: stop it, or give this one a folder of its own with --state", who, e.Dir)
}

// A Dir is a state folder that this process has locked. Its methods may be
// called from any goroutine, those that save the same file one at a time.
type Dir struct {
	path string
	lock *os.File
}

// Open locks the folder at path for this process, and makes it if need be. It
// is readable by its owner only. A *BusyError says that another process has it.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the state folder: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("open the state folder: %w", err)
	}
	if err := tighten(path); err != nil {
		return nil, fmt.Errorf("open the state folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the state folder: %w", err)
	}
	if err := claim(lock, path); err != nil {
		lock.Close()
		return nil, err
	}
	d := &Dir{path: path, lock: lock}
	d.removeTemporary()
	return d, nil
}

// Close unlocks the folder.
func (d *Dir) Close() error { return d.lock.Close() }

// Path returns the folder, as an absolute path.
func (d *Dir) Path() string { return d.path }

// Socket returns where the process that uses the state folder at path answers
// questions about itself.
func Socket(path string) string { return filepath.Join(path, socketFile) }

// tighten takes the folder away from other users, unless it holds things that
// are not ours: then it is somebody's choice, and each file is private anyway.
func tighten(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isOurs(e.Name()) && !isTemporary(e.Name()) {
			return nil
		}
	}
	return os.Chmod(path, 0o700)
}

func isOurs(name string) bool {
	switch name {
	case identityFile, peersFile, selfFile, servicesFile, serverFile, lockFile, socketFile:
		return true
	}
	return false
}

// isTemporary reports whether name is that of one of our files while it is being
// written.
func isTemporary(name string) bool {
	of, _, ok := strings.Cut(name, temporary)
	return ok && isOurs(of)
}

// claim locks file, which is in the folder at path, and writes this process's
// id into it. The lock ends with the process at the latest.
func claim(file *os.File, path string) error {
	locked, err := tryLock(file)
	if err != nil {
		return fmt.Errorf("lock the state folder %s: %w", path, err)
	}
	if !locked {
		content := make([]byte, 20)
		n, _ := file.ReadAt(content, lockOffset)
		pid, _ := strconv.Atoi(strings.TrimSpace(string(content[:n])))
		return &BusyError{Dir: path, PID: pid}
	}
	if err := file.Truncate(lockOffset); err != nil {
		return fmt.Errorf("lock the state folder %s: %w", path, err)
	}
	_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), lockOffset)
	return err
}

// removeTemporary removes what a process left that died while writing, and
// nothing that is somebody else's.
func (d *Dir) removeTemporary() {
	entries, _ := os.ReadDir(d.path)
	for _, e := range entries {
		if isTemporary(e.Name()) {
			os.Remove(d.file(e.Name()))
		}
	}
}

// write replaces the file name by one with this content, readable by its owner
// only. When it returns, the content is on the disk; if it fails, the old file
// is as it was.
func (d *Dir) write(name string, content []byte) error {
	staged, err := d.stage(name, content)
	if err == nil {
		err = os.Rename(staged, d.file(name))
	}
	if err == nil {
		err = syncDir(d.path)
	}
	if err != nil {
		os.Remove(staged)
		return fmt.Errorf("save %s: %w", name, err)
	}
	return nil
}

// stage writes content to a new file beside the file name. If it fails, there is none.
func (d *Dir) stage(name string, content []byte) (path string, err error) {
	f, err := os.CreateTemp(d.path, name+temporary+"*") // made with 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(content); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

// read returns the content of the file name, or found == false if there is
// none. It refuses a file that other users can read.
func (d *Dir) read(name string) (content []byte, found bool, err error) {
	path := d.file(name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s is not a file: move it away", path)
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, false, err
	}
	content, err = os.ReadFile(path)
	return content, err == nil, err
}

// A CorruptError says that a file is not what we wrote.
type CorruptError struct {
	File   string
	Line   int // from 1
	Reason string
}

// Error names the file and the line, as compilers do.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s:%d: %s (nothing was changed; repair the file, or move it away to start without it)", e.File, e.Line, e.Reason)
}

// records calls record with the words of each line of the file name; empty
// lines and lines that start with # are skipped. It reports whether the file is
// there. The error of record becomes a *CorruptError.
func (d *Dir) records(name string, record func(words []string) error) (found bool, err error) {
	content, found, err := d.read(name)
	if err != nil || !found {
		return false, err
	}
	return true, parse(d.file(name), content, record)
}

// parse is records for the content of the file at path.
func parse(path string, content []byte, record func(words []string) error) error {
	if len(content) > 0 && !bytes.HasSuffix(content, []byte("\n")) {
		return &CorruptError{path, bytes.Count(content, []byte("\n")) + 1, "the file ends in the middle of a line"}
	}
	line := 0
	for text := range bytes.Lines(content) {
		line++
		words := strings.Fields(string(text))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := record(words); err != nil {
			return &CorruptError{path, line, err.Error()}
		}
	}
	return nil
}

// file returns the path of the file name.
func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }
