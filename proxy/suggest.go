package proxy

import (
	"slices"
	"strings"
)

// suggest says which of the names a person probably meant who wrote wrong, or
// which there are. Each is shown with the prefix before it.
func suggest(wrong string, names []string, prefix string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	best, least := "", max(1, len(wrong)/3)+1
	for _, name := range names {
		if d := distance(wrong, name); d < least {
			best, least = name, d
		}
	}
	if best != "" {
		return "did you mean " + prefix + best + "?"
	}
	if len(names) == 0 {
		return "nothing is offered yet: is the other side running, and paired with this one?"
	}
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = prefix + name
	}
	return "there is " + join(shown)
}

// join lists names for a person, the first few of many.
func join(names []string) string {
	const few = 8
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// distance returns how many letters must be inserted, removed, replaced or
// swapped with their neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			change := row[j]
			if a[i] != b[j] {
				change++
			}
			next[j+1] = min(change, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
