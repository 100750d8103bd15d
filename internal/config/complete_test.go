package config

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// Every field of the type is in the table of effects, and nothing else is.
func TestEveryFieldIsClassified(t *testing.T) {
	fields := slices.Sorted(maps.Keys(leaves(defaulted())))
	if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(effects))); diff != "" {
		t.Errorf("fields of the type(-), of the table(+):\n%s", diff)
	}
	for path, e := range effects {
		if e.unused != "" && e.refuse != "" {
			t.Errorf("%s: both without effect and refused", path)
		}
	}
}

// ofMode are the fields that count in one mode only.
var ofMode = map[v1alpha1.ProxyMode][]string{
	ModeAuto:     {"nftables.masqueradeAll", "nftables.masqueradeBit", "nftables.syncPeriod"},
	ModeNFTables: {"nftables.masqueradeAll", "nftables.masqueradeBit", "nftables.syncPeriod"},
	ModeIPVS: {
		"iptables.masqueradeAll", "iptables.masqueradeBit", "ipvs.excludeCIDRs", "ipvs.scheduler", "ipvs.strictARP",
		"ipvs.syncPeriod", "ipvs.tcpFinTimeout", "ipvs.tcpTimeout", "ipvs.udpTimeout",
	},
	ModeIPTables: {"iptables.localhostNodePorts", "iptables.masqueradeAll", "iptables.masqueradeBit", "iptables.syncPeriod"},
}

// A field that has no effect gets a note when it is set, and no other does.
func TestFieldsWithoutEffectAreNoted(t *testing.T) {
	for mode := range ofMode {
		t.Run(string(mode), func(t *testing.T) { testNoted(t, mode) })
	}
}

func testNoted(t *testing.T, mode v1alpha1.ProxyMode) {
	for path, e := range effects {
		w := defaulted()
		w.Mode = mode
		walk("", reflect.ValueOf(&w).Elem(), func(at string, v reflect.Value) {
			if at == path {
				set(t, v)
			}
		})
		notes := withoutEffect(&w)
		if e.unused == "" || slices.Contains(ofMode[mode], path) {
			if len(notes) > 0 {
				t.Errorf("%s has an effect but is noted: %q", path, notes)
			}
			continue
		}
		if len(notes) != 1 || !strings.HasPrefix(notes[0], path+" ") {
			t.Errorf("%s was set: notes %q, expected one about it", path, notes)
		}
	}
}

// set gives a field a value that is not the default.
func set(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *map[string]bool:
		*p = map[string]bool{"A": true}
	case *[]string:
		*p = []string{"x"}
	case *metav1.Duration:
		p.Duration += time.Hour
	case *logsapi.TimeOrMetaDuration:
		p.Duration.Duration += time.Hour
	case *logsapi.VModuleConfiguration:
		*p = logsapi.VModuleConfiguration{{FilePattern: "a", Verbosity: 1}}
	case *resource.QuantityValue:
		if err := p.Set("4096"); err != nil {
			t.Fatal(err)
		}
	default:
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.String:
			v.SetString("another")
		case reflect.Int32:
			v.SetInt(v.Int() + 1)
		case reflect.Uint32:
			v.SetUint(v.Uint() + 1)
		case reflect.Float32:
			v.SetFloat(v.Float() + 1)
		default:
			t.Fatalf("a field of type %v: teach this test to set it", v.Type())
		}
	}
}

// kubeProxyFlags are those of kube-proxy 1.36 on Linux, but for the ones of the
// libraries in it (boot-id-file, machine-id-file).
var kubeProxyFlags = strings.Fields(`
	bind-address bind-address-hard-fail cleanup cluster-cidr config config-sync-period conntrack-max-per-core conntrack-min
	conntrack-tcp-be-liberal conntrack-tcp-timeout-close-wait conntrack-tcp-timeout-established conntrack-udp-timeout
	conntrack-udp-timeout-stream detect-local-mode feature-gates healthz-bind-address healthz-port hostname-override init-only
	iptables-localhost-nodeports iptables-masquerade-bit iptables-min-sync-period iptables-sync-period ipvs-exclude-cidrs
	ipvs-min-sync-period ipvs-scheduler ipvs-strict-arp ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout
	kube-api-burst kube-api-content-type kube-api-qps kubeconfig log-flush-frequency log-json-info-buffer-size
	log-json-split-stream log-text-info-buffer-size log-text-split-stream logging-format masquerade-all master
	metrics-bind-address metrics-port nodeport-addresses oom-score-adj pod-bridge-interface pod-interface-name-prefix profiling
	proxy-mode show-hidden-metrics-for-version v version vmodule write-config-to`)

func TestFlagsAreThoseOfKubeProxy(t *testing.T) {
	var got []string
	newParser().flags.VisitAll(func(f *pflag.Flag) { got = append(got, f.Name) })
	want := append(slices.Clone(kubeProxyFlags), "manifests", "conntrack-cut-half-open", "count-traffic", "protected-node-ports")
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flags want(-) got(+):\n%s", diff)
	}
}

// forAllModes are flags that count for each mode, while the file has a field for each.
var forAllModes = []string{"masquerade-all", "iptables-masquerade-bit", "iptables-sync-period"}

// limited matches help texts of flags that never have an effect, or in one mode only.
var limited = regexp.MustCompile(`^no effect$|\(only with --`)

// The help text of a flag agrees with what its field does, and the flag sets it.
func TestFlagsAgreeWithTheirFields(t *testing.T) {
	p := newParser()
	for name, field := range fieldOf {
		f := p.flags.Lookup(name)
		e, known := effects[field]
		switch {
		case f == nil:
			t.Errorf("--%s stands for %s and does not exist", name, field)
		case !known:
			t.Errorf("--%s stands for %s, which does not exist", name, field)
		case limited.MatchString(f.Usage) != (e.unused != "") && !slices.Contains(forAllModes, name):
			t.Errorf("--%s: %q, but %s: %q", name, f.Usage, field, e.unused)
		}
	}
}

// What --write-config-to writes is read again as the same configuration.
func TestWrittenConfigurationIsReadAgain(t *testing.T) {
	flags := []string{
		"--write-config-to=x", "--cluster-cidr=10.244.0.0/16,fd00::/48", "--masquerade-all", "--nodeport-addresses=10.0.0.0/8",
		"--feature-gates=AllAlpha=true", "--hostname-override=n", "--v=3", "--conntrack-min=7", "--healthz-port=1", "--kube-api-qps=2.5",
	}
	written, err := Load(flags)
	if err != nil {
		t.Fatal(err)
	}
	data, err := written.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("kind: KubeProxyConfiguration")) {
		t.Errorf("no kind in\n%s", data)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	read, err := Load([]string{"--config", path})
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if diff := cmp.Diff(written.Wire, read.Wire); diff != "" {
		t.Errorf("written(-) read(+):\n%s", diff)
	}
}

// The defaults are kube-proxy's: those that an operator would notice.
func TestDefaults(t *testing.T) {
	w := defaulted()
	for path, v := range map[string]any{
		"conntrack.maxPerCore": int32(32768), "conntrack.min": int32(131072), "oomScoreAdj": int32(-999),
		"clientConnection.qps": float32(5), "clientConnection.burst": int32(10), "nftables.masqueradeBit": int32(14),
		"iptables.localhostNodePorts": true, "detectLocalMode": LocalClusterCIDR,
		"nftables.syncPeriod": metav1.Duration{Duration: 30 * time.Second}, "configSyncPeriod": metav1.Duration{Duration: 15 * time.Minute},
		"conntrack.tcpEstablishedTimeout": metav1.Duration{Duration: 24 * time.Hour}, "conntrack.tcpCloseWaitTimeout": metav1.Duration{Duration: time.Hour},
	} {
		if got := leaves(w)[path]; got != v {
			t.Errorf("%s: %v, want %v", path, got, v)
		}
	}
}

// Whatever the file holds, it is a configuration or an error, and does not panic.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(head))
	f.Add([]byte(head + "conntrack: {maxPerCore: null}\nnodePortAddresses: [null, '']\nclusterCIDR: ','"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("---\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		wire, _, err := decode(data)
		if err != nil {
			return
		}
		setDefaults(&wire)
		c := Config{Wire: wire, Flags: Flags{ConfigFile: "x"}}
		c.setMode()
		if c.complete() == nil && c.MasqueradeMark == 0 {
			t.Error("no mark")
		}
	})
}
