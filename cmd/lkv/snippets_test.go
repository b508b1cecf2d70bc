package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/lkv-io/lkv/build/iso"
	"github.com/lkv-io/lkv/build/provenance"
)

// What people copy from a page: words in code quotes, and blocks of shell.
var (
	inlineCode = regexp.MustCompile("`(lkv [^`]+)`")
	codeBlock  = regexp.MustCompile("(?sm)^```([a-z]*)\n(.*?)^```")
	lkvCommand = regexp.MustCompile(`(?m)(?:^|[;&|(]) *(lkv [^\n;&|)#]*)`)
	flagWord   = regexp.MustCompile(`(?:^|[ +])(--?[a-zA-Z][a-z-]*)`)
)

// linesOf returns the command lines of lkv in a page or, without code quotes, in a shell script.
func linesOf(page string) []string {
	var lines []string
	add := func(code string) {
		for _, m := range lkvCommand.FindAllStringSubmatch(strings.ReplaceAll(code, "\\\n", " "), -1) {
			lines = append(lines, strings.TrimSpace(m[1]))
		}
	}
	if !strings.Contains(page, "`") || strings.HasPrefix(page, "#!") {
		add(page)
		return lines
	}
	for _, block := range shellBlocks(page) {
		add(block)
	}
	for _, m := range inlineCode.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		add(m[1])
	}
	return lines
}

// shellBlocks returns the blocks of shell of a page, and those that don't say what they are.
func shellBlocks(page string) []string {
	var list []string
	for _, m := range codeBlock.FindAllStringSubmatch(page, -1) {
		if m[1] == "sh" || m[1] == "" {
			list = append(list, m[2])
		}
	}
	return list
}

// misused returns what is wrong with a command line of lkv: a command or a flag that does not exist; "" when all does.
func misused(app *cli.App, line string) string {
	list, flags, path := app.Commands, app.Flags, "lkv"
	for _, word := range strings.Fields(line)[1:] {
		i := slices.IndexFunc(list, func(c *cli.Command) bool { return c.Name == word })
		if i < 0 {
			break
		}
		flags, path, list = list[i].Flags, path+" "+word, list[i].Subcommands
	}
	if path == "lkv" {
		return "no command"
	}
	for _, m := range flagWord.FindAllStringSubmatch(line, -1) {
		name := strings.TrimLeft(m[1], "-")
		if name != "help" && !slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }) {
			return path + " has no flag " + m[1]
		}
	}
	return ""
}

// Whatever a page or an example tells people to type is understood.
func TestSnippets(t *testing.T) {
	app := system{Stdout: &bytes.Buffer{}}.app()
	seen := 0
	for _, path := range append(sources(t, ".md"), sources(t, ".sh")...) {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range linesOf(string(page)) {
			seen++
			if bad := misused(app, line); bad != "" {
				t.Errorf("%s: %s: %s", path, line, bad)
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d command lines were found: this test does not see them any more", seen)
	}
}

// The test above finds what it is for.
func TestMisuseIsFound(t *testing.T) {
	app := system{Stdout: &bytes.Buffer{}}.app()
	for page, want := range map[string]string{
		"```sh\nlkv lint --strict && lkv build --lokced # --nothing\n```": "[lkv build has no flag --lokced]",
		"`lkv images prune --older-than 3d` and `lkv boot --locked`":      "[lkv boot has no flag --locked]",
		"`lkv buidl`; `lkv build --image x -f y.hcl`":                     "[no command]",
		"#!/bin/sh\nlkv build ${K:+--sing \"$K\"} || exit # `x`":          "[lkv build has no flag --sing]",
		"lkv stands in a sentence; `mklkv x`":                             "[]",
	} {
		got := []string{}
		for _, line := range linesOf(page) {
			if bad := misused(app, line); bad != "" {
				got = append(got, bad)
			}
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%q: %v, want %s", page, got, want)
		}
	}
}

// The keys that docs/build.md makes with openssl are keys that lkv reads, and that fit one another.
func TestKeysOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/build.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, block := range shellBlocks(string(page)) {
		if !strings.HasPrefix(block, "openssl ") {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", block)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", block, err, out)
		}
	}
	text := map[string][]byte{}
	for _, name := range []string{"db.key", "db.pem", "sign.key", "sign.pub"} {
		if text[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := iso.ReadSigner(text["db.key"], text["db.pem"]); err != nil {
		t.Error(err)
	}
	signer, err := provenance.ParseSigner(text["sign.key"], nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := provenance.ParseVerifier(text["sign.pub"])
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.Detached(page)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provenance.VerifyDetached(page, sig, []provenance.Verifier{public}); err != nil {
		t.Error(err)
	}
}
