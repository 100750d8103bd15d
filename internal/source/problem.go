package source

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Problem describes one unusable part of one object.
type Problem struct {
	Where string      // file:line for objects from files, else empty
	Ref   cluster.Ref // the object; zero for a whole file
	Field string      // path as kubectl prints it: spec.ports[1].port
	Value string      // the value found
	Want  string      // the expected value, and what happens instead
}

// longestValue limits the bytes of a value in a Problem: enough to find it, in a
// log line of reasonable length.
const longestValue = 100

// longestProblem limits the bytes of String, without Where.
const longestProblem = 1000

// String formats the problem as one line of limited length, whatever names a file contains.
func (p Problem) String() string {
	var b strings.Builder
	if p.Where != "" {
		b.WriteString(p.Where + ": ")
	}
	if p.Ref == (cluster.Ref{}) { // KindService is the zero Kind, but every object has a name
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

// Expected values of each kind of field, with the effect of an invalid value.
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
	wantSourceRange   = "a CIDR block such as 192.0.2.0/24; this one allows no client"
	wantAffinity      = "None or ClientIP; it is read as None"
	wantTimeout       = "1 to 86400 seconds; it is read as 10800"
	wantCIDR          = "a CIDR block such as 10.96.0.0/12; this one is left out"
	wantHostname      = "a DNS label (RFC 1123, lower case); the address stands for it"
	wantFewPorts      = "at most 1024 ports; the others are left out"
	wantFewAddresses  = "at most 256 addresses; the others are left out"
	wantFewRanges     = "at most 1024 CIDR blocks; the others get no access"
	wantKnownField    = "a field that the API has, once; it is ignored"
)

// mostProblems limits the Problems per object; the last one counts the remaining ones.
// An EndpointSlice may have a thousand.
const mostProblems = 8

// findings collects the Problems of one object.
type findings struct {
	ref  cluster.Ref
	list []Problem
	rest int // number of Problems beyond the limit
}

// add records that a value is not what its field requires.
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

// at returns the path of an element of a list.
func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// Limits of one Service. The API server limits only the size of the object, and
// routes combine every port with every address.
const (
	mostPorts     = 1024
	mostAddresses = 256
	mostRanges    = 1024
)

// bounded returns at most the first most elements of a list.
func bounded[T any](f *findings, list []T, most int, want, field string) []T {
	if len(list) > most {
		f.add(strconv.Itoa(len(list)), want, field)
		list = list[:most]
	}
	return list
}
