package leak

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestOpenFileIsReported(t *testing.T) {
	before := descriptors()
	if before == nil {
		t.Skip("this system has no /proc/self/fd")
	}
	file, err := os.Create(t.TempDir() + "/forgotten")
	if err != nil {
		t.Fatal(err)
	}
	err = newDescriptors(before)
	if err == nil || !strings.Contains(err.Error(), "forgotten") {
		t.Errorf("newDescriptors() = %v, want an error that names the open file", err)
	}
	file.Close()
	if err := newDescriptors(before); err != nil {
		t.Errorf("newDescriptors() after closing = %v, want nil", err)
	}
}

func TestRunningGoroutineIsReported(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		<-release
	}()
	if err := leftovers(descriptors()); err == nil || !strings.Contains(err.Error(), "TestRunningGoroutineIsReported") {
		t.Errorf("leftovers() = %v, want an error that names the goroutine", err)
	}
	close(release)
	<-ended
	if err := leftovers(descriptors()); err != nil {
		t.Errorf("leftovers() after its end = %v, want nil", err)
	}
}

func TestSurplus(t *testing.T) {
	for _, test := range []struct{ before, now, want string }{
		{"", "", ""},
		{"a", "a", ""},
		{"a", "a a", "a"},
		{"a b", "a c", ""}, // as many as before: one was replaced by another
		{"a b", "a b c", "c"},
	} {
		got := strings.Join(surplus(strings.Fields(test.before), strings.Fields(test.now)), " ")
		if got != test.want {
			t.Errorf("surplus(%q, %q) = %q, want %q", test.before, test.now, got, test.want)
		}
	}
}
