// Package nft writes and reads nf_tables by netlink: tables, sets, chains, rules and elements. It starts no program.
//
//	conn.go         the socket, requests and listings
//	attribute.go    messages and attributes as bytes
//	transaction.go  messages that the kernel commits as a whole, and its errors
//	family.go       IPv4 and IPv6, types, transport protocols
//	field.go        parts of packets that keys consist of
//	statement.go    rules: as text of nft(8) and as expressions of the kernel
//	expression.go   expressions as bytes, and their comparison
//	table.go, set.go, element.go, chain.go  the objects
//
// A Statement holds the text and the expressions of a rule side by side, so that what a program prints is what it
// installs. Names and comments are written so that nft(8) loads its own listing of them; the oldest version that is
// tested is 1.0.6.
//
// A transaction is one message to the kernel, which the socket's buffer bounds (Conn.Limit). A list of elements is also
// bounded by the 16-bit length of an attribute; Transaction splits it. The kernel's error names the object of the
// message, and for a list the element.
//
// The package knows nothing of Services, and of no table in particular.
package nft
