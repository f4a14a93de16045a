package integration_test

import (
	"go/ast"
	"testing"
)

// goStatements lists the go statements outside of tests, by file and function,
// with who waits for the goroutine. One that a function starts and waits for is
// written with sync.WaitGroup.Go and is not listed.
var goStatements = map[string]string{
	"cmd/peerway/secrets.go interruptible": "nobody, if the process is told to end while a person is asked for a URL",
}

func TestGoStatements(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, decl := range s.file.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				if _, ok := n.(*ast.GoStmt); !ok {
					return true
				}
				key := s.path + " " + declName(decl)
				seen[key] = true
				if goStatements[key] == "" {
					t.Errorf("%s: a go statement in %q that goStatements does not list: who waits for it?", s.line(n), key)
				}
				return true
			})
		}
	}
	for key := range goStatements {
		if !seen[key] {
			t.Errorf("goStatements lists %q, where no go statement is", key)
		}
	}
}

// declName names a declaration: Function, or Type.Method.
func declName(decl ast.Decl) string {
	fn, ok := decl.(*ast.FuncDecl)
	if !ok {
		return "var"
	}
	if fn.Recv == nil {
		return fn.Name.Name
	}
	return receiver(fn) + "." + fn.Name.Name
}

// receiver returns the name of the type that fn is a method of.
func receiver(fn *ast.FuncDecl) string {
	name := "?"
	ast.Inspect(fn.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "?" {
			name = id.Name
		}
		return true
	})
	return name
}
