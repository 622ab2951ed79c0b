package keywheel_test

import (
	"bytes"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// files returns the repository's files with one of these endings, as paths from its root; all files without any. What
// was built, and what git keeps, is left out.
func files(t *testing.T, endings ...string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path == "build" || slices.Contains([]string{".git", "node_modules", "__pycache__"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if len(endings) == 0 || slices.Contains(endings, filepath.Ext(path)) {
			found = append(found, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("no files %v", endings)
	}
	return found
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestFilesAreShort: a file that does not fit the head is cut in two.
func TestFilesAreShort(t *testing.T) {
	const most = 400
	for _, path := range files(t, ".go") {
		if lines := bytes.Count(read(t, path), []byte("\n")); lines > most {
			t.Errorf("%s has %d lines; at most %d", path, lines, most)
		}
	}
}

// documents are the files whose paths must exist.
var documents = []string{"ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "RATIONALE.md", "CHANGELOG.md"}

var (
	quoted = regexp.MustCompile("`([A-Za-z0-9_.][A-Za-z0-9_./-]*)`")
	linked = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	source = regexp.MustCompile(`\.(go|md|sum|yaml|yml|py|sh)$`)
)

// TestPathsInDocumentsExist looks at each link and at each quoted word that is a path: one that begins with a folder of
// ours, or ends like a source file.
func TestPathsInDocumentsExist(t *testing.T) {
	var folders []string
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != "build" && entry.Name() != ".git" {
			folders = append(folders, entry.Name())
		}
	}
	all := files(t)
	for _, document := range documents {
		content := string(read(t, document))
		for _, match := range linked.FindAllStringSubmatch(content, -1) {
			if !strings.Contains(match[1], ":") && !exists(match[1], all) {
				t.Errorf("%s links to %s, which is not there", document, match[1])
			}
		}
		for _, match := range quoted.FindAllStringSubmatch(content, -1) {
			path := match[1]
			first, _, deep := strings.Cut(path, "/")
			if (deep && slices.Contains(folders, first) || source.MatchString(path)) && !exists(path, all) {
				t.Errorf("%s names %s, which is not there", document, path)
			}
		}
	}
}

// TestLinksOfPagesExist looks at the links of the pages that stand beside what they are about.
func TestLinksOfPagesExist(t *testing.T) {
	for _, page := range files(t, ".md") {
		folder := filepath.Dir(page)
		if folder == "." {
			continue
		}
		for _, match := range linked.FindAllStringSubmatch(string(read(t, page)), -1) {
			if _, err := os.Stat(filepath.Join(folder, match[1])); err != nil && !strings.Contains(match[1], ":") {
				t.Errorf("%s links to %s, which is not there", page, match[1])
			}
		}
	}
}

// exists says whether path is a file, a folder, the name of a file somewhere, or a package with one of its names.
func exists(path string, all []string) bool {
	path = strings.TrimSuffix(path, "/")
	if _, err := os.Stat(path); err == nil {
		return true
	}
	if !strings.Contains(path, "/") {
		return slices.ContainsFunc(all, func(f string) bool { return filepath.Base(f) == path })
	}
	folder, name := filepath.Split(path)
	pkg, _, named := strings.Cut(name, ".")
	_, err := os.Stat(folder + pkg)
	return named && !source.MatchString(name) && err == nil
}

// TestNoPathsOfOneMachine: nothing in the repository depends on where someone had it.
func TestNoPathsOfOneMachine(t *testing.T) {
	homes := regexp.MustCompile(`(^|[\s"'=(:])/(root|work|Users|tmp/kw)/`)
	for _, path := range files(t) {
		if path == "repository_test.go" {
			continue
		}
		content := read(t, path)
		for number, line := range bytes.Split(content, []byte("\n")) {
			if homes.Match(line) {
				t.Errorf("%s:%d: %s", path, number+1, bytes.TrimSpace(line))
			}
		}
	}
}

// figures of the scenario's day: they come about in the end-to-end test, and no code knows them.
var figures = regexp.MustCompile(`\b(1,?234|3,?456|5,?678|7,?890|10,?800|12,?960|14,?400|43,?200|24,?634|10,?234|8,?500)\b`)

// TestNoFigureOfTheDayInCode looks at numbers and texts, not at comments, of everything but tests.
func TestNoFigureOfTheDayInCode(t *testing.T) {
	for _, path := range files(t, ".go") {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "e2e/harness/") {
			continue
		}
		content := read(t, path)
		set := token.NewFileSet()
		file := set.AddFile(path, set.Base(), len(content))
		var s scanner.Scanner
		s.Init(file, content, nil, 0)
		for {
			pos, kind, literal := s.Scan()
			if kind == token.EOF {
				break
			}
			if kind == token.INT || kind == token.STRING {
				if figure := figures.FindString(strings.ReplaceAll(literal, "_", "")); figure != "" {
					t.Errorf("%s: %s", set.Position(pos), figure)
				}
			}
		}
	}
}
