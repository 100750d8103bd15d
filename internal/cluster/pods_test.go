package cluster

import (
	"reflect"
	"slices"
)

// checkPodsAt compares the pods of all namespaces with the twin's.
func (p *pair) checkPodsAt(t fataler) {
	for _, a := range worldAddrs() {
		want := 0
		for _, namespace := range worldNames {
			want += len(p.twin.podsAt(namespace, a))
		}
		got := slices.Collect(p.store.PodsAt(a))
		for _, pod := range got {
			if !reflect.DeepEqual(p.twin.pods[pod.Key], pod) || !slices.Contains(pod.Addrs, a) {
				t.Fatalf("PodsAt(%v) has %v", a, pod)
			}
		}
		if len(got) != want {
			t.Fatalf("PodsAt(%v) has %d, want %d", a, len(got), want)
		}
	}
	if got := slices.Collect(p.store.Pods()); len(got) != len(p.twin.pods) {
		t.Fatalf("Pods() yields %v, want %v", got, p.twin.pods)
	}
}
