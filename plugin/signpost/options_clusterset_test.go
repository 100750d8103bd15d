package signpost

var clustersetOptionTests = []optionTest{
	{"multicluster", "multicluster cluster.local", func(s *stanza) {
		s.clusterset, s.feed.imports = []string{"cluster.local."}, true
	}, ""},
	{"multicluster none", "multicluster", nil, "option multicluster: want ZONES..."},
	{"multicluster of another zone", "multicluster clusterset.local", nil,
		"option multicluster clusterset.local: want zones of this stanza that are no reverse zones, of cluster.local.; not clusterset.local."},
}
