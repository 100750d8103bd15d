package source

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Every port is combined with every address, so a Service lists only so many of each.
func TestListsOfAServiceAreBounded(t *testing.T) {
	s := &corev1.Service{}
	s.Namespace, s.Name = "shop", "web"
	s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeLoadBalancer, "10.0.0.1"
	for i := range 3000 {
		a := fmt.Sprintf("203.0.%d.%d", i>>8, i&255)
		s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, a)
		s.Spec.LoadBalancerSourceRanges = append(s.Spec.LoadBalancerSourceRanges, a+"/32")
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("p%d", i), Port: int32(i + 1)})
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
	}
	o, problems := Convert(s, Options{})
	got := o.(*cluster.Service)
	if len(got.Ports) != mostPorts || len(got.External.IPs) != mostAddresses || len(got.External.LB) != mostAddresses || len(got.External.Sources) != mostRanges {
		t.Errorf("got %d ports, %d external IPs, %d addresses of load balancers, %d source ranges: want %d, %d, %d, %d", len(got.Ports),
			len(got.External.IPs), len(got.External.LB), len(got.External.Sources), mostPorts, mostAddresses, mostAddresses, mostRanges)
	}
	for field, want := range map[string]string{
		"spec.ports": wantFewPorts, "spec.externalIPs": wantFewAddresses,
		"status.loadBalancer.ingress": wantFewAddresses, "spec.loadBalancerSourceRanges": wantFewRanges,
	} {
		found := false
		for _, p := range problems {
			found = found || p.Field == field && p.Want == want && p.Value == "3000"
		}
		if !found {
			t.Errorf("no Problem about %s: %v", field, problems)
		}
	}
	for _, want := range []struct {
		text string
		n    int
	}{{wantFewPorts, mostPorts}, {wantFewAddresses, mostAddresses}, {wantFewRanges, mostRanges}} {
		if !strings.Contains(want.text, fmt.Sprintf(" %d ", want.n)) {
			t.Errorf("%q does not name the bound %d", want.text, want.n)
		}
	}
}
