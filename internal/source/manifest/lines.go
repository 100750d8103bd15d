package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// place formats a line of a file for operators and editors.
func place(name string, line int) string { return fmt.Sprintf("%s:%d", name, line) }

// lineAt returns the line of a byte, from 1.
func lineAt(content []byte, offset int64) int {
	return 1 + bytes.Count(content[:min(offset, int64(len(content)))], []byte("\n"))
}

// document is one document of a file.
type document struct {
	text  []byte
	line  int // first line of text, from 1
	first int // first line with content
	root  *yamlv3.Node
}

// splitYAML splits a file at its document markers, which only occur at the start of a line
// (YAML 1.2 §9.1.2), and drops documents without content. Each document keeps its marker,
// because content may follow on the same line.
func splitYAML(content []byte) []*document {
	var out []*document
	d := &document{line: 1}
	end := func() {
		if d.first > 0 {
			out = append(out, d)
		}
	}
	line := 0
	for text := range bytes.Lines(content) {
		line++
		if isMarker(text, "...") {
			end()
			d = &document{line: line + 1}
			continue
		}
		if isMarker(text, "---") {
			end()
			d = &document{line: line}
		}
		d.text = append(d.text, text...)
		if d.first == 0 && hasContent(text) {
			d.first = line
		}
	}
	end()
	return out
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// hasContent reports whether a line is more than a marker, a comment or a directive.
func hasContent(line []byte) bool {
	if isMarker(line, "---") {
		line = line[3:]
	}
	line = bytes.TrimSpace(line)
	return len(line) > 0 && line[0] != '#' && line[0] != '%'
}

// saidLine finds the line in a message of the YAML parser, relative to its document.
var saidLine = regexp.MustCompile(`line (\d+): (.*)`)

// syntaxError replaces the line in an error of the YAML parser with the line of the file.
func (d *document) syntaxError(err error) error {
	line, message := d.line, err.Error()
	if m := saidLine.FindStringSubmatch(message); m != nil {
		n, _ := strconv.Atoi(m[1])
		line, message = d.line+n-1, m[2]
		if strings.HasPrefix(message, "did not find expected") {
			line++ // the parser counts from 0, the scanner from 1 (go.yaml.in/yaml/v2, parser.fail)
		}
	}
	last := d.line + bytes.Count(bytes.TrimRight(d.text, "\n"), []byte("\n"))
	return &broken{min(line, last), strings.TrimPrefix(message, "yaml: "), "YAML"}
}

// lineOf returns the line of the field at path, or of its nearest existing parent. It parses
// the document a second time.
func (d *document) lineOf(path string) int {
	if path == "" {
		return d.first
	}
	if d.root == nil {
		d.root = new(yamlv3.Node)
		if err := yamlv3.Unmarshal(d.text, d.root); err != nil {
			d.root = &yamlv3.Node{} // YAML 1.1 only; rare
		}
	}
	if len(d.root.Content) == 0 {
		return d.first
	}
	return d.line + find(d.root.Content[0], splitPath(path)).Line - 1
}

// find follows a path: names of fields, and indexes of lists. The path of a
// source.TypeError has no indexes, so it ends at the list.
func find(n *yamlv3.Node, path []string) *yamlv3.Node {
	last := n
	for _, step := range path {
		if n.Kind == yamlv3.AliasNode {
			n = n.Alias
		}
		next := n
		switch n.Kind {
		case yamlv3.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					last, next = n.Content[i], n.Content[i+1]
				}
			}
		case yamlv3.SequenceNode:
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
				last, next = n.Content[i], n.Content[i]
			}
		}
		if next == n {
			return last
		}
		n = next
	}
	return last
}

// splitPath splits a path in the form of source.Problem: a.b[1].c and a[k.l/m].
func splitPath(path string) []string {
	var out []string
	for path != "" {
		end := strings.IndexAny(path, ".[")
		switch {
		case end < 0:
			return append(out, path)
		case path[0] == '[':
			inner, rest, _ := strings.Cut(path[1:], "]")
			out, path = append(out, inner), strings.TrimPrefix(rest, ".")
		default:
			out = append(out, path[:end])
			path = strings.TrimPrefix(path[end:], ".")
		}
	}
	return out
}

// dotted returns a path to which a field can be appended.
func dotted(path string) string {
	if path == "" {
		return ""
	}
	return path + "."
}
