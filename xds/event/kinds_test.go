package event

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// constants returns the values of this package's constants of a type, in the order of the source.
func constants(t *testing.T, typeName string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for node := range ast.Preorder(file) {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			continue
		}
		if ident, ok := spec.Type.(*ast.Ident); !ok || ident.Name != typeName {
			continue
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is no literal", spec.Names[0])
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	return values
}

func TestKindsAndLevelsAreAllThereAre(t *testing.T) {
	var kinds, levels []string
	for _, k := range Kinds() {
		kinds = append(kinds, string(k))
	}
	for _, l := range Levels() {
		levels = append(levels, string(l))
	}
	if diff := cmp.Diff(constants(t, "Kind"), kinds); diff != "" || len(kinds) == 0 {
		t.Errorf("kinds (-source +listed)\n%s", diff)
	}
	if diff := cmp.Diff(constants(t, "Level"), levels); diff != "" || !slices.Contains(levels, "critical") {
		t.Errorf("levels (-source +listed)\n%s", diff)
	}
}
