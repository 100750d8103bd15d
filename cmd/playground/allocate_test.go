//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func TestAllocator(t *testing.T) {
	a := newAllocator(netip.MustParsePrefix("10.96.0.0/16"))
	if addr, err := a.any(); err != nil || addr.String() != "10.96.1.0" {
		t.Errorf("first: got %v, %v, want 10.96.1.0, the first that nobody may ask for", addr, err)
	}
	if err := a.take(netip.MustParseAddr("10.96.1.1")); err != nil {
		t.Error(err)
	}
	if addr, err := a.any(); err != nil || addr.String() != "10.96.1.2" {
		t.Errorf("next: got %v, %v, want 10.96.1.2", addr, err)
	}
	for _, taken := range []string{"10.96.1.1", "10.96.1.2"} {
		if err := a.take(netip.MustParseAddr(taken)); err == nil || !strings.Contains(err.Error(), "another service") {
			t.Errorf("%s twice: got %v", taken, err)
		}
	}
	if err := a.take(netip.MustParseAddr("10.97.0.1")); err == nil || !strings.Contains(err.Error(), "10.96.0.0/16") {
		t.Errorf("out of range: got %v", err)
	}
}

// TestAllocatorNeverRepeats mixes certain addresses with any, until the range is used up.
func TestAllocatorNeverRepeats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := netip.MustParsePrefix("10.96.0.0/23") // 256 addresses beyond the reserved ones
		a, given := newAllocator(prefix), map[netip.Addr]bool{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 511), 0, 600).Draw(t, "wishes") {
			addr, err := netip.AddrFrom4([4]byte{10, 96, byte(n / 256), byte(n)}), error(nil)
			if rapid.Bool().Draw(t, "any") {
				if addr, err = a.any(); err != nil {
					continue
				}
			} else if err = a.take(addr); err != nil {
				if !given[addr] {
					t.Fatalf("%s was refused and is free: %v", addr, err)
				}
				continue
			}
			if given[addr] || !prefix.Contains(addr) {
				t.Fatalf("%s was given out twice, or is not in %s", addr, prefix)
			}
			given[addr] = true
		}
	})
}

func TestAllocatorEnds(t *testing.T) {
	a := newAllocator(netip.MustParsePrefix("10.96.0.0/23"))
	for range 256 {
		if _, err := a.any(); err != nil {
			t.Fatal(err)
		}
	}
	if addr, err := a.any(); err == nil {
		t.Errorf("got %s from a range that is used up", addr)
	}
}

func TestAdmit(t *testing.T) {
	policy := func(p corev1.IPFamilyPolicy) *corev1.IPFamilyPolicy { return &p }
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	for _, tt := range []struct {
		name string
		spec corev1.ServiceSpec
		ipv4 bool   // the machine has IPv4 only
		want string // type, addresses, families
		err  string
	}{
		{name: "nothing said", want: "ClusterIP [10.96.1.0] [IPv4]"},
		{name: "a certain address", spec: corev1.ServiceSpec{ClusterIP: "10.96.0.80"}, want: "ClusterIP [10.96.0.80] [IPv4]"},
		{name: "headless", spec: corev1.ServiceSpec{ClusterIP: "None"}, want: "ClusterIP [None] [IPv4]"},
		{name: "dual-stack if possible", spec: corev1.ServiceSpec{IPFamilyPolicy: policy("PreferDualStack")}, want: "ClusterIP [10.96.1.0 fd00:10:96::100] [IPv4 IPv6]"},
		{name: "dual-stack is not possible", ipv4: true, spec: corev1.ServiceSpec{IPFamilyPolicy: policy("PreferDualStack")}, want: "ClusterIP [10.96.1.0] [IPv4]"},
		{name: "one address wanted of two", spec: corev1.ServiceSpec{ClusterIP: "10.96.0.80", IPFamilyPolicy: policy("PreferDualStack")}, want: "ClusterIP [10.96.0.80 fd00:10:96::100] [IPv4 IPv6]"},
		{name: "IPv6 first", spec: corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{v6}, IPFamilyPolicy: policy("RequireDualStack")}, want: "ClusterIP [fd00:10:96::100 10.96.1.0] [IPv6 IPv4]"},
		{name: "headless in both", spec: corev1.ServiceSpec{ClusterIP: "None", IPFamilies: []corev1.IPFamily{v4, v6}, IPFamilyPolicy: policy("RequireDualStack")}, want: "ClusterIP [None] [IPv4 IPv6]"},
		{name: "elsewhere", spec: corev1.ServiceSpec{Type: "ExternalName", ExternalName: "example.org"}, want: "ExternalName [] []"},
		{name: "dual-stack required in vain", ipv4: true, spec: corev1.ServiceSpec{IPFamilyPolicy: policy("RequireDualStack")}, err: "no IPv6"},
		{name: "IPv6 in vain", ipv4: true, spec: corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{v6}}, err: "family IPv6"},
		{name: "address out of range", spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}, err: "10.96.0.0/16"},
		{name: "no address", spec: corev1.ServiceSpec{ClusterIP: "web"}, err: "web"},
		{name: "address of the other family", spec: corev1.ServiceSpec{ClusterIP: "fd00:10:96::1"}, err: "not in the range"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: tt.spec}
			s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
			err := newAdmission(!tt.ipv4).admit(s)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "default/web") {
					t.Fatalf("got error %v, want one about default/web and %q", err, tt.err)
				}
				return
			}
			if got := fmt.Sprint(s.Spec.Type, " ", s.Spec.ClusterIPs, " ", s.Spec.IPFamilies); err != nil || got != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
			if p := s.Spec.Ports[0]; p.Protocol != "TCP" || p.TargetPort.IntVal != 80 {
				t.Errorf("got port %+v, want TCP and target port 80", p)
			}
			if len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIP != s.Spec.ClusterIPs[0] {
				t.Errorf("clusterIP %s is not the first of %v", s.Spec.ClusterIP, s.Spec.ClusterIPs)
			}
		})
	}
}
