package integration_test

import (
	"go/ast"
	"testing"
)

func TestExportedNamesHaveComments(t *testing.T) {
	all := sources(t)
	documented := documentedTypes(all)
	for _, s := range all {
		if s.isTest() || s.file.Name.Name == "main" {
			continue
		}
		for _, decl := range s.file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				visible := decl.Name.IsExported() && (decl.Recv == nil || ast.IsExported(receiver(decl)))
				if visible && decl.Doc.Text() == "" {
					t.Errorf("%s: %s has no doc comment", s.line(decl), declName(decl))
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					for _, name := range undocumented(s, decl, spec, documented) {
						t.Errorf("%s: %s has no doc comment", s.line(spec), name)
					}
				}
			}
		}
	}
}

// documentedTypes returns the types that have a comment, as folder.Name.
func documentedTypes(all []source) map[string]bool {
	found := map[string]bool{}
	for _, s := range all {
		for _, decl := range s.file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range group.Specs {
				if typ, ok := spec.(*ast.TypeSpec); ok && (typ.Doc.Text() != "" || group.Doc.Text() != "") {
					found[s.folder()+"."+typ.Name.Name] = true
				}
			}
		}
	}
	return found
}

// undocumented returns the exported names of spec that nothing explains: no
// comment of their own, none on the group, and, for the constants of an
// enumeration, none on its type.
func undocumented(s source, group *ast.GenDecl, spec ast.Spec, documented map[string]bool) []string {
	if group.Doc.Text() != "" {
		return nil
	}
	var names []*ast.Ident
	explained := false
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		names, explained = []*ast.Ident{spec.Name}, spec.Doc.Text() != "" || spec.Comment.Text() != ""
	case *ast.ValueSpec:
		names, explained = spec.Names, spec.Doc.Text() != "" || spec.Comment.Text() != ""
		if typ, ok := spec.Type.(*ast.Ident); ok {
			explained = explained || documented[s.folder()+"."+typ.Name]
		}
	}
	var bare []string
	for _, name := range names {
		if name.IsExported() && !explained {
			bare = append(bare, name.Name)
		}
	}
	return bare
}
