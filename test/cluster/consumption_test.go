package main

import (
	"testing"
	"time"
)

// summaryText is a part of a real answer of the kubelet.
const summaryText = `{
 "node": {"nodeName": "n1", "systemContainers": []},
 "pods": [
  {"podRef": {"name": "coredns-a", "namespace": "kube-system", "uid": "1"}, "containers": [
   {"name": "coredns", "cpu": {"time": "2026-11-25T19:00:30Z", "usageNanoCores": 1, "usageCoreNanoSeconds": 1500000000},
    "memory": {"time": "2026-11-25T19:00:30Z", "usageBytes": 5, "workingSetBytes": 31457280, "rssBytes": 20971520}}]},
  {"podRef": {"name": "coredns-b", "namespace": "other", "uid": "2"}, "containers": [{"name": "coredns"}]},
  {"podRef": {"name": "else", "namespace": "kube-system", "uid": "3"}, "containers": [{"name": "else"}]}
 ]}`

func TestReadSummary(t *testing.T) {
	got, err := readSummary([]byte(summaryText), []string{"coredns", "forwarder"})
	if err != nil {
		t.Fatal(err)
	}
	want := consumption{
		pod: "coredns-a", node: "n1", container: "coredns", memory: 20 << 20, working: 30 << 20,
		cpu: 1500 * time.Millisecond, at: time.Date(2026, 11, 25, 19, 0, 30, 0, time.UTC),
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want only %+v", got, want)
	}
	if _, err := readSummary([]byte("no JSON"), nil); err == nil {
		t.Error("what is no JSON: no error")
	}
}

func TestConsumptionTable(t *testing.T) {
	begin := time.Date(2026, 11, 25, 19, 0, 0, 0, time.UTC)
	of := func(pod string, mib uint64, cpu, at time.Duration) consumption {
		return consumption{pod: pod, node: "n1", container: "coredns", memory: mib << 20, working: 2 * mib << 20, cpu: cpu, at: begin.Add(at)}
	}
	got := consumptionTable([]measured{{
		name:   "signpost",
		early:  []consumption{of("a", 9, time.Second, 0)},
		before: []consumption{of("a", 10, 1300*time.Millisecond, 30*time.Second)},
		after:  []consumption{of("a", 12, 6300*time.Millisecond, 100*time.Second), of("b", 1, 0, 0)},
	}})
	want := `             container    node     MiB idle (working set)    MiB after (working set)     idle   in the run
signpost     coredns      n1                  10.0 (20.0)                12.0 (24.0)    1.00%        5.00s
signpost     coredns      n1   started during the run
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
