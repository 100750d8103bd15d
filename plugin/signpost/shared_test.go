package signpost

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/miekg/dns"
)

// These are a Service and one of its slices, with the endpoints as the API has them.
const (
	sharedService = `
---
{apiVersion: v1, kind: Service, metadata: {name: %[1]s, namespace: shop}, spec: {clusterIP: %[2]s, ports: [{name: sql, port: 5432}]}}
`
	sharedSlice = `
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: %[1]s, namespace: shop, resourceVersion: "%[3]d", labels: {kubernetes.io/service-name: %[2]s}},
 addressType: IPv4, ports: [{name: sql, port: %[4]d}], endpoints: [%[5]s]}
`
)

// manifestPod is an endpoint of the tests below: ADDRESS HOSTNAME CONDITIONS TARGETREF.
func manifestPod(words string) string {
	w := strings.Fields(words)
	text := "addresses: [" + w[0] + "]"
	if w[1] != "-" {
		text += ", hostname: " + w[1]
	}
	text += map[string]string{
		"ready":       ", conditions: {ready: true, serving: true, terminating: false}",
		"unready":     ", conditions: {ready: false}",
		"terminating": ", conditions: {ready: false, serving: false, terminating: true}",
	}[w[2]]
	if len(w) > 3 {
		text += ", targetRef: {kind: Pod, namespace: shop, name: " + w[3] + "}"
	}
	return "{" + text + "}"
}

// said is what the server says, without owner and TTL, sorted; NODATA or the rcode if nothing.
func said(t *testing.T, i *caddy.Instance, name, qtype string) string {
	t.Helper()
	r := new(dns.Msg)
	r.SetQuestion(name, dns.StringToType[qtype])
	m, err := dns.Exchange(r, i.Servers()[0].LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, rr := range m.Answer {
		if s, ok := rr.(*dns.SRV); ok {
			list = append(list, fmt.Sprint(s.Port, " ", strings.TrimSuffix(s.Target, ".shop.svc.cluster.local.")))
			continue
		}
		list = append(list, strings.TrimSuffix(strings.TrimPrefix(rr.String(), rr.Header().String()), ".shop.svc.cluster.local."))
	}
	if slices.Sort(list); len(list) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	return strings.Join(list, ", ")
}

// TestPodsOfOneAddress has the objects of kubernetes#135266, #101935, #121556 and their
// like: every ready pod has its names, in whatever order the API lists them.
func TestPodsOfOneAddress(t *testing.T) {
	type slice struct {
		port int
		pods []string
	}
	for _, tt := range []struct {
		name, service string
		slices        []slice
		want          map[string]string // NAME TYPE; the zone and shop.svc are left out
	}{
		{"one that terminates in the same slice (D-F1)", "db", []slice{{5432, []string{"10.244.1.7 db-0 terminating", "10.244.1.7 db-1 ready"}}}, map[string]string{
			"db A": "10.244.1.7", "db-1.db A": "10.244.1.7", "db-0.db A": "NXDOMAIN", "7.1.244.10.in-addr.arpa. PTR": "db-1.db", "_sql._tcp.db SRV": "5432 db-1.db",
		}},
		{"two hostnames in one slice (D-F2)", "store", []slice{{80, []string{"192.0.2.50 store-0 ready", "192.0.2.50 store-1 ready"}}}, map[string]string{
			"store A": "192.0.2.50", "store-0.store A": "192.0.2.50", "store-1.store A": "192.0.2.50",
			"store SRV": "80 store-0.store, 80 store-1.store", "50.2.0.192.in-addr.arpa. PTR": "store-0.store, store-1.store",
		}},
		{"two hostnames, each with its port, in two slices (D-F2)", "ex", []slice{{8080, []string{"192.0.2.51 ex-0 ready"}}, {9090, []string{"192.0.2.51 ex-2 ready"}}}, map[string]string{
			"ex A": "192.0.2.51", "ex-0.ex A": "192.0.2.51", "ex-2.ex A": "192.0.2.51", "ex-0.ex SRV": "8080 ex-0.ex", "ex-2.ex SRV": "9090 ex-2.ex",
			"ex SRV": "8080 ex-0.ex, 9090 ex-2.ex", "51.2.0.192.in-addr.arpa. PTR": "ex-0.ex, ex-2.ex",
		}},
		{"two hostnames with the same ports in two slices", "ex", []slice{{80, []string{"192.0.2.51 ex-0 ready"}}, {80, []string{"192.0.2.51 ex-2 ready"}}}, map[string]string{
			"ex A": "192.0.2.51", "ex-0.ex A": "192.0.2.51", "ex-2.ex A": "192.0.2.51", "ex SRV": "80 ex-0.ex, 80 ex-2.ex",
		}},
		{"one that is not ready in another slice (D-F3)", "agent", []slice{{80, []string{"192.0.2.61 - ready agent-x"}}, {80, []string{"192.0.2.61 - unready agent-y"}}}, map[string]string{
			"agent A": "192.0.2.61", "192-0-2-61.agent A": "192.0.2.61", "agent SRV": "80 192-0-2-61.agent",
		}},
		{"without names of their own", "web", []slice{{80, []string{"192.0.2.62 - ready web-x", "192.0.2.62 - ready web-y", "192.0.2.62 - unready"}}}, map[string]string{
			"web A": "192.0.2.62", "192-0-2-62.web A": "192.0.2.62", "web SRV": "80 192-0-2-62.web", "62.2.0.192.in-addr.arpa. PTR": "192-0-2-62.web",
		}},
		{"a name on several addresses, of which one is shared", "twin", []slice{{80, []string{"192.0.2.1 twin ready a", "192.0.2.2 twin ready b", "192.0.2.2 twin ready c"}}}, map[string]string{
			"twin A": "192.0.2.1, 192.0.2.2", "twin.twin A": "192.0.2.1, 192.0.2.2", "twin SRV": "80 twin.twin",
		}},
	} {
		for order := range 2 {
			t.Run(fmt.Sprint(tt.name, " ", order), func(t *testing.T) {
				text := fmt.Sprintf(sharedService, tt.service, "None")
				for i, sl := range tt.slices {
					var pods []string
					for _, p := range sl.pods {
						pods = append(pods, manifestPod(p))
					}
					version := 10 + i
					if order == 1 {
						slices.Reverse(pods)
						version = 10 - i
					}
					text += fmt.Sprintf(sharedSlice, fmt.Sprint(tt.service, "-", version), tt.service, version, sl.port, strings.Join(pods, ", "))
				}
				dir := t.TempDir()
				writeFile(t, filepath.Join(dir, "all.yaml"), text)
				i := start(t, ".:0 {\n signpost cluster.local in-addr.arpa {\n manifests "+dir+"\n}\n}")
				defer stop(t, i)
				for q, want := range tt.want {
					name, qtype, _ := strings.Cut(q, " ")
					if !strings.HasSuffix(name, ".") {
						name += ".shop.svc.cluster.local."
					}
					if got := said(t, i, name, qtype); got != want {
						t.Errorf("%s: %s, want %s", q, got, want)
					}
				}
			})
		}
	}
}

// TestZonesOfOneAddress: a zone has its pods, also where the first one with their
// address is in another zone.
func TestZonesOfOneAddress(t *testing.T) {
	store := fixture()
	store.Put(8, service("ns", "split", nil), slice("ns", "split", "split-1", http8080,
		readyIn("172.16.5.1", "a"), readyIn("172.16.5.1", "b"), readyIn("172.16.5.1", "b"), readyIn("172.16.5.2", "b"), readyIn("172.16.5.3", "a")))
	s := plugged(store, func(s *Signpost) { s.zonal = true })
	for name, want := range map[string]int{"split": 3, "a.pin._zone.split": 2, "b.pin._zone.split": 2} {
		if m, _ := ask(t, s, name+".ns.svc.cluster.local.", dns.TypeA); len(m.Answer) != want {
			t.Errorf("%s: %v, want %d", name, m.Answer, want)
		}
	}
}
