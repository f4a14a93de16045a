package wire

import "time"

// limitRetry does nothing: there is no such option here.
func limitRetry(int, time.Duration) {}
