package test

import (
	"fmt"
	"strings"
	"testing"
)

// A sample is a small Go file that breaks one rule, or just does not.
type sample struct {
	rule, name, path, text string
	want                   string // part of the only finding; "" if there must be none
}

func samples() []sample {
	repeat := func(n int, line string) string { return strings.Repeat(line+"\n", n) }
	function := func(lines int) string { return "func f() {\n" + repeat(lines-2, "\t_ = 0") + "}\n" }
	return []sample{
		{"file length", "901 lines", "a.go", "package a\n" + repeat(900, "//"), "901 lines"},
		{"file length", "900 lines", "a.go", "package a\n" + repeat(899, "//"), ""},
		{"file length", "tests too", "a_test.go", "package a\n" + repeat(900, "//"), "901 lines"},

		{"function length", "61 lines", "a.go", "package a\n\n" + function(61), "f has 61 lines"},
		{"function length", "60 lines", "a.go", "package a\n\n" + function(60), ""},
		{"function length", "a test", "a_test.go", "package a\n\n" + function(61), ""},
		{"function length", "a literal", "a.go", "package a\n\nvar g = " + strings.Replace(function(61), " f", "", 1), "literal has 61 lines"},
		{"function length", "a table", "a.go", "package a\n\nfunc f() {\n\t_ = []int{\n" + repeat(100, "\t\t0,") + "\t}\n}\n", ""},
		{"function length", "a function in a table", "a.go", "package a\n\nvar g = []func(){func() {\n" + repeat(59, "\t_ = 0") + "}}\n", "literal has 61 lines"},
		{"function length", "a struct is no table", "a.go", "package a\n\nfunc f() {\n\t_ = struct{ a int }{\n" + repeat(60, "") + "\t}\n}\n", "f has 64 lines"},

		{"interface size", "five", "a.go", "package a\n\ntype i interface {\n" + methods(5) + "}\n", "5 methods"},
		{"interface size", "four", "a.go", "package a\n\ntype i interface {\n" + methods(4) + "}\n", ""},
		{"interface size", "four and another interface", "a.go", "package a\n\ntype i interface {\n\terror\n" + methods(4) + "}\n", "5 methods"},
		{"interface size", "a constraint", "a.go", "package a\n\ntype i interface {\n\t~int | ~int8 | ~int16 | ~int32 | ~int64\n}\n", ""},
		{"interface size", "a parameter", "a.go", "package a\n\nfunc f(interface {\n" + methods(5) + "}) {}\n", "5 methods"},

		{"package name", "util", "internal/util/a.go", "package util\n", "named after nothing"},
		{"package name", "the folder counts", "internal/common/a.go", "package shared\n", "named after nothing"},
		{"package name", "its test", "internal/a/a_test.go", "package helpers_test\n", "named after nothing"},
		{"package name", "a subject", "internal/utility/a.go", "package utility\n", ""},

		{"panic", "anywhere", "a.go", "package a\n\nfunc f() { panic(0) }\n", "panic outside"},
		{"panic", "in a variable", "a.go", "package a\n\nvar f = func() { panic(0) }\n", "panic outside"},
		{"panic", "in a test", "a_test.go", "package a\n\nfunc f() { panic(0) }\n", ""},
		{"panic", "Must", "a.go", "package a\n\nfunc MustParse() { panic(0) }\n", ""},
		{"panic", "main", "cmd/a/main.go", "package main\n\nfunc main() { panic(0) }\n", ""},
		{"panic", "beside main", "cmd/a/main.go", "package main\n\nfunc run() { panic(0) }\n", "panic outside"},
		{"panic", "a method called panic", "a.go", "package a\n\nfunc f(x interface{ panic() }) { x.panic() }\n", ""},

		{"init", "anywhere", "internal/a/a.go", "package a\n\nfunc init() { work() }\n", "more than to register"},
		{"init", "registration", "plugin/a/setup.go", "package a\n\nfunc init() { plugin.Register(\"a\", setup) }\n", ""},
		{"init", "registration of metrics", "plugin/a/setup.go", "package a\n\nfunc init() {\n\tplugin.Register(\"a\", setup)\n\tprometheus.MustRegister(m)\n}\n", ""},
		{"init", "a registration that is none", "plugin/a/setup.go", "package a\n\nfunc init() { Register() }\n", "more than to register"},
		{"init", "more than registration", "plugin/a/setup.go", "package a\n\nfunc init() { plugin.Register(\"a\", setup); go work() }\n", "more than to register"},
		{"init", "a command", "cmd/a/main.go", "package main\n\nfunc init() { directives() }\n", ""},
		{"init", "a method", "internal/a/a.go", "package a\n\nfunc (t T) init() {}\n", ""},

		{"clock", "now", "internal/cluster/a.go", "package cluster\n\nvar t = time.Now()\n", "time.Now in a pure package"},
		{"clock", "a duration", "internal/cluster/a.go", "package cluster\n\nvar t = time.Second\n", ""},
		{"clock", "where it is allowed", "internal/source/kube/a.go", "package kube\n\nvar t = time.Now()\n", ""},

		{"generate", "a leftover", "a.go", "package a\n\n//go:generate stringer\n", "a go:generate line"},
		{"generate", "a comment about it", "a.go", "package a\n\n// no go:generate here\n", ""},

		{"gofmt", "spaces", "a.go", "package a\n\nvar  x = 0\n", "gofmt"},
		{"gofmt", "clean", "a.go", "package a\n\nvar x = 0\n", ""},
	}
}

func methods(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "\tm%d()\n", i)
	}
	return b.String()
}

func TestSourceRulesCanFail(t *testing.T) {
	failed := map[string]bool{}
	for _, c := range append(samples(), shapeSamples()...) {
		failed[c.rule] = failed[c.rule] || c.want != ""
		t.Run(c.rule+"/"+c.name, func(t *testing.T) {
			s, err := parseSource(c.path, []byte(c.text))
			if err != nil {
				t.Fatalf("%v\n%s", err, c.text)
			}
			var found []string
			for _, f := range ruleNamed(t, c.rule).check(s) {
				found = append(found, f.what)
			}
			expect(t, found, c.want)
		})
	}
	for _, r := range sourceRules {
		if !failed[r.name] {
			t.Errorf("rule %q has no sample that breaks it", r.name)
		}
	}
}

func ruleNamed(t *testing.T, name string) sourceRule {
	t.Helper()
	for _, r := range sourceRules {
		if r.name == name {
			return r
		}
	}
	t.Fatalf("no rule is called %q", name)
	return sourceRule{}
}

func TestPackageDocRuleCanFail(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", map[string]string{"a/a.go": "package a\n"}, "no package comment"},
		{"short", map[string]string{"a/a.go": "// Package a does things.\npackage a\n"}, "has 4 words"},
		{"detached", map[string]string{"a/a.go": "// Package a says what it is for, and what it must not do.\n\npackage a\n"}, "no package comment"},
		{"in the external test", map[string]string{"a/a.go": "package a\n", "a/a_test.go": "// Package a says what it is for, and what it must not do.\npackage a_test\n"}, "no package comment"},
		{"in any file", map[string]string{"a/a.go": "package a\n", "a/doc.go": "// Package a says what it is for, and what it must not do.\npackage a\n"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []source
			for path, text := range c.files {
				s, err := parseSource(path, []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, s)
			}
			expect(t, checkPackageDocs(all), c.want)
		})
	}
}
