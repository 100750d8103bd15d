package source

import "testing"

const importedWeb = `
metadata: {name: web-x, namespace: shop, resourceVersion: "9", labels: {multicluster.kubernetes.io/service-name: web, multicluster.kubernetes.io/source-cluster: east, kubernetes.io/service-name: derived}}
addressType: IPv4`

func TestIsImported(t *testing.T) {
	for _, c := range importConversions {
		if c.kind == "EndpointSlice" && IsImported(c.decode(t)) != (c.name != "a slice of no import") {
			t.Errorf("%s: it is not known for what it is", c.name)
		}
	}
	if IsImported(nil) {
		t.Error("nothing is imported")
	}
}

var importConversions = []conversion{
	{name: "import with addresses", kind: "ServiceImport", yaml: `
metadata: {name: web, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {type: ClusterSetIP, ips: [10.42.0.1, "fd00::1"], ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}`,
		want: "import shop/web type=0 headless=false ips=[10.42.0.1 fd00::1] ports=[{http 80 0 tcp} {dns 53 0 udp}] created=1767225600"},
	{name: "headless import", kind: "ServiceImport", yaml: `
metadata: {name: db, namespace: shop}
spec: {type: Headless, ips: [10.42.0.1], ports: []}`,
		want: "import shop/db type=0 headless=true ips=[] ports=[]"},
	{name: "import that waits", kind: "ServiceImport", yaml: `
metadata: {name: web}
spec: {ports: [{port: 80}]}`,
		want: "import default/web type=0 headless=false ips=[] ports=[{ 80 0 tcp}]"},
	{name: "broken import", kind: "ServiceImport", yaml: `
metadata: {name: web}
spec: {type: Other, ips: [x, 10.42.0.1, 10.42.0.2], ports: [{port: 0}]}`,
		want: "import default/web type=0 headless=false ips=[10.42.0.1] ports=[]",
		problems: []string{
			`spec.ports[0].port "0": ` + wantPort,
			`spec.type "Other": ` + wantImportType,
			`spec.ips[0] "x": ` + wantIP,
			`spec.ips[2] "10.42.0.2": ` + wantOnePerFamily,
		}},
	{name: "import whose name is no label", kind: "ServiceImport", yaml: `metadata: {name: a.b}`,
		problems: []string{`metadata.name "a.b": ` + wantLabel}},
	{name: "imported slice", kind: "EndpointSlice", options: Options{Imported: true}, yaml: importedWeb + `
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.0.1], hostname: web-0}]`,
		want: "east: shop/web-x of shop/web v9 ports=[{http 8080 tcp}] 10.1.0.1/web-0//+R+S"},
	{name: "the same slice in this cluster", kind: "EndpointSlice", yaml: importedWeb,
		want: "shop/web-x of shop/derived v9 ports=[]"},
	{name: "a slice of no import", kind: "EndpointSlice", options: Options{Imported: true}, yaml: sliceOfWeb},
	{name: "an imported slice of nowhere", kind: "EndpointSlice", options: Options{Imported: true}, yaml: `
metadata: {name: web-x, labels: {multicluster.kubernetes.io/service-name: web}}
addressType: IPv4`,
		problems: []string{`metadata.labels[multicluster.kubernetes.io/source-cluster] "": ` + wantLabel}},
}
