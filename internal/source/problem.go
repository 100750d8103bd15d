package source

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Problem is one thing in one object that cannot be used.
type Problem struct {
	Where string      // file:line for what comes from a file, else empty
	Ref   cluster.Ref // the object; zero when a file as a whole is meant
	Field string      // path as kubectl prints it: spec.ports[1].port
	Value string      // what stands there
	Want  string      // what was expected, and what happens now
}

// longestValue is how many bytes of a value a Problem repeats: enough to find
// it, and a line of a log stays a line.
const longestValue = 100

// longestProblem is how many bytes String has at most, without Where.
const longestProblem = 1000

// String says it in one line of bounded length, whatever a file has in its names.
func (p Problem) String() string {
	var b strings.Builder
	if p.Where != "" {
		b.WriteString(p.Where + ": ")
	}
	if p.Ref == (cluster.Ref{}) { // KindService is the zero Kind, but no object has no name
		b.WriteString(p.Field)
	} else {
		fmt.Fprintf(&b, "%v %v: %s %q", p.Ref.Kind, p.Ref.Key, p.Field, p.Value)
	}
	b.WriteString(": want " + p.Want)
	text := b.String()
	if most := longestProblem + len(p.Where); len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// What each kind of field must be, and what its absence costs.
const (
	wantLabel         = "a DNS label (RFC 1123, lower case); this object is left out"
	wantName          = "a DNS name of at most 253 characters (RFC 1123, lower case); this object is left out"
	wantServiceType   = "ClusterIP, NodePort, LoadBalancer or ExternalName; it is read as ClusterIP"
	wantImportType    = "ClusterSetIP or Headless; it is read as ClusterSetIP"
	wantClusterIP     = "an address, or None; without one the name has no address"
	wantOnePerFamily  = "one IPv4 and one IPv6 address at most; this one is left out"
	wantExternalName  = "a DNS name of at most 253 characters, not an address; without one the Service has no name"
	wantBalancerName  = "a DNS name of at most 253 characters, not an address; this one is left out"
	wantPublicIP      = "an IP address that is not unspecified, loopback or link-local; this one is left out"
	wantExternalIP    = "an IP address that is not unspecified, loopback, link-local, multicast or broadcast; this one is left out"
	wantScheduler     = "one of rr, wrr, lc, wlc, lblc, lblcr, sh, dh, sed, nq, fo, ovf, mh and twos; the default of the mode is used"
	wantNodeName      = "a DNS name of at most 253 characters (RFC 1123, lower case); it is read as no name"
	wantZone          = "at most 63 letters, digits, '-', '_' and '.'; it is read as no zone"
	wantIP            = "an IP address; this one is left out"
	wantIPv4          = "an IPv4 address; this one is left out"
	wantIPv6          = "an IPv6 address; this one is left out"
	wantAddressType   = "IPv4 or IPv6; this object is left out"
	wantPort          = "1 to 65535; this port is left out"
	wantNodePort      = "0 to 65535; this node port is left out"
	wantPortName      = "a DNS label (RFC 1123, lower case) or nothing; this port is left out"
	wantOtherPort     = "a name and a number that no other port here has; this port is left out"
	wantProtocol      = "TCP, UDP or SCTP; this port is left out"
	wantTrafficPolicy = "Cluster or Local; it is read as Cluster"
	wantSourceRange   = "a CIDR block such as 192.0.2.0/24; nobody is let in for this one"
	wantAffinity      = "None or ClientIP; it is read as None"
	wantTimeout       = "1 to 86400 seconds; it is read as 10800"
	wantCIDR          = "a CIDR block such as 10.96.0.0/12; this one is left out"
	wantHostname      = "a DNS label (RFC 1123, lower case); the address stands for it"
	wantFewPorts      = "at most 1024 ports; the others are left out"
	wantFewAddresses  = "at most 256 addresses; the others are left out"
	wantFewRanges     = "at most 1024 CIDR blocks; the others get no access"
	wantKnownField    = "a field that the API has, once; it is passed over"
)

// mostProblems is how many Problems an object has at most; the last one counts the rest.
// An EndpointSlice may have a thousand.
const mostProblems = 8

// findings gathers the Problems of one object.
type findings struct {
	ref  cluster.Ref
	list []Problem
	rest int // how many more there are
}

// add notes that value is not what field wants.
func (f *findings) add(value, want, field string) {
	if len(value) > longestValue {
		value = strings.ToValidUTF8(value[:longestValue], "") + "…"
	}
	if len(f.list) == mostProblems {
		f.rest++
		f.list[mostProblems-1] = Problem{Ref: f.ref, Field: "more fields", Value: strconv.Itoa(f.rest + 1), Want: "values that the API documents"}
		return
	}
	f.list = append(f.list, Problem{Ref: f.ref, Field: field, Value: strings.Clone(value), Want: want})
}

// at is the path of one element of a list.
func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// What one Service may list. The API server has no limit but the size of the object, and
// every port is combined with every address.
const (
	mostPorts     = 1024
	mostAddresses = 256
	mostRanges    = 1024
)

// bounded returns the first elements of a list, most at most.
func bounded[T any](f *findings, list []T, most int, want, field string) []T {
	if len(list) > most {
		f.add(strconv.Itoa(len(list)), want, field)
		list = list[:most]
	}
	return list
}
