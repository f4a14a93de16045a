package integration_test

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	maxFileLines     = 500
	maxFunctionLines = 60
)

// packageVariables lists the package-level variables that are neither errors
// nor embedded files, with the reason why they must be.
var packageVariables = map[string]string{
	"signal/identity.go idEncoding": "an alphabet, never written to",
}

func TestPackageComments(t *testing.T) {
	comments, begin := map[string]string{}, map[string]string{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		comments[s.folder()] += s.file.Doc.Text()
		begin[s.folder()] = "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			name := path.Base(s.folder()) // of the program
			begin[s.folder()] = strings.ToUpper(name[:1]) + name[1:] + " "
		}
	}
	for folder, text := range comments {
		want := begin[folder]
		if !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment does not begin with %q", folder, want)
		}
		if !strings.Contains(text, "\n# Ownership\n") {
			t.Errorf("%s: the package comment has no section # Ownership", folder)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, the limit is %d", s.path, s.lines, maxFileLines)
		}
		for _, decl := range s.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || s.isTest() {
				continue
			}
			lines := s.set.Position(fn.End()).Line - s.set.Position(fn.Pos()).Line + 1
			if lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, the limit is %d", s.line(fn), declName(fn), lines, maxFunctionLines)
			}
		}
	}
}

func TestNoInitFunctions(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: an init function", s.line(fn))
			}
		}
	}
}

func TestNoPackageVariables(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, decl := range s.file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				names, fine := variables(group, spec.(*ast.ValueSpec))
				for _, name := range names {
					key := s.path + " " + name
					seen[key] = true
					if !fine && packageVariables[key] == "" {
						t.Errorf("%s: the package variable %q is neither an error nor listed in packageVariables", s.line(spec), key)
					}
				}
			}
		}
	}
	for key := range packageVariables {
		if !seen[key] {
			t.Errorf("packageVariables lists %q, which is not there", key)
		}
	}
}

// variables returns the names that spec declares, and whether all of them may
// be package-level: errors, embedded files, and assertions that a type
// implements an interface.
func variables(group *ast.GenDecl, spec *ast.ValueSpec) (names []string, fine bool) {
	for _, name := range spec.Names {
		if name.Name != "_" {
			names = append(names, name.Name)
		}
	}
	embedded := hasDirective(group.Doc, "//go:embed ") || hasDirective(spec.Doc, "//go:embed ")
	typ, _ := spec.Type.(*ast.Ident)
	isError := typ != nil && typ.Name == "error" || len(spec.Values) > 0
	for _, value := range spec.Values {
		isError = isError && makesError(value)
	}
	return names, embedded || isError
}

func hasDirective(doc *ast.CommentGroup, directive string) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, directive)
	})
}

// makesError reports whether value is errors.New(…), fmt.Errorf(…), or an error
// type of ours written out.
func makesError(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.CallExpr:
		f, ok := v.Fun.(*ast.SelectorExpr)
		return ok && (f.Sel.Name == "New" && isName(f.X, "errors") || f.Sel.Name == "Errorf" && isName(f.X, "fmt"))
	case *ast.UnaryExpr:
		return makesError(v.X)
	case *ast.CompositeLit:
		typ, ok := v.Type.(*ast.Ident)
		return ok && strings.HasSuffix(typ.Name, "Error")
	}
	return false
}

func isName(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}
