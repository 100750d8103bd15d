package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// consumption is what a container of a pod uses, as the kubelet measures it.
type consumption struct {
	pod, node, container string
	memory               uint64        // bytes that are its own: no file of the disk is behind them
	working              uint64        // bytes that count against its limit
	cpu                  time.Duration // since it started
	at                   time.Time     // when cpu was read
}

// summary is the part that we read of the kubelet's /stats/summary (k8s.io/kubelet/pkg/apis/stats/v1alpha1).
type summary struct {
	Node struct{ NodeName string }
	Pods []struct {
		PodRef     struct{ Name, Namespace string }
		Containers []struct {
			Name   string
			Memory struct{ RSSBytes, WorkingSetBytes uint64 }
			CPU    struct {
				Time                 time.Time
				UsageCoreNanoSeconds int64
			}
		}
	}
}

// readSummary takes the containers of some names in kube-system out of a summary.
func readSummary(text []byte, containers []string) ([]consumption, error) {
	var s summary
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read the kubelet's summary: %w", err)
	}
	var all []consumption
	for _, p := range s.Pods {
		for _, c := range p.Containers {
			if p.PodRef.Namespace == "kube-system" && slices.Contains(containers, c.Name) {
				all = append(all, consumption{
					pod: p.PodRef.Name, node: s.Node.NodeName, container: c.Name,
					memory: c.Memory.RSSBytes, working: c.Memory.WorkingSetBytes,
					cpu: time.Duration(c.CPU.UsageCoreNanoSeconds), at: c.CPU.Time,
				})
			}
		}
	}
	return all, nil
}

// consumption asks every node what its pods of some containers use.
func (c *cluster) consumption(ctx context.Context, containers []string) ([]consumption, error) {
	var all []consumption
	for _, n := range nodes() {
		text, err := c.kubectl(ctx, "get", "--raw", "/api/v1/nodes/"+n.name+"/proxy/stats/summary")
		if err != nil {
			return nil, err
		}
		some, err := readSummary([]byte(text), containers)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// measured is the consumption of one side at three moments: twice without load, and after the specs.
type measured struct {
	name                 string
	early, before, after []consumption
}

// consumptionTable prints a line for each pod: its memory without load and after the specs, and its share of a
// core without load and its time on one during the specs.
func consumptionTable(all []measured) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %-12s %-4s %26s %26s %8s %12s\n", "", "container", "node", "MiB idle (working set)", "MiB after (working set)", "idle", "in the run")
	for _, m := range all {
		for _, after := range m.after {
			before, ok := samePod(m.before, after)
			early, ok2 := samePod(m.early, after)
			if !ok || !ok2 {
				fmt.Fprintf(&b, "%-12s %-12s %-4s started during the run\n", m.name, after.container, after.node)
				continue
			}
			fmt.Fprintf(&b, "%-12s %-12s %-4s %26s %26s %7.2f%% %11.2fs\n", m.name, after.container, after.node,
				mebibytes(before), mebibytes(after), 100*share(early, before), (after.cpu - before.cpu).Seconds())
		}
	}
	return b.String()
}

// samePod finds the same container of the same pod in an earlier measurement.
func samePod(all []consumption, c consumption) (consumption, bool) {
	i := slices.IndexFunc(all, func(o consumption) bool { return o.pod == c.pod && o.container == c.container })
	if i < 0 {
		return consumption{}, false
	}
	return all[i], true
}

func mebibytes(c consumption) string {
	const mebibyte = 1 << 20
	return fmt.Sprintf("%.1f (%.1f)", float64(c.memory)/mebibyte, float64(c.working)/mebibyte)
}

// share is the part of one core that was used between two measurements.
func share(from, to consumption) float64 {
	if wall := to.at.Sub(from.at); wall > 0 {
		return float64(to.cpu-from.cpu) / float64(wall)
	}
	return 0
}
