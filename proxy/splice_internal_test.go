package proxy

import "testing"

func TestNextSize(t *testing.T) {
	tests := []struct{ size, n, want int }{
		{smallBuffer, 1, smallBuffer},
		{smallBuffer, smallBuffer - 1, smallBuffer},
		{smallBuffer, smallBuffer, largeBuffer},
		{largeBuffer, largeBuffer, largeBuffer},
		{largeBuffer, largeBuffer / 2, largeBuffer},
		{largeBuffer, largeBuffer / 8, smallBuffer},
		{largeBuffer, 0, smallBuffer},
	}
	for _, tt := range tests {
		if got := nextSize(tt.size, tt.n); got != tt.want {
			t.Errorf("nextSize(%d, %d) = %d, want %d", tt.size, tt.n, got, tt.want)
		}
	}
}
