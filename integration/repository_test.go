package integration_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "peerway"

// A source is a parsed Go file of the repository.
type source struct {
	path  string // relative to the root, with slashes
	lines int
	file  *ast.File
	set   *token.FileSet
}

// folder returns the folder of the file: the import path below the module.
func (s source) folder() string { return path.Dir(s.path) }

// top returns the first element of the path.
func (s source) top() string {
	top, _, _ := strings.Cut(s.path, "/")
	return top
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// line returns where n begins, as file:line.
func (s source) line(n ast.Node) token.Position {
	at := s.set.Position(n.Pos())
	at.Column = 0
	return at
}

// sources returns every Go file of the repository, whatever system it is for.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := parseOnce()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files found", len(all))
	}
	return all
}

// parseOnce is shared by the tests of the repository, which only read.
var parseOnce = sync.OnceValues(func() ([]source, error) {
	var all []source
	root, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"
			if hidden && name != root {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		s, err := parse(root, name)
		all = append(all, s)
		return err
	})
	return all, err
})

func parse(root, name string) (source, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return source{}, err
	}
	relative, err := filepath.Rel(root, name)
	if err != nil {
		return source{}, err
	}
	set, slashed := token.NewFileSet(), filepath.ToSlash(relative)
	file, err := parser.ParseFile(set, slashed, text, parser.ParseComments|parser.SkipObjectResolution)
	return source{path: slashed, lines: bytes.Count(text, []byte("\n")), file: file, set: set}, err
}
