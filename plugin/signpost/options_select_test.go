package signpost

var selectOptionTests = []optionTest{
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
