package source

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/util/yaml"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// conversion is one object as YAML (apiVersion and kind are added by its kind),
// what becomes of it in the words of show, and its problems without their object.
type conversion struct {
	name     string
	kind     string
	yaml     string
	options  Options
	want     string
	problems []string
}

var apiVersions = map[string]string{
	"Service": "v1", "Namespace": "v1", "Pod": "v1", "Node": "v1", "EndpointSlice": "discovery.k8s.io/v1",
	"ServiceCIDR": "networking.k8s.io/v1", "ServiceImport": "multicluster.x-k8s.io/v1alpha1",
}

func (c conversion) decode(t *testing.T) any {
	t.Helper()
	data, err := yaml.ToJSON([]byte("apiVersion: " + apiVersions[c.kind] + "\nkind: " + c.kind + "\n" + c.yaml))
	if err != nil {
		t.Fatal(err)
	}
	obj, unknown, err := Decode(data)
	if err != nil || unknown != nil {
		t.Fatal(unknown, err)
	}
	return obj
}

// show writes an object in one line, all of it.
func show(o cluster.Object) string {
	switch o := o.(type) {
	case nil:
		return ""
	case *cluster.Service:
		s := fmt.Sprintf("%v type=%d headless=%v ips=%v ports=%v", o.Key, o.Type, o.Headless, o.ClusterIPs, o.Ports)
		if o.Created != 0 {
			s += fmt.Sprintf(" created=%d", o.Created)
		}
		if o.External != nil {
			s += fmt.Sprintf(" name=%q external=%v lb=%v", o.External.Name, o.External.IPs, o.External.LB)
			if o.External.Hosts != nil {
				s += fmt.Sprintf(" hosts=%q", o.External.Hosts)
			}
			if o.External.Proxied != nil {
				s += fmt.Sprintf(" proxied=%v", o.External.Proxied)
			}
			if p := o.External.Policy; !reflect.ValueOf(p).IsZero() {
				s += fmt.Sprintf(" policy=%v", p)
			}
		}
		if o.InternalLocal || o.ExternalLocal {
			s += fmt.Sprintf(" local=%v/%v", o.InternalLocal, o.ExternalLocal)
		}
		return s
	case *cluster.ServiceImport:
		return "import " + show(o.Service)
	case *cluster.ImportedSlice:
		return o.Cluster.String() + ": " + show(o.Slice)
	case *cluster.Slice:
		s := fmt.Sprintf("%v of %v v%d ports=%v", o.Key, o.Service, o.Version, o.Ports)
		for _, e := range o.Endpoints {
			s += fmt.Sprintf(" %v", e.Addr)
			for _, part := range []string{e.Hostname, e.Node.String(), e.Zone.String()} {
				s += "/" + part
			}
			for i, c := range []cluster.Conditions{cluster.Ready, cluster.Serving, cluster.Terminating, cluster.Repeated, cluster.Additional} {
				if e.Has(c) {
					s += "+" + "RSTXA"[i:i+1]
				}
			}
			if hints := e.ForZones.String() + ";" + e.ForNodes.String(); hints != ";" {
				s += " for " + hints
			}
		}
		return s
	case *cluster.Pod:
		s := fmt.Sprintf("%v %v", o.Key, o.Addrs)
		for k, v := range o.Labels.All() {
			s += " " + k + "=" + v
		}
		return s
	case *cluster.Node:
		s := fmt.Sprintf("%v %v zone=%v", o.Name, o.Addrs, o.Zone)
		if o.PodCIDRs != nil {
			s += fmt.Sprintf(" pods=%v", o.PodCIDRs)
		}
		if o.Leaving {
			s += " leaving"
		}
		if o.KubeletPort != 0 {
			s += fmt.Sprintf(" kubelet=%d", o.KubeletPort)
		}
		return s
	case *cluster.ServiceCIDR:
		return fmt.Sprintf("%v %v", o.Name, o.CIDRs)
	case *cluster.Namespace:
		return o.Name
	}
	return fmt.Sprintf("unexpected %T", o)
}

// TestPodOfAnEndpoint: what tells pods of one address apart.
func TestPodOfAnEndpoint(t *testing.T) {
	db := corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "db-0"}
	other, first, second := db, db, db
	other.Name, first.UID, second.UID = "db-1", "6f1c11", "6f1c12"
	if podID(nil) != 0 || podID(&corev1.ObjectReference{Kind: "Pod"}) != 0 {
		t.Error("an endpoint without targetRef has a pod")
	}
	f := findings{}
	read := f.endpoints([]discoveryv1.Endpoint{{Addresses: []string{"10.1.0.2", "10.1.0.1"}, TargetRef: &db}}, true, Options{})
	if len(read) != 2 || read[0].Pod != podID(&db) || read[1].Pod != podID(&db) {
		t.Errorf("read %v, want both addresses to be of one pod", read)
	}
	ids := map[cluster.PodID]bool{podID(&db): true, podID(&other): true, podID(&first): true, podID(&second): true}
	if len(ids) != 4 || ids[0] || podID(&first) != podID(first.DeepCopy()) {
		t.Errorf("IDs %v, want one for each name, and one for each pod made anew under it", ids)
	}
}

func allConversions() []conversion {
	return slices.Concat(serviceConversions, portConversions, sliceConversions, endpointConversions, otherConversions, policyConversions, importConversions)
}

func TestConvert(t *testing.T) {
	for _, c := range allConversions() {
		t.Run(c.name, func(t *testing.T) {
			o, problems := Convert(c.decode(t), c.options)
			if got := show(o); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			var got []string
			for _, p := range problems {
				got = append(got, fmt.Sprintf("%s %q: %s", p.Field, p.Value, p.Want))
				if p.Ref.Key.Namespace == "" && p.Ref.Kind < cluster.KindNamespace {
					t.Errorf("a problem does not say of which object: %v", p)
				}
			}
			if d := cmp.Diff(c.problems, got); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
		})
	}
}

// TestEveryComplaintIsTested reads the constants of problem.go: each must be in a row.
func TestEveryComplaintIsTested(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := strings.Join([]string{wantKnownField, wantFewPorts, wantFewAddresses, wantFewRanges}, "\n") + "\n" // TestDecode, TestListsOfAServiceAreBounded
	for _, c := range allConversions() {
		seen += strings.Join(c.problems, "\n") + "\n"
	}
	count := 0
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(v.Names[0].Name, "want") {
			return true
		}
		count++
		text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(seen, text+"\n") {
			t.Errorf("%s is in no row", v.Names[0].Name)
		}
		return true
	})
	if count == 0 {
		t.Error("no constants found in problem.go")
	}
}

// TestEveryFieldIsTested: each field of our types is set by some row.
func TestEveryFieldIsTested(t *testing.T) {
	set, all := map[string]bool{}, map[string]bool{}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(path, v.Elem())
			}
			return
		case reflect.Slice:
			for i := range v.Len() {
				walk(path, v.Index(i))
			}
			return
		case reflect.Struct:
			if v.NumField() > 0 && v.Type().PkgPath() == reflect.TypeFor[cluster.Slice]().PkgPath() && v.Type() != reflect.TypeFor[cluster.Atom]() {
				for i := range v.NumField() {
					if f := v.Type().Field(i); f.IsExported() {
						walk(path+"."+f.Name, v.Field(i))
					}
				}
				return
			}
		}
		all[path] = true
		set[path] = set[path] || !v.IsZero()
	}
	for _, c := range allConversions() {
		o, _ := Convert(c.decode(t), c.options)
		switch i := o.(type) { // what they wrap is what has fields
		case *cluster.ServiceImport:
			o = i.Service
		case *cluster.ImportedSlice:
			o = i.Slice
		}
		if o != nil {
			walk(fmt.Sprintf("%T", o), reflect.ValueOf(o))
		}
	}
	for path := range all {
		if !set[path] {
			t.Errorf("%s is empty in every row", path)
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d fields seen: %v", len(all), all)
	}
}

func TestConvertTakesNothingElse(t *testing.T) {
	for _, obj := range []any{nil, 1, "x", struct{}{}, cluster.Service{}} {
		if o, p := Convert(obj, Options{}); o != nil || p != nil {
			t.Errorf("Convert(%v) = %v, %v", obj, o, p)
		}
	}
}

func TestVersion(t *testing.T) {
	for s, want := range map[string]uint64{
		"": 0, "0": 0, "7": 7, "18446744073709551615": 1<<64 - 1, "18446744073709551616": 0, "-1": 0, "a": 0, "1.5": 0,
	} {
		if got := Version(s); got != want {
			t.Errorf("Version(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestProblemString(t *testing.T) {
	for _, c := range []struct {
		p    Problem
		want string
	}{
		{Problem{
			Ref:   cluster.Ref{Kind: cluster.KindService, Key: cluster.Key{Namespace: "default", Name: "web"}},
			Field: "spec.ports[1].port", Value: "70000", Want: wantPort,
		}, `services default/web: spec.ports[1].port "70000": want 1 to 65535; this port is left out`},
		{Problem{
			Where: "dir/web.yaml:7",
			Ref:   cluster.Ref{Kind: cluster.KindNode, Key: cluster.Key{Name: "a"}},
			Field: "status.addresses[0].address", Value: "x\n", Want: wantIP,
		}, `dir/web.yaml:7: nodes a: status.addresses[0].address "x\n": want an IP address; this one is left out`},
		{Problem{
			Ref: cluster.Ref{Kind: cluster.KindPod, Key: cluster.Key{Namespace: "a", Name: "b\nc"}}, Field: "x\r", Want: wantIP,
		}, "pods a/b\uFFFDc: x\uFFFD \"\": want an IP address; this one is left out"},
		{Problem{Where: "web.yaml:7", Field: "did not find expected key", Want: "YAML"},
			"web.yaml:7: did not find expected key: want YAML"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestLongValuesAreCut: a line of a log stays a line, and valid UTF-8.
func TestLongValuesAreCut(t *testing.T) {
	var f findings
	f.add(strings.Repeat("ä", 200)+"end", wantIP, "x")
	if v := f.list[0].Value; len(v) > longestValue+len("…") || !strings.HasSuffix(v, "ä…") {
		t.Errorf("%d bytes: %q", len(v), v)
	}
}
