package lane_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/hashicorp/yamux"

	"peerway/tunnel/lane"
)

const megabyte = 1 << 20

// pour writes n megabytes to w in chunks as a splice does.
func pour(w io.Writer, n int) {
	chunk := make([]byte, 64<<10)
	for range n * megabyte / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// drain reads a megabyte.
func drain(b *testing.B, r io.Reader, buf []byte) {
	for n := 0; n < megabyte; {
		k, err := r.Read(buf[:min(len(buf), megabyte-n)])
		if err != nil {
			b.Fatal(err)
		}
		n += k
	}
}

// One operation is one megabyte.
func BenchmarkOneStream(b *testing.B) {
	b.Run("lane", func(b *testing.B) {
		w := join(b, func(s *lane.Stream) {
			s.Answer(0, "")
			pour(s, 1<<30)
		})
		s, err := w.here.Dial(b.Context(), lane.Header{Service: "bulk"})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		measure(b, s)
	})
	b.Run("yamux", func(b *testing.B) {
		x, y := memPair()
		cfg := yamux.DefaultConfig()
		cfg.EnableKeepAlive, cfg.MaxStreamWindowSize, cfg.LogOutput = false, 4<<20, io.Discard
		client, _ := yamux.Client(x, cfg)
		server, _ := yamux.Server(y, cfg)
		var serving sync.WaitGroup
		defer serving.Wait()
		defer server.Close()
		defer client.Close()
		serving.Go(func() {
			if s, err := server.Accept(); err == nil {
				pour(s, 1<<30)
			}
		})
		s, err := client.Open()
		if err != nil {
			b.Fatal(err)
		}
		measure(b, s)
	})
	b.Run("conn", func(b *testing.B) {
		x, y := memPair()
		var serving sync.WaitGroup
		defer serving.Wait()
		defer x.Reset()
		serving.Go(func() { pour(y, 1<<30) })
		measure(b, x)
	})
}

func measure(b *testing.B, r io.Reader) {
	b.SetBytes(megabyte)
	b.ReportAllocs()
	buf := make([]byte, 64<<10)
	drain(b, r, buf)
	for b.Loop() {
		drain(b, r, buf)
	}
	b.StopTimer()
}

// One operation is one write, which somebody reads at the other end, in turn on
// so many streams.
func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct{ size, streams int }{{1 << 10, 1}, {64 << 10, 1}, {1 << 10, 64}, {64 << 10, 64}} {
		b.Run(fmt.Sprintf("%dKiB/%dstreams", c.size>>10, c.streams), func(b *testing.B) {
			w := join(b, func(s *lane.Stream) {
				s.Answer(0, "")
				buf := make([]byte, 32<<10)
				for {
					if _, err := s.Read(buf); err != nil {
						return
					}
				}
			})
			var streams []*lane.Stream
			for range c.streams {
				s, err := w.here.Dial(b.Context(), lane.Header{Service: "sink"})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				streams = append(streams, s)
			}
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			chunk, i := make([]byte, c.size), 0
			for b.Loop() {
				if _, err := streams[i%len(streams)].Write(chunk); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// One operation is one megabyte of a download on a mixed lane: alone, beside a
// camera that says nothing, and beside one that sends.
func BenchmarkBesideDedicated(b *testing.B) {
	for _, beside := range []string{"nothing", "quiet", "camera"} {
		b.Run(beside, func(b *testing.B) {
			done := make(chan struct{})
			defer close(done)
			w := join(b, func(s *lane.Stream) {
				s.Answer(0, "")
				switch s.Header().Service {
				case "bulk":
					pour(s, 1<<30)
				case "quiet":
					<-done
				case "camera":
					film(s)
				}
			})
			if beside != "nothing" {
				s, err := w.here.Dial(b.Context(), lane.Header{Service: beside, Class: lane.Dedicated})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				var watching sync.WaitGroup
				defer watching.Wait()
				defer s.Reset(1)
				watching.Go(func() { io.Copy(io.Discard, s) })
			}
			s, err := w.here.Dial(b.Context(), lane.Header{Service: "bulk"})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			measure(b, s)
		})
	}
}

// One operation is a stream that is opened, carries a small request and
// response, and ends.
func BenchmarkShortStream(b *testing.B) {
	w := join(b, echo)
	request, response := make([]byte, 200), make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		s, err := w.here.Dial(context.Background(), lane.Header{Service: "web"})
		if err != nil {
			b.Fatal(err)
		}
		s.Write(request)
		s.CloseWrite()
		if _, err := io.ReadFull(s, response); err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, s)
		s.Close()
	}
}

// An idle stream costs little, stacks and a dedicated lane included. Half of
// what both ends and the handler use is what one end does.
func TestIdleMemory(t *testing.T) {
	for _, class := range []lane.Class{lane.Mixed, lane.Dedicated} {
		w := join(t, func(s *lane.Stream) {
			s.Answer(0, "")
			s.Read(make([]byte, 1))
		})
		streams := 1000
		if class == lane.Dedicated {
			streams = 100
		}
		warm := w.dial(t, lane.Mixed)
		if err := warm.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := inUse()
		all := make([]*lane.Stream, streams)
		for i := range all {
			all[i] = w.dial(t, class)
			if err := all[i].Answered(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		each := (inUse() - before) / int64(streams) / 2
		t.Logf("%v: %d idle streams, %d bytes each at either end", class, streams, each)
		if limit := int64(64 << 10); each > limit {
			t.Errorf("%v: an idle stream costs %d bytes, want at most %d", class, each, limit)
		}
		runtime.KeepAlive(all)
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
