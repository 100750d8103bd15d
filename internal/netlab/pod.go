//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// AddPod attaches a new host to the node's bridge. Addresses are given out in turn, so that one that was just freed is not
// used again at once.
func (n *Node) AddPod(name string) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number, ok := nextFree(n.last, n.numbers())
	if !ok {
		return nil, fmt.Errorf("%s: add pod %s: every address of %s is in use", n.Name, name, n.PodCIDR4)
	}
	network := n.plan.pods(n.Number)
	at := network.host(number)
	h, err := newHost(name, at.v4.Addr(), at.v6.Addr())
	if err != nil {
		return nil, fmt.Errorf("%s: add pod: %w", n.Name, err)
	}
	port := "pod" + strconv.Itoa(number)
	err = errors.Join(
		h.tune(false),
		n.plug(h, podBridge, port, true),
		h.addSubnet("eth0", at),
		h.route(n.plan.everywhere(), network.host(1)),
	)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("%s: add pod %s: %w", n.Name, name, err)
	}
	n.pods[h] = port
	n.last = number
	return h, nil
}

// numbers are the last parts of the addresses in use.
func (n *Node) numbers() map[int]bool {
	used := map[int]bool{}
	for pod := range n.pods {
		used[int(pod.IPv4.As4()[3])] = true
	}
	return used
}

// nextFree finds the first unused number from 2 to maxPodHost after last, starting over at the end.
func nextFree(last int, used map[int]bool) (int, bool) {
	const count = maxPodHost - firstPodHost + 1
	for i := range count {
		number := firstPodHost + (last-firstPodHost+1+i)%count
		if !used[number] {
			return number, true
		}
	}
	return 0, false
}

// RemovePod ends a pod of this node and everything that runs in it. Its interface is gone when RemovePod returns.
func (n *Node) RemovePod(pod *Host) error {
	n.mu.Lock()
	port, ok := n.pods[pod]
	delete(n.pods, pod)
	n.mu.Unlock()
	if !ok {
		return fmt.Errorf("%s: remove pod %s: it is not a pod of this node", n.Name, pod.Name)
	}
	err := n.unplug(port) // first: without the link the kernel may take its time with the namespace
	pod.Close()
	return err
}

func (n *Node) closePods() {
	n.mu.Lock()
	pods := slices.Collect(maps.Keys(n.pods))
	n.mu.Unlock()
	for _, pod := range pods {
		pod.Close()
	}
}
