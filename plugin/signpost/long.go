package signpost

// longestName is how many characters a name has at most, with its final dot: it takes
// one octet more in a message (RFC 1035 §2.3.4). No name of Kubernetes has an escape.
const longestName = 254

// fits reports whether a name can stand in a message.
func fits(name string) bool { return len(name) <= longestName }
