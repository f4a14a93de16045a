package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// maxURL bounds a URL that is read from a file, in bytes.
const maxURL = 4096

// A reading is how the URLs of services are read that are not on the command line, where
// other users of the machine can see them.
type reading struct {
	stdin io.Reader
	tell  func(format string, args ...any)
	ask   func(format string, args ...any) // as tell, for who types
	lines *bufio.Reader                    // of stdin; nil before the first
}

// arguments returns args with each SERVICE=@FILE replaced by SERVICE=URL, the URL being the
// first line of the file, or the next one of standard input if FILE is -. It warns of
// passwords that others can see. Errors repeat no content.
func (r *reading) arguments(args []string) ([]string, error) {
	all := make([]string, len(args))
	for i, arg := range args {
		all[i] = arg
		name, value, _ := strings.Cut(arg, "=")
		file, isFile := strings.CutPrefix(value, "@")
		switch {
		case !isFile && hasPassword(value):
			r.tell("Warning: other users of this machine can see the password of %s in the list of processes. With %s=@FILE it is in a file, with %s=@- typed.",
				name, name, name)
		case isFile && file == "-":
			url, err := r.line(name)
			if err != nil {
				return nil, fmt.Errorf("service %s: read its URL from standard input: %w", name, err)
			}
			all[i] = name + "=" + url
		case isFile:
			url, err := r.file(file)
			if err != nil {
				return nil, fmt.Errorf("service %s: %w", name, err)
			}
			all[i] = name + "=" + url
		}
	}
	return all, nil
}

// interruptible returns what f returns, or the cause of ctx when that is done. Then f goes on:
// nothing can end a read of a terminal, or the wait for who writes to a named pipe, but the
// end of the process.
func interruptible(ctx context.Context, f func() ([]string, error)) ([]string, error) {
	done := make(chan struct{})
	var got []string
	var failed error
	go func() {
		defer close(done)
		got, failed = f()
	}()
	select {
	case <-done:
		return got, failed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// line returns the next line of standard input.
func (r *reading) line(service string) (string, error) {
	r.ask("URL of %s:", service)
	if r.lines == nil {
		r.lines = bufio.NewReader(r.stdin)
	}
	return firstLine(r.lines)
}

func (r *reading) file(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if readableByOthers(path) {
		r.tell("Warning: other users can read %s, and with it a password: run chmod 600 %s", path, path)
	}
	url, err := firstLine(bufio.NewReader(f))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return url, nil
}

// firstLine returns the next line of in, without spaces around it.
func firstLine(in *bufio.Reader) (string, error) {
	var line strings.Builder
	for line.Len() < maxURL {
		b, err := in.ReadByte()
		if err == io.EOF && line.Len() == 0 {
			return "", io.ErrUnexpectedEOF
		}
		if b == '\n' || err == io.EOF {
			return strings.TrimSpace(line.String()), nil
		}
		if err != nil {
			return "", err
		}
		line.WriteByte(b)
	}
	return "", fmt.Errorf("the line is longer than %d bytes", maxURL)
}

// hasPassword reports whether there is a password in what may be a URL: before the host, or, as
// many cameras want it, as a parameter of the path or query. When in doubt there is: people
// paste passwords as they are, and a slash in one makes it end the host.
func hasPassword(raw string) bool {
	_, rest, _ := strings.Cut(raw, "://")
	if u, err := url.Parse(raw); err != nil {
		user, _, found := strings.Cut(rest, "@")
		if found && strings.Contains(user, ":") {
			return true
		}
	} else if _, ok := u.User.Password(); ok {
		return true
	}
	return regexp.MustCompile(`(?i)[^a-z](pass|passwd|password|psw|pwd)=[^&]`).MatchString(rest)
}
