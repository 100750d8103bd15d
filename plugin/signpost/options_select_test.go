package signpost

import "strings"

var selectOptionTests = []optionTest{
	{"namespaces", "namespaces default", func(s *stanza) { s.feed.namespaces = "default" }, ""},
	{"namespaces several", "namespaces b a 0-9", func(s *stanza) { s.feed.namespaces = "0-9 a b" }, ""},
	{"namespaces add up", "namespaces b a\nnamespaces c b", func(s *stanza) { s.feed.namespaces = "a b c" }, ""},
	{"namespaces none", "namespaces", nil, "option namespaces: want NAMESPACE..."},
	{"namespaces comma", "namespaces a,b", nil, `option namespaces a,b: want names of namespaces (lower-case letters, digits and inner dashes, at most 63); not "a,b"`},
	{"namespaces upper case", "namespaces Default", nil, `not "Default"`},
	{"namespaces dash", "namespaces -a", nil, `not "-a"`},
	{"namespaces end in a dash", "namespaces a-", nil, `not "a-"`},
	{"namespaces dot", "namespaces a.b", nil, `not "a.b"`},
	{"namespaces empty", `namespaces ""`, nil, `not ""`},
	{"namespaces too long", "namespaces " + strings.Repeat("a", 64), nil, "at most 63"},
	{"namespaces longest", "namespaces " + strings.Repeat("a", 63), func(s *stanza) { s.feed.namespaces = strings.Repeat("a", 63) }, ""},

	{"namespace_labels", "namespace_labels team in (b,a),stage", func(s *stanza) { s.feed.namespaceLabels = "stage,team in (a,b)" }, ""},
	{"namespace_labels none", "namespace_labels", nil, "option namespace_labels: want a selector such as"},
	{"namespace_labels broken", "namespace_labels team=a=b", nil, "option namespace_labels team=a=b: "},
	{"both", "namespace_labels team=a\nnamespaces x", nil, "option namespace_labels team=a: want it or namespaces, not both"},

	{"labels", "labels app=web", func(s *stanza) { s.feed.labels = "app=web" }, ""},
	{"labels with spaces", "labels environment in (staging, qa),application=nginx", func(s *stanza) {
		s.feed.labels = "application=nginx,environment in (qa,staging)"
	}, ""},
	{"labels twice", "labels app=web\nlabels app=db", func(s *stanza) { s.feed.labels = "app=db" }, ""},
	{"labels none", "labels", nil, "option labels: want a selector such as"},
	{"labels empty", `labels ""`, nil, "option labels : it has no requirement: want a selector like"},
	{"labels broken", "labels app=web=db", nil, "option labels app=web=db: "},
	{"labels no operator", "labels app in", nil, "want a selector like app=web"},
}
