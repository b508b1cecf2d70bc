package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// prose are words that follow "lkv" in sentences that are about the program, not about one of its commands.
var prose = []string{"below", "does", "formatting", "in", "itself", "knows", "lab authority", "needs", "only", "or", "makes", "puts"}

var (
	afterLKV = regexp.MustCompile(`\blkv ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+)\b)?`)
	quoted   = regexp.MustCompile("`lkv ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+)\\b)?")
)

// commands maps every command of lkv to its subcommands.
func commands() map[string][]string {
	all := map[string][]string{}
	for _, c := range (system{Stdout: &bytes.Buffer{}}).app().Commands {
		all[c.Name] = []string{}
		for _, sub := range c.Subcommands {
			all[c.Name] = append(all[c.Name], sub.Name)
		}
	}
	return all
}

// unknown returns the commands in a text that do not exist. A group of commands must be followed by one of them.
func unknown(text string, known map[string][]string, find *regexp.Regexp, besides []string) []string {
	var bad []string
	for _, m := range find.FindAllStringSubmatch(text, -1) {
		subs, ok := known[m[1]]
		switch {
		case !ok && !slices.Contains(besides, m[1]):
			bad = append(bad, "lkv "+m[1])
		case len(subs) > 0 && m[2] != "" && !slices.Contains(subs, m[2]) && !slices.Contains(besides, m[1]+" "+m[2]):
			bad = append(bad, "lkv "+m[1]+" "+m[2])
		}
	}
	return bad
}

// What clears a refusal must be something that people can do with this lkv, and so must every other message and page.
func TestOnlyCommandsThatExistAreNamed(t *testing.T) {
	known := commands()
	clears := 0
	for _, path := range sources(t, ".go") {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		note := func(n ast.Node, what string, bad []string) {
			if len(bad) > 0 {
				t.Errorf("%s: %s names %s, which is no command of lkv", fset.Position(n.Pos()), what, strings.Join(bad, ", "))
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Clear" {
					clears++
					note(n, "what clears a refusal", unknown(texter(n.Value), known, afterLKV, nil))
				}
			case *ast.BasicLit:
				note(n, "a message", unknown(texter(n), known, afterLKV, prose))
			}
			return true
		})
	}
	if clears < 30 {
		t.Errorf("only %d sentences that clear refusals were found: this test does not see them any more", clears)
	}
	for _, path := range sources(t, ".md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range unknown(string(text), known, quoted, nil) {
			t.Errorf("%s names %s, which is no command of lkv", path, bad)
		}
	}
}

// The test above finds what it is for.
func TestUnknownCommandsAreFound(t *testing.T) {
	known := commands()
	for text, want := range map[string]string{
		"lkv push --image x, then: lkv resume --fleet y": "[]",
		"lkv dentist": "[lkv dentist]",
		"rename it, or take it over: lkv foster --vm x (lkv tapes list)": "[lkv foster lkv tapes]",
		"lkv images build x":    "[]",
		"lkv images destroy":    "[lkv images destroy]",
		"lkv itself, not lkv x": "[lkv x]",
	} {
		if got := fmt.Sprint(unknown(text, known, afterLKV, prose)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// texter returns the literal text inside an expression.
func texter(n ast.Node) string {
	var b strings.Builder
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				b.WriteString(s + " ")
			}
		}
		return true
	})
	return b.String()
}

// sources returns the files of the module with an ending, without tests and what tests read.
func sources(t *testing.T, ending string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != "../.." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "dist" || e.Name() == "conformance"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ending) && !strings.HasSuffix(path, "_test.go"):
			list = append(list, path)
		}
		return nil
	})
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s files: %v", ending, err)
	}
	return list
}
