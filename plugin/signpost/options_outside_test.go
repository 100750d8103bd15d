package signpost

func outsideOf(change func(*outsideSettings), zones ...string) func(*stanza) {
	return func(s *stanza) {
		s.outside.zones = zones
		if change != nil {
			change(&s.outside)
		}
	}
}

var outsideOptionTests = []optionTest{
	{"external", "external Example.org", outsideOf(nil, "example.org."), ""},
	{"external with reverse zones", "external 192.0.2.0/24 example.org", outsideOf(nil, "2.0.192.in-addr.arpa.", "example.org."), ""},
	{"external none", "external", nil, "option external: want ZONES..."},
	{"external no name", "external a..b", nil, `option external a..b: want zones, such as example.org; not "a..b"`},
	{"external reverse only", "external in-addr.arpa", nil, "option external in-addr.arpa: want at least one zone that is not a reverse zone"},
	{"external the cluster's", "external example.org cluster.local", nil, "option external example.org cluster.local: cluster.local. is the cluster's own zone"},

	{"apex", "external example.org\napex NS", outsideOf(func(o *outsideSettings) { o.apex = "ns" }, "example.org."), ""},
	{"apex two labels", "external example.org\napex a.b", nil, "option apex a.b: want one label, such as dns"},
	{"apex no label", "external example.org\napex .", nil, "option apex .: want one label"},
	{"apex none", "external example.org\napex", nil, "option apex: want LABEL"},
	{"apex alone", "apex ns", nil, "option apex ns: it is about names for clients outside the cluster; want it beside external ZONES"},

	{"headless", "external example.org\nheadless", outsideOf(func(o *outsideSettings) { o.headless = true }, "example.org."), ""},
	{"headless yes", "external example.org\nheadless yes", nil, "option headless yes: want no argument"},
	{"headless alone", "headless", nil, "option headless: it is about names for clients outside"},

	{"external_ttl", "external example.org\nexternal_ttl 0", outsideOf(func(o *outsideSettings) { o.ttlSet = true }, "example.org."), ""},
	{"external_ttl 60", "external example.org\nexternal_ttl 60", outsideOf(func(o *outsideSettings) { o.ttl, o.ttlSet = 60, true }, "example.org."), ""},
	{"external_ttl too high", "external example.org\nexternal_ttl 3601", nil, "option external_ttl 3601: want a whole number of seconds from 0 to 3600"},
	{"external_ttl alone", "external_ttl 60", nil, "option external_ttl 60: it is about names for clients outside"},
}
