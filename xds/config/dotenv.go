package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/joho/godotenv"
)

// maxSettings is the largest file of settings that is read, in bytes.
const maxSettings = 1 << 20

// readDotEnv reads the file at path. A file that does not exist is an empty one. The problem never repeats what the
// file holds.
func readDotEnv(path string, readFile func(string) ([]byte, error)) (map[string]entry, *Problem) {
	content, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, &Problem{Name: path, Wrong: "it cannot be read: " + reason(err), Fix: "make it readable, or remove it"}
	case len(content) > maxSettings:
		return nil, &Problem{Name: path, Wrong: fmt.Sprintf("it is larger than %d bytes", maxSettings), Fix: "keep only settings in it"}
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")) // as some editors begin a file
	lines, bad := statements(string(content))
	if bad > 0 {
		return nil, &Problem{Name: fmt.Sprintf("%s:%d", path, bad), Wrong: "this line is not a setting",
			Fix: "write NAME=value, with quotes around a value that has blanks or #"}
	}
	values, err := godotenv.UnmarshalBytes(content)
	if err != nil { // its text repeats the file
		return nil, &Problem{Name: path, Wrong: "it is not a list of NAME=value lines", Fix: "write one setting on each line"}
	}
	entries := make(map[string]entry, len(values))
	for name, value := range values {
		entries[name] = entry{value: value, where: fmt.Sprintf("%s:%d", path, lines[name])}
	}
	return entries, nil
}

// statements returns the line on which each name is set (the last one counts) and the first line that cannot be read,
// 0 if there is none. The parser says no line, so that it is asked statement by statement; a quoted value may take
// several lines.
func statements(content string) (lines map[string]int, bad int) {
	lines = make(map[string]int)
	rest := strings.SplitAfter(strings.ReplaceAll(content, "\r\n", "\n"), "\n")
	for at := 0; at < len(rest); {
		values, taken := statement(rest[at:])
		if taken == 0 {
			return nil, at + 1
		}
		for name := range values {
			if name == "" || strings.ContainsAny(name, " \t") {
				return nil, at + 1
			}
			lines[name] = at + 1
		}
		at += taken
	}
	return lines, 0
}

// statement reads what begins on the first of lines and returns how many lines it takes, 0 if it cannot be read.
func statement(lines []string) (values map[string]string, taken int) {
	text := lines[0]
	values, err := godotenv.Unmarshal(text)
	if err == nil {
		return values, 1
	}
	if !strings.HasPrefix(err.Error(), "unterminated") {
		return nil, 0
	}
	for i := 1; i < len(lines); i++ {
		text += lines[i]
		if !strings.ContainsAny(lines[i], `"'`) {
			continue // cannot be where the quotes end
		}
		if values, err := godotenv.Unmarshal(text); err == nil {
			return values, i + 1
		}
	}
	return nil, 0
}

// reason is what the system says of a failed file, without the path that the message has already.
func reason(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}
