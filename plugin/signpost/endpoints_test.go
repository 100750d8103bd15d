package signpost

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Without ready endpoints a ClusterIP Service has no names, so that a resolver
// goes on along its search list. Its address keeps its pointer, as at the peer.
func TestIgnoreEmptyService(t *testing.T) {
	store := fixture()
	store.Put(7, service("ns", "empty", nil, "10.0.0.77"), slice("ns", "empty", "empty-1", http8080, unready("172.16.7.7")))
	s := plugged(store, func(s *Signpost) { s.ignoreEmpty = true })
	for _, q := range []query{
		{"empty.ns.svc", "A", nxDomain()},
		{"empty.ns.svc", "SRV", nxDomain()},
		{"_http._tcp.empty.ns.svc", "SRV", nxDomain()},
		{"_tcp.empty.ns.svc", "A", nxDomain()},
		{"six.ns.svc", "AAAA", nxDomain()}, // no slice at all
		{"77.0.0.10.in-addr.arpa.", "PTR", records("77.0.0.10.in-addr.arpa. 5 IN PTR empty.ns.svc.cluster.local.")},
		{"web.ns.svc", "A", records("web.ns.svc.cluster.local. 5 IN A 10.0.0.1")},
		{"ext.ns.svc", "CNAME", records("ext.ns.svc.cluster.local. 5 IN CNAME www.example.net.")},
		{"host3.hdls.ns.svc", "A", records("host3.hdls.ns.svc.cluster.local. 5 IN A 172.16.0.3")},
		{"ns.svc", "A", noData()},
	} {
		t.Run(q.name+" "+q.qtype, func(t *testing.T) { check(t, s, q) })
	}
	store.Put(8, slice("ns", "empty", "empty-1", http8080, ready("172.16.7.7", "")))
	check(t, s, query{"empty.ns.svc", "A", records("empty.ns.svc.cluster.local. 5 IN A 10.0.0.77")})
	store.Delete(9, cluster.Ref{Kind: cluster.KindSlice, Key: cluster.Key{Namespace: "ns", Name: "empty-1"}})
	check(t, s, query{"empty.ns.svc", "A", nxDomain()})
}

const pairManifest = `
{apiVersion: v1, kind: Service, metadata: {name: %[1]s, namespace: ns, labels: {app: %[1]s}}, spec: {clusterIP: %[2]s, ports: [{name: http, port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: %[1]s-1, namespace: ns, labels: {app: %[1]s, kubernetes.io/service-name: %[1]s}},
 addressType: IPv4, ports: [{name: http, port: 8080}], endpoints: [{addresses: [%[3]s]}]}
`

// pairs is a folder with the Services web and db (headless), one endpoint each.
func pairs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "web.yaml"), fmt.Sprintf(pairManifest, "web", "10.96.0.1", "172.16.0.1"))
	writeFile(t, filepath.Join(dir, "db.yaml"), fmt.Sprintf(pairManifest, "db", "None", "172.16.0.2"))
	return dir
}

// rcodes asks a server for A records.
func rcodes(t *testing.T, stanza string, names ...string) string {
	t.Helper()
	i := start(t, ".:0 {\n signpost cluster.local in-addr.arpa {\n"+stanza+"\n}\n}")
	defer stop(t, i)
	var got []string
	for _, name := range names {
		m := lookup(t, i, "udp", name)
		text := dns.RcodeToString[m.Rcode]
		if m.Rcode == dns.RcodeSuccess && len(m.Answer) == 0 {
			text = "NODATA"
		}
		got = append(got, text)
	}
	return strings.Join(got, " ")
}

func TestNoEndpoints(t *testing.T) {
	dir := pairs(t)
	names := []string{
		"web.ns.svc.cluster.local.", "db.ns.svc.cluster.local.", "172-16-0-1.web.ns.svc.cluster.local.",
		"172-16-0-2.db.ns.svc.cluster.local.", "1.0.16.172.in-addr.arpa.", "1.0.96.10.in-addr.arpa.",
	}
	if got := rcodes(t, "manifests "+dir, names...); got != "NOERROR NOERROR NOERROR NOERROR NODATA NODATA" {
		t.Errorf("with endpoints: %s", got)
	}
	if got := rcodes(t, "noendpoints\nmanifests "+dir, names...); got != "NOERROR NXDOMAIN NXDOMAIN NXDOMAIN NXDOMAIN NODATA" {
		t.Errorf("noendpoints: %s", got)
	}
}

func TestLabels(t *testing.T) {
	dir := pairs(t)
	names := []string{
		"web.ns.svc.cluster.local.", "db.ns.svc.cluster.local.", "172-16-0-1.web.ns.svc.cluster.local.", "2.0.16.172.in-addr.arpa.",
	}
	for selector, want := range map[string]string{
		"app=web":          "NOERROR NXDOMAIN NOERROR NXDOMAIN",
		"app in (db, x)":   "NXDOMAIN NOERROR NXDOMAIN NODATA",
		"app,app notin(x)": "NOERROR NOERROR NOERROR NODATA",
		"!app":             "NXDOMAIN NXDOMAIN NXDOMAIN NXDOMAIN",
	} {
		if got := rcodes(t, "labels "+selector+"\nmanifests "+dir, names...); got != want {
			t.Errorf("labels %s: %s, want %s", selector, got, want)
		}
	}
}
