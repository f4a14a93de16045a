package rtsptest

import "os"

// pause does nothing: Windows cannot stop a process, and has no camera for tests.
func pause(*os.Process) (resume func()) { return func() {} }
