package signpost

import "strings"

// selectOptions say which objects of the source have names. What they leave out
// is never read, so it takes no memory and needs no rights.
var selectOptions = []option{
	{"labels", "a selector such as app=web,tier!=test", 1, many, setLabels, nil},
}

func setLabels(s *stanza, args []string) (err error) {
	s.feed.labels, err = parseSelector(strings.Join(args, " "))
	return err
}
