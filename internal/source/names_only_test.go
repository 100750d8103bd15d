package source

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// With NamesOnly, what only routes need makes no difference: an object that has it is
// the same as one that does not, so that none of its text stays in memory, however long.
func TestNamesOnly(t *testing.T) {
	service := func() *corev1.Service { return apiService(1) }
	rich := service()
	rich.Annotations = map[string]string{schedulerAnnotation: strings.Repeat("x", 250_000)}
	rich.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8", "nonsense"}
	rich.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	rich.Spec.HealthCheckNodePort = 32000
	rich.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	rich.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
	slice := func() *discoveryv1.EndpointSlice {
		s := apiSlice(1, 2)
		for i := range s.Endpoints {
			s.Endpoints[i].NodeName, s.Endpoints[i].Hints = nil, nil
		}
		return s
	}
	near := slice()
	for i := range near.Endpoints {
		near.Endpoints[i].NodeName = new(strings.Repeat("n", 250_000))
		near.Endpoints[i].Hints = &discoveryv1.EndpointHints{
			ForZones: []discoveryv1.ForZone{{Name: strings.Repeat("z", 250_000)}, {Name: "zone-a"}},
			ForNodes: []discoveryv1.ForNode{{Name: strings.Repeat("n", 250_000)}},
		}
	}
	for name, pair := range map[string][2]any{"service": {service(), rich}, "slice": {slice(), near}} {
		plain, problems := Convert(pair[0], Options{NamesOnly: true})
		if problems != nil {
			t.Fatalf("%s: %v", name, problems)
		}
		got, problems := Convert(pair[1], Options{NamesOnly: true})
		if !reflect.DeepEqual(plain, got) {
			t.Errorf("%s: what routes need is in %.300v", name, got)
		}
		if problems != nil {
			t.Errorf("%s: problems with what is left out: %v", name, problems)
		}
		if full, _ := Convert(pair[1], Options{}); reflect.DeepEqual(plain, full) {
			t.Errorf("%s: the forwarder's conversion has nothing of it either", name)
		}
	}
}
