package export

import "golang.org/x/sys/windows"

const (
	errRefused         = windows.WSAECONNREFUSED
	errReset           = windows.WSAECONNRESET
	errHostUnreachable = windows.WSAEHOSTUNREACH
	errNetUnreachable  = windows.WSAENETUNREACH
	errNoFiles         = windows.WSAEMFILE
	errNoFilesHere     = windows.ERROR_TOO_MANY_OPEN_FILES
)
