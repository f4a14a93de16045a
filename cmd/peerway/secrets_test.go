package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestArguments reads URLs from where other users do not see them.
func TestArguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cam")
	if err := os.WriteFile(file, []byte("rtsp://joe:secret@h/x \r\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var told []string
	tell := func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	r := reading{stdin: strings.NewReader("http://ann:secret@one\nhttp://two"), tell: tell, ask: tell}
	got, err := r.arguments([]string{"cam=@" + file, "a=@-", "b=@-", "web=http://h:80/@x:y"})
	want := []string{"cam=rtsp://joe:secret@h/x", "a=http://ann:secret@one", "b=http://two", "web=http://h:80/@x:y"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("arguments() = %q, %v, want %q", got, err, want)
	}
	if want := []string{"URL of a:", "URL of b:"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}

	told = nil
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.arguments([]string{"cam=rtsp://joe:secret@h/x", "other=@" + file}); err != nil || len(told) != 2 && runtime.GOOS != "windows" ||
		!strings.Contains(told[0], "the password of cam in the list of processes") || !strings.Contains(told[len(told)-1], "chmod 600 "+file) && runtime.GOOS != "windows" {
		t.Errorf("told %q, %v", told, err)
	}
	long := reading{stdin: strings.NewReader("secret" + strings.Repeat("x", maxURL)), tell: tell, ask: tell}
	for _, wrong := range []struct {
		r   *reading
		arg string
	}{{&r, "cam=@-"}, {&r, "cam=@" + file + "-not"}, {&long, "cam=@-"}} {
		if _, err := wrong.r.arguments([]string{wrong.arg}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", wrong.arg, err)
		}
	}
	if strings.Contains(strings.Join(told, ""), "secret") {
		t.Errorf("a password is in %q", told)
	}
}

func TestHasPassword(t *testing.T) {
	for url, want := range map[string]bool{
		"rtsp://joe:secret@10.0.0.1/x":                             true,
		"rtsp://joe:sec/ret@10.0.0.1/x":                            true,
		"rtsp://joe:sec?ret@10.0.0.1/x":                            true,
		"rtsp://joe:sec#ret@10.0.0.1:554/x":                        true,
		"rtsp://joe:sec%ret@10.0.0.1/x":                            true,
		"rtsp://10.0.0.1/user=admin_password=secret_channel=1.sdp": true,
		"rtsp://10.0.0.1:554/user=admin&password=secret&channel=1": true,
		"rtsp://10.0.0.1/x?user=admin&pwd=secret":                  true,
		"http://10.0.0.1/x?usr=admin&Passwd=secret":                true,
		"http://10.0.0.1/x?pass=secret":                            true,

		"rtsp://10.0.0.1/user=admin&password=&channel=1": false,
		"rtsp://joe@10.0.0.1/x":                          false,
		"http://10.0.0.1:80/@x:y":                        false,
		"http://[fe80::1]/@x":                            false,
		"http://[fe80::1]:80/@x:y":                       false,
		"http://10.0.0.1/?compass=north&bypass=1":        false,
		"http://10.0.0.1/":                               false,
		"@-":                                             false,
	} {
		if got := hasPassword(url); got != want {
			t.Errorf("hasPassword(%s) = %v, want %v", url, got, want)
		}
	}
}
