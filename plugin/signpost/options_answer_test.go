package signpost

import "github.com/coredns/coredns/plugin/pkg/fall"

var answerOptionTests = []optionTest{
	{"ttl", "ttl 30", func(s *stanza) { s.ttl = 30 }, ""},
	{"ttl 0", "ttl 0", func(s *stanza) { s.ttl = 0 }, ""},
	{"ttl highest", "ttl 3600", func(s *stanza) { s.ttl = 3600 }, ""},
	{"ttl too high", "ttl 3601", nil, "option ttl 3601: want a whole number of seconds from 0 to 3600"},
	{"ttl negative", "ttl -1", nil, "option ttl -1: want"},
	{"ttl words", "ttl 5s", nil, "option ttl 5s: want"},
	{"ttl none", "ttl", nil, "option ttl: want SECONDS"},
	{"ttl two", "ttl 1 2", nil, "option ttl 1 2: want SECONDS, or SECONDS negative SECONDS"},
	{"ttl three", "ttl 1 2 3", nil, "option ttl 1 2 3: want SECONDS"},
	{"ttl negative ones", "ttl 30 negative 2", func(s *stanza) { s.ttl, s.negative = 30, new(uint32(2)) }, ""},
	{"ttl negative ones 0", "ttl 30 negative 0", func(s *stanza) { s.ttl, s.negative = 30, new(uint32(0)) }, ""},
	{"ttl negative ones too high", "ttl 30 negative 4000", nil, "option ttl 30 negative 4000: want a whole number"},
	{"ttl negative ones none", "ttl 30 negative", nil, "option ttl 30 negative: want SECONDS, or"},
	{"ttl again", "ttl 30 negative 2\nttl 60", func(s *stanza) { s.ttl = 60 }, ""},

	{"max_udp_size", "max_udp_size 4096", func(s *stanza) { s.maxUDP = 4096 }, ""},
	{"max_udp_size lowest", "max_udp_size 512", func(s *stanza) { s.maxUDP = 512 }, ""},
	{"max_udp_size too high", "max_udp_size 4097", nil, "option max_udp_size 4097: want a whole number of bytes from 512 to 4096"},
	{"max_udp_size too low", "max_udp_size 511", nil, "option max_udp_size 511: want a whole"},
	{"max_udp_size none", "max_udp_size", nil, "option max_udp_size: want BYTES"},

	{"why", "why", func(s *stanza) { s.why = true }, ""},
	{"why not", "why not", nil, "option why not: want no argument"},

	{"ptr all", "ptr all", nil, ""},
	{"ptr headless", "ptr headless", func(s *stanza) { s.ptr = ptrHeadless }, ""},
	{"ptr hostname", "ptr hostname", func(s *stanza) { s.ptr = ptrHostname }, ""},
	{"ptr services", "ptr services", func(s *stanza) { s.ptr = ptrServices }, ""},
	{"ptr single", "ptr headless single", func(s *stanza) { s.ptr, s.ptrSingle = ptrHeadless, true }, ""},
	{"ptr again", "ptr headless single\nptr all", nil, ""},
	{"ptr maybe", "ptr maybe", nil, "option ptr maybe: want all, headless, hostname or services"},
	{"ptr double", "ptr all double", nil, "option ptr all double: want single or nothing"},
	{"ptr none", "ptr", nil, "option ptr: want all|headless|hostname|services [single]"},

	{"pods disabled", "pods disabled", nil, ""},
	{"pods insecure", "pods insecure", func(s *stanza) { s.pods = podsInsecure }, ""},
	{"pods verified", "pods verified", func(s *stanza) { s.pods = podsVerified; s.feed.pods = true }, ""},
	{"pods twice", "pods verified\npods insecure", func(s *stanza) { s.pods = podsInsecure }, ""},
	{"pods maybe", "pods maybe", nil, "option pods maybe: want disabled, insecure or verified"},
	{"pods none", "pods", nil, "option pods: want disabled|insecure|verified"},

	{"fallthrough all", "fallthrough", func(s *stanza) { s.fall = fall.Root }, ""},
	{"fallthrough some", "fallthrough in-addr.arpa ip6.arpa", func(s *stanza) {
		s.fall = fall.F{Zones: []string{"in-addr.arpa.", "ip6.arpa."}}
	}, ""},
	{"fallthrough no name", "fallthrough a..b", nil, `option fallthrough a..b: want zones, such as in-addr.arpa; not "a..b"`},

	{"endpoint_pod_names", "endpoint_pod_names", func(s *stanza) { s.feed.podNames = true }, ""},
	{"endpoint_pod_names on", "endpoint_pod_names on", nil, "option endpoint_pod_names on: want no argument"},

	{"noendpoints", "noendpoints", func(s *stanza) { s.feed.noEndpoints = true }, ""},
	{"noendpoints all", "noendpoints all", nil, "option noendpoints all: want no argument"},

	{"ignore", "ignore empty_service", func(s *stanza) { s.ignoreEmpty = true }, ""},
	{"ignore other", "ignore pods", nil, "option ignore pods: want empty_service"},
	{"ignore none", "ignore", nil, "option ignore: want empty_service"},
	{"ignore two", "ignore empty_service pods", nil, "option ignore empty_service pods: want empty_service"},
	{"ignore without endpoints", "ignore empty_service\nnoendpoints", nil, "option ignore empty_service: it is about endpoints; want it without noendpoints"},

	{"zonal", "zonal", func(s *stanza) { s.zonal = true }, ""},
	{"zonal a", "zonal a", nil, "option zonal a: want no argument"},
	{"zonal without endpoints", "noendpoints\nzonal", nil, "option zonal: it is about endpoints; want it without noendpoints"},
}
