package lane

// Extra returns what the windows of all streams are above the initial one.
func (b *Budget) Extra() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.extra
}
